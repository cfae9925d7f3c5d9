"""Average precision of boxes with scores, as COCO defines it, with the interval that every score here has.

Boxes are matched image by image, the surest first, each with the free true box of its label that it overlaps most, if
by enough. Precision is taken where recall reaches 0, 0.01, ..., 1, made to fall as recall grows, and averaged (Lin et
al., Microsoft COCO, arXiv:1405.0312, and its evaluation code); then over the labels of the references. Unlike there,
scores are ranked in hundredths, so that what an image adds is counts and images can be drawn again; boxes of one
hundredth come together.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fusargpt.metrics.detection import box_overlap
from fusargpt.metrics.tally import Tally
from fusargpt.tasks.answers import LabelledBox, class_name, parse_boxes

OVERLAPS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
RANKS = 101
"""Scores of 0, 0.01, ..., 1."""
_RECALLS = np.linspace(0, 1, 101)
_ROUNDING = 1e-9


def average_precision_tallies(
    answers: Sequence[str], references: Sequence[str], scores: Sequence[Sequence[float]]
) -> dict[str, Tally]:
    """AP at overlap 0.50, and its mean over 0.50, 0.55, ..., 0.95.

    Args:
        answers: what the model said, one an image.
        references: the true boxes in the same form and pixels, or "None".
        scores: of each answer, one in [0, 1] for each box that `fusargpt.tasks.answers.parse_boxes` reads in it.

    Returns:
        `ap50` and `ap`; empty where no reference has a box.

    Raises:
        ValueError: as many scores as there are not boxes.
    """
    images = [
        (parse_boxes(answer).value, parse_boxes(reference).value, of_image)
        for answer, reference, of_image in zip(answers, references, scores, strict=True)
    ]
    labels = sorted({class_name(label) for _, truth, _ in images for _, label in truth})
    if not labels:
        return {}
    rows = np.stack([_image_row(*image, labels) for image in images])
    first = rows.reshape(len(rows), len(labels), -1)[:, :, : 1 + 2 * RANKS].reshape(len(rows), -1)
    return {
        "ap50": Tally(first, _statistic(len(labels), 1)),
        "ap": Tally(rows, _statistic(len(labels), len(OVERLAPS))),
    }


def right_boxes(
    predicted: Sequence[LabelledBox],
    truth: Sequence[LabelledBox],
    scores: Sequence[float],
    overlap: float = OVERLAPS[0],
) -> list[bool]:
    """Of each box in an image whether it gets a true one, as average precision has it.

    Raises:
        ValueError: as many scores as there are not boxes.
    """
    if len(predicted) != len(scores):
        raise ValueError(f"found {len(scores)} scores for {len(predicted)} boxes")
    right = [False] * len(predicted)
    for label in {class_name(box.label) for box in predicted}:
        chosen, overlaps = _of_label(predicted, truth, scores, label)
        for number, hit in zip(chosen, _hits(overlaps, overlap), strict=True):
            right[number] = hit
    return right


def mean_precision(tally: Tally) -> list[float]:
    """Where recall reaches 0, 0.01, ..., 1, the mean over labels of the precision that `ap50`, a tally, averages."""
    of_labels = tally.rows.sum(0).reshape(-1, 1 + 2 * RANKS)
    found = [_precisions(row[1 : 1 + RANKS], row[1 + RANKS :], row[0]) for row in of_labels if row[0] > 0]
    return [float(value) for value in np.mean(found, axis=0)] if found else []


def _image_row(
    predicted: Sequence[LabelledBox], truth: Sequence[LabelledBox], scores: Sequence[float], labels: Sequence[str]
) -> NDArray[np.float64]:
    """For each label the number of true boxes, then for each overlap how many of each rank are right, and wrong."""
    if len(predicted) != len(scores):
        raise ValueError(f"found {len(scores)} scores for {len(predicted)} boxes")
    ranks = np.rint(np.asarray(scores, float) * (RANKS - 1)).astype(int)
    row = np.zeros((len(labels), 1 + len(OVERLAPS) * 2 * RANKS))
    for index, label in enumerate(labels):
        row[index, 0] = sum(class_name(box.label) == label for box in truth)
        counts = row[index, 1:].reshape(len(OVERLAPS), 2, RANKS)
        chosen, overlaps = _of_label(predicted, truth, scores, label)
        for least, (right, wrong) in zip(OVERLAPS, counts, strict=True):
            for number, hit in zip(chosen, _hits(overlaps, least), strict=True):
                (right if hit else wrong)[ranks[number]] += 1
    return row.ravel()


def _of_label(
    predicted: Sequence[LabelledBox], truth: Sequence[LabelledBox], scores: Sequence[float], label: str
) -> tuple[list[int], NDArray[np.float64]]:
    """The numbers of the predicted boxes of a label, the surest first, and their overlaps [predicted, true]."""
    chosen = [number for number, box in enumerate(predicted) if class_name(box.label) == label]
    chosen.sort(key=lambda number: -scores[number])
    true = [box.box for box in truth if class_name(box.label) == label]
    return chosen, np.array([[box_overlap(predicted[number].box, box) for box in true] for number in chosen])


def _hits(overlaps: NDArray[np.float64], least: float) -> list[bool]:
    """Whether each box, the surest first, gets a true one: overlaps [predicted, true]."""
    free = np.ones(overlaps.shape[1] if overlaps.ndim == 2 else 0, bool)
    hits = []
    for row in overlaps:
        best = int(np.where(free, row, -1).argmax()) if free.any() else -1
        hits.append(best >= 0 and bool(row[best] >= least))
        if hits[-1]:
            free[best] = False
    return hits


@lru_cache(maxsize=64)
def _statistic(labels: int, overlaps: int) -> Callable[[np.ndarray], np.ndarray]:
    """From sums of rows [draws, ...] to average precisions [draws]; one for all tallies of a form."""

    def average(sums: np.ndarray) -> np.ndarray:
        return np.array([_average_precision(draw.reshape(labels, -1), overlaps) for draw in sums])

    return average


def _average_precision(of_labels: NDArray[np.float64], overlaps: int) -> float:
    """NaN where there is no true box."""
    found = [
        _precisions(right, wrong, row[0]).mean()
        for row in of_labels
        if row[0] > 0
        for right, wrong in row[1:].reshape(overlaps, 2, RANKS)
    ]
    return float(np.mean(found)) if found else float("nan")


def _precisions(right: NDArray[np.float64], wrong: NDArray[np.float64], true: float) -> NDArray[np.float64]:
    """Precision where recall reaches each of `_RECALLS`, of counts by rising rank; 0 where it does not."""
    hits, misses = np.cumsum(right[::-1]), np.cumsum(wrong[::-1])
    precision = hits / np.maximum(hits + misses, 1)
    falling = np.maximum.accumulate(precision[::-1])[::-1]
    # Counts may be resampled, but are whole numbers.
    reached = np.searchsorted(hits / true, _RECALLS - _ROUNDING)
    return np.append(falling, 0)[reached]
