"""Detection: F1 of boxes at overlaps 0.25 and 0.50, all and per class."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from fusargpt.errors import InputError
from fusargpt.metrics.tally import Tally, pairs, unreadable_reference
from fusargpt.tasks.answers import LabelledBox, class_name, parse_boxes

THRESHOLDS = (0.25, 0.50)


def box_overlap(first: Sequence[float], second: Sequence[float]) -> float:
    """Intersection over union of two boxes [x1, y1, x2, y2]; 0 for boxes without area."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second))
    return width * height / (areas - width * height)


def matched_overlaps(predicted: Sequence[Sequence[float]], truth: Sequence[Sequence[float]]) -> list[float]:
    """The overlaps of matched boxes of one class in one image, falling; above 0.

    Pairs are matched one-to-one, the one with the largest overlap first; among equals, which the order of the lists
    must not decide, the one whose corners come first in lexicographic order. A box that is there several times counts
    as one in the matching, and a match of it as often as it is there on both sides: the repeat of a prediction cannot
    take another true box.
    """
    times_predicted, times_true = (Counter(tuple(box) for box in boxes) for boxes in (predicted, truth))
    candidates = [
        (overlap, box, true_box)
        for box in times_predicted
        for true_box in times_true
        if (overlap := box_overlap(box, true_box)) > 0
    ]
    # Corners in rising order within the pair, so that swapping predictions and truth changes nothing either.
    candidates.sort(key=lambda pair: (-pair[0], sorted(pair[1:])))
    overlaps: list[float] = []
    free_predicted, free_true = set(times_predicted), set(times_true)
    for overlap, box, true_box in candidates:
        if box in free_predicted and true_box in free_true:
            free_predicted.remove(box)
            free_true.remove(true_box)
            overlaps += [overlap] * min(times_predicted[box], times_true[true_box])
    return overlaps


def detect_tallies(
    answers: Sequence[str], references: Sequence[str], sizes: Sequence[tuple[float, float]] | None = None
) -> dict[str, Tally]:
    """F1 at overlap 0.25 and 0.50 over all boxes of all images.

    Args:
        answers: what the model said, one an image; read by `fusargpt.tasks.answers.parse_boxes`. Boxes that can be
            read are scored, whatever stands beside them; an answer without any has no boxes.
        references: the true boxes in the same form, or "None".
        sizes: (width, height) of the images in the boxes' pixels.

    Returns:
        `f1@0.25` and `f1@0.50` of the boxes as they are written, where a match must have the same label;
        `f1@0.25/LABEL` for every label of the references; with `sizes` the same as `clipped_f1` of the boxes clipped
        to the image, for labels that leave it: true boxes without area inside are then left out, such predictions are
        false alarms. `readable`: share of answers without anything unreadable.

    Raises:
        InputError: no images, lengths that differ, a reference that cannot be read, or sizes that are not above 0.
    """
    images: list[tuple[list[LabelledBox], list[LabelledBox]]] = []
    readable = []
    for index, (answer, reference) in enumerate(pairs(answers, references)):
        parsed, truth = parse_boxes(answer), parse_boxes(reference)
        if truth.problems:
            raise unreadable_reference(index, reference, f"a JSON list of boxes, or None ({truth.problems[0]})")
        images.append((parsed.value, truth.value))
        readable.append(not parsed.problems)
    tallies = _f1_tallies("f1", images)
    if sizes is not None:
        _check_sizes(sizes, len(images))
        clipped = []
        for (predicted, truth), size in zip(images, sizes, strict=True):
            inside = [_clip(item, size) for item in truth]
            visible = [item for item in inside if item.box[0] < item.box[2] and item.box[1] < item.box[3]]
            clipped.append(([_clip(item, size) for item in predicted], visible))
        tallies |= _f1_tallies("clipped_f1", clipped)
    return tallies | {"readable": Tally.mean(readable)}


def _f1_tallies(name: str, images: Sequence[tuple[list[LabelledBox], list[LabelledBox]]]) -> dict[str, Tally]:
    """Rows of (2 matched, predicted + true), whose ratio of sums is F1."""
    by_label = [(_by_label(predicted), _by_label(truth)) for predicted, truth in images]
    labels = sorted({label for _, truth in by_label for label in truth})
    tallies: dict[str, Tally] = {}
    rows: dict[tuple[float, str | None], np.ndarray] = {
        (threshold, label): np.zeros((len(images), 2)) for label in (None, *labels) for threshold in THRESHOLDS
    }
    for index, (predicted, truth) in enumerate(by_label):
        for label in predicted.keys() | truth.keys():
            found, true = predicted.get(label, []), truth.get(label, [])
            overlaps = matched_overlaps(found, true)
            for threshold in THRESHOLDS:
                row = (2 * sum(overlap >= threshold for overlap in overlaps), len(found) + len(true))
                rows[threshold, None][index] += row
                if (threshold, label) in rows:
                    rows[threshold, label][index] += row
    for (threshold, label), values in rows.items():
        tallies[f"{name}@{threshold:.2f}" + (f"/{label}" if label else "")] = Tally(values)
    return tallies


def _by_label(boxes: Sequence[LabelledBox]) -> dict[str, list[Sequence[float]]]:
    grouped: dict[str, list[Sequence[float]]] = {}
    for box, label in boxes:
        grouped.setdefault(class_name(label), []).append(box)
    return grouped


def _clip(item: LabelledBox, size: tuple[float, float]) -> LabelledBox:
    """The box with its corners moved into the image."""
    width, height = size
    x1, y1, x2, y2 = item.box
    box = [
        min(max(value, 0.0), float(limit)) for value, limit in ((x1, width), (y1, height), (x2, width), (y2, height))
    ]
    return LabelledBox(box, item.label)


def _check_sizes(sizes: Sequence[tuple[float, float]], count: int) -> None:
    if len(sizes) != count:
        raise InputError(f"sizes: found {len(sizes)}; expected one (width, height) for each of the {count} images")
    for index, size in enumerate(sizes):
        if len(size) != 2 or not all(side > 0 for side in size):
            raise InputError(f"sizes[{index}]: found {size!r}; expected (width, height) above 0 in pixels")
