"""Localization on a 3x3 grid in SAR images, as an `evaluate` metric, by `fusargpt.metrics.localization`."""

import datasets
import evaluate

from fusargpt.metrics import localization, tally  # From: fusargpt[metrics]

DESCRIPTION = (
    "Acc@100, Acc@50 and Top1 of the cells of a 3x3 grid that hold targets, strict exact-set accuracy and cell "
    "precision, with n and 95 % bootstrap intervals."
)

INPUTS = """
Args:
    predictions: list of texts, what the model said about each image: "1, 5", "Cells 1 and 5.", "None".
    references: list of texts, the true cells, numbered row by row from 1 to 9: "1, 5", or "None".
Returns:
    acc@100, acc@50, top1: share of images in which all, at least half, at least one of the true cells are named, over
        the images that have a true cell.
    exact: share of all images whose answer is the very set of cells, with nothing unreadable in it.
    precision: share of the named cells that are true.
    readable: share of answers without anything unreadable.
    Each with NAME_low and NAME_high, its 95 % bootstrap interval, and NAME_n, the number of images.
Raises:
    fusargpt.errors.InputError: a reference that is not a list of cells.
Examples:
    >>> metric = evaluate.load("metrics/sar_localization")
    >>> metric.compute(predictions=["1, 2", "5"], references=["1, 2", "5, 6"])["acc@100"]
    0.5
"""


class SarLocalization(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        text = datasets.Value("string")
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation="",
            inputs_description=INPUTS,
            features=datasets.Features({"predictions": text, "references": text}),
        )

    # `evaluate` calls it with the features and further arguments by keyword.
    def _compute(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, predictions: list[str], references: list[str]
    ) -> dict[str, float]:
        return tally.results(localization.localize_tallies(predictions, references))
