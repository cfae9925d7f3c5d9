"""Counting in SAR images, as an `evaluate` metric; the formulas are in `fusargpt.metrics.counting`."""

import datasets
import evaluate

from fusargpt.metrics import counting, tally  # From: fusargpt[metrics]

DESCRIPTION = "Exact-match accuracy and mean absolute error of counts, with n and 95 % bootstrap intervals."

INPUTS = """
Args:
    predictions: list of texts, what the model said about each image: "3", "3 ships", "There are 3 ships."
    references: list of texts, the true counts: "3". Both may be lists of whole numbers instead.
Returns:
    accuracy: share of images whose count is exact; an answer that cannot be read is wrong.
    mae: mean absolute error over the images whose answers can be read.
    readable: share of answers that can be read.
    Each with NAME_low and NAME_high, its 95 % bootstrap interval, and NAME_n, the number of images.
Raises:
    fusargpt.errors.InputError: a reference that is not a whole number.
Examples:
    >>> metric = evaluate.load("metrics/sar_counting")
    >>> metric.compute(predictions=["3", "2", "many"], references=["3", "4", "1"])["mae"]
    1.0
"""


class SarCounting(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        forms = [datasets.Value("string"), datasets.Value("int64")]
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation="",
            inputs_description=INPUTS,
            features=[datasets.Features({"predictions": form, "references": form}) for form in forms],
        )

    # `evaluate` calls it with the features and further arguments by keyword.
    def _compute(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, predictions: list[str] | list[int], references: list[str] | list[int]
    ) -> dict[str, float]:
        return tally.results(counting.count_tallies([str(value) for value in predictions], list(map(str, references))))
