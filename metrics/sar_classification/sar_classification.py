"""Classification of targets in SAR images, as an `evaluate` metric, by `fusargpt.metrics.classification`."""

from collections.abc import Mapping

import datasets
import evaluate

from fusargpt.metrics import classification, tally  # From: fusargpt[metrics]

DESCRIPTION = (
    "Accuracy of class names, all and per class, and of the coarse classes above them, with n and 95 % bootstrap "
    "intervals."
)

INPUTS = """
Args:
    predictions: list of texts, what the model said about each image: "ship", "Ship.".
    references: list of texts, the true class names; "None" is a class like the others.
    hierarchy: optional mapping from fine class to coarse class, as {"cargo ship": "ship", "tanker": "ship"}; a name
        that is not in it is its own coarse class.
Returns:
    accuracy, accuracy/NAME: share of images whose class is named, over all images and over those of each class.
    coarse_accuracy, coarse_accuracy/NAME: with hierarchy, the same of the coarse classes.
    Each with NAME_low and NAME_high, its 95 % bootstrap interval, and NAME_n, the number of images.
Raises:
    fusargpt.errors.InputError: an empty reference.
Examples:
    >>> metric = evaluate.load("metrics/sar_classification")
    >>> metric.compute(predictions=["Ship.", "ship"], references=["ship", "aircraft"])["accuracy"]
    0.5
"""


class SarClassification(evaluate.Metric):
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
        self, predictions: list[str], references: list[str], hierarchy: Mapping[str, str] | None = None
    ) -> dict[str, float]:
        return tally.results(classification.classify_tallies(predictions, references, hierarchy))
