"""Detection in SAR images, as an `evaluate` metric; the formulas are in `fusargpt.metrics.detection`."""

from collections.abc import Sequence

import datasets
import evaluate

from fusargpt.metrics import detection, tally  # From: fusargpt[metrics]

DESCRIPTION = (
    "F1 of boxes at overlap (IoU) 0.25 and 0.50, all and per class, as they are written and clipped to the image, with "
    "n and 95 % bootstrap intervals."
)

INPUTS = """
Args:
    predictions: list of texts, what the model said about each image:
        '[{"bbox_2d": [x1, y1, x2, y2], "label": "ship"}]', or "None".
    references: list of texts, the true boxes in the same form.
    sizes: optional list of (width, height), the images' sizes in the pixels of the boxes.
Returns:
    f1@0.25, f1@0.50: F1 of boxes matched one-to-one, largest overlap first, among equal labels, over all images.
    f1@0.25/LABEL, f1@0.50/LABEL: the same of each label that the references have.
    clipped_f1@...: with sizes, the same of boxes clipped to the image.
    readable: share of answers without anything unreadable. Boxes that can be read are scored all the same.
    Each with NAME_low and NAME_high, its 95 % bootstrap interval, and NAME_n, the number of images.
Raises:
    fusargpt.errors.InputError: a reference that cannot be read, or sizes that are not above 0.
Examples:
    >>> metric = evaluate.load("metrics/sar_detection")
    >>> ship = '[{"bbox_2d": [10, 10, 30, 20], "label": "ship"}]'
    >>> metric.compute(predictions=[ship, ship], references=[ship, "None"])["f1@0.50"]
    0.6666666666666666
"""


class SarDetection(evaluate.Metric):
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
        self, predictions: list[str], references: list[str], sizes: Sequence[tuple[float, float]] | None = None
    ) -> dict[str, float]:
        return tally.results(detection.detect_tallies(predictions, references, sizes))
