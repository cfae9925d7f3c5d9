"""Segmentation: intersection over union of each class, and their mean, from confusions of pixels."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fusargpt.metrics.tally import Tally


def confusion(predicted: NDArray[np.integer], truth: NDArray[np.integer], classes: int) -> NDArray[np.int64]:
    """How many pixels of each true class (row) are predicted as which (column): int64 [classes, classes].

    Args:
        predicted: int [H, W], 0 to classes - 1.
        truth: int [H, W], likewise, or negative where it is unknown, which is left out.
        classes: how many there are.

    Raises:
        ValueError: shapes that differ, or a class that there is not.
    """
    if predicted.shape != truth.shape:
        raise ValueError(f"found {predicted.shape} predicted and {truth.shape} true pixels; expected the same")
    known = truth >= 0
    pairs = np.stack([truth[known], predicted[known]]).astype(np.int64)
    if pairs.size and (pairs.max() >= classes or pairs.min() < 0):
        raise ValueError(
            f"found class {pairs.max() if pairs.max() >= classes else pairs.min()}; expected 0 to {classes - 1}"
        )
    return np.bincount(pairs[0] * classes + pairs[1], minlength=classes**2).reshape(classes, classes)


def segmentation_tallies(confusions: NDArray[np.int64], names: Sequence[str]) -> dict[str, Tally]:
    """Scores over all pixels of all images.

    Args:
        confusions: [N, C, C], one an image as `confusion` has it.
        names: of the C classes.

    Returns:
        `miou`, the mean over the classes that are there, true or predicted; `pixel_accuracy`; and `iou/NAME` of each
        class, not defined where it is neither true nor predicted. One row an image.
    """
    rows = confusions.reshape(len(confusions), -1).astype(float)
    tallies = {"miou": Tally(rows, _mean_iou), "pixel_accuracy": Tally(rows, _accuracy)}
    for index, name in enumerate(names):
        both = confusions[:, index, index]
        either = confusions[:, index].sum(1) + confusions[:, :, index].sum(1) - both
        tallies[f"iou/{name}"] = Tally(np.stack([both, either], 1).astype(float))
    return tallies


def _square(sums: NDArray[np.floating]) -> NDArray[np.floating]:
    side = round(sums.shape[1] ** 0.5)
    return sums.reshape(-1, side, side)


def _mean_iou(sums: NDArray[np.floating]) -> NDArray[np.floating]:
    table = _square(sums)
    both = table.diagonal(axis1=1, axis2=2)
    either = table.sum(1) + table.sum(2) - both
    with np.errstate(invalid="ignore"):
        return np.where(either > 0, both / either, 0).sum(1) / (either > 0).sum(1)


def _accuracy(sums: NDArray[np.floating]) -> NDArray[np.floating]:
    table = _square(sums)
    with np.errstate(invalid="ignore"):
        return table.trace(axis1=1, axis2=2) / table.sum((1, 2))
