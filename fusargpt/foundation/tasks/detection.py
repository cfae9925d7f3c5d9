"""Boxes of ships and aircraft, read of patch tokens one by one."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fusargpt.foundation.features import Features
from fusargpt.foundation.places import Annotated
from fusargpt.foundation.probes import Classifier, Labelled, Regression, logistic_probe, ridge_probe
from fusargpt.foundation.subject import Subject
from fusargpt.metrics.average_precision import average_precision_tallies
from fusargpt.metrics.detection import box_overlap, detect_tallies
from fusargpt.metrics.tally import Tally
from fusargpt.tasks.prompts import NONE_ANSWER, TARGETS

EMPTY_TOKENS = 12
"""Of a training image, that no target is centred in; drawn by its seed, and counting for all of them."""
THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
SAME_OVERLAP = 0.2  # of two boxes that are taken for one target
_LEAST_PIXELS = 2.0  # of a side of a box


@dataclass(frozen=True)
class Found:
    """A box [x1, y1, x2, y2] in pixels with its class and how likely it is."""

    box: tuple[float, float, float, float]
    label: str
    probability: float


class DetectionProbe:
    """Which class of target is centred in a token, and where its edges are."""

    name = "detection"
    headline = "f1@0.25"
    how = (
        "for each token, the class of the target that is centred in it (logistic regression) and its box (ridge "
        f"regression); of boxes that overlap by more than {SAME_OVERLAP} the likelier one stays; strengths and the "
        "least probability chosen on the validation split; ap50, ap: of all boxes, as COCO ranks and averages them"
    )

    def tallies(self, subject: Subject) -> Mapping[str, Tally] | None:
        return _targets(subject).tallies(subject.places("test"))


def found_targets(subject: Subject) -> list[list[Found]]:
    """The boxes that the probe finds in the test places; fitted once for a subject."""
    return _targets(subject).kept()


def _targets(subject: Subject) -> "Detected":
    def compute() -> "Detected":
        train, validation = ((subject.fitting(split), subject.places(split)) for split in ("train", "validation"))
        return detected(train, validation, (subject.features("test"), subject.places("test")))

    return subject.once("targets", compute)


Known = tuple[Features, Sequence[Annotated]]
"""Images and what is in them."""


@dataclass(frozen=True, eq=False)
class Detected:
    """All boxes in each image, and how likely those are that are taken for targets."""

    boxes: list[list[Found]]
    threshold: float

    def kept(self) -> list[list[Found]]:
        """The boxes that are taken for targets."""
        return [[one for one in of_image if one.probability >= self.threshold] for of_image in self.boxes]

    def tallies(self, images: Sequence[Annotated]) -> dict[str, Tally]:
        """Scores of those, and average precision of all."""
        answers, references = _answers(self.boxes), _references(images)
        scores = [[one.probability for one in of_image] for of_image in self.boxes]
        return box_tallies(self.kept(), images) | average_precision_tallies(answers, references, scores)


def detected(train: Known, validation: Known, test: Known) -> Detected:
    """The boxes in each image of `test`, with the threshold that validation chooses; see `DetectionProbe`."""
    fitted, chosen_by = _centred(*train), _centred(*validation)
    classes = logistic_probe(fitted.classes, chosen_by.classes)
    boxes = ridge_probe(fitted.boxes, chosen_by.boxes)
    known = [_found(classes, boxes, tokens, image) for tokens, image in _pairs(validation)]
    headline = DetectionProbe.headline
    threshold = max(THRESHOLDS, key=lambda least: box_tallies(known, validation[1], least)[headline].value)
    return Detected([_found(classes, boxes, tokens, image) for tokens, image in _pairs(test)], threshold)


def _pairs(known: Known) -> Iterator[tuple[NDArray[np.floating], Annotated]]:
    return zip(known[0].tokens, known[1], strict=True)


@dataclass(frozen=True, eq=False)
class _Centred:
    """Tokens with the class of the target centred in each (0: none), and those with a target, with its box."""

    classes: Labelled
    boxes: tuple[NDArray[np.floating], NDArray[np.floating]]


def _centred(features: Features, images: Sequence[Annotated]) -> _Centred:
    kept, labels, weights, boxes = [], [], [], []
    for tokens, image in zip(features.tokens, images, strict=True):
        height, width, _ = tokens.shape
        grid = np.zeros((height, width), int)
        for target in reversed(image.targets):
            row, column = _token_of(target.box, image, height, width)
            grid[row, column] = 1 + TARGETS.index(target.label)
        held = np.flatnonzero(grid)
        empty = np.flatnonzero(grid == 0)
        drawn = np.random.default_rng([image.seed, 2]).permutation(empty)[:EMPTY_TOKENS]
        chosen = np.concatenate([held, drawn])
        kept.append(tokens.reshape(height * width, -1)[chosen])
        labels.append(grid.ravel()[chosen])
        weights.append(np.where(grid.ravel()[chosen] > 0, 1.0, len(empty) / max(len(drawn), 1)))
        relative = {}
        for target in reversed(image.targets):
            row, column = _token_of(target.box, image, height, width)
            relative[row * width + column] = _relative(target.box, row, column, image, height, width)
        boxes += [relative[index] for index in held]
    every = np.concatenate(kept).astype(np.float32)
    classes = np.concatenate(labels)
    return _Centred(Labelled(every, classes, np.concatenate(weights)), (every[classes > 0], np.array(boxes)))


def _token_of(box: Sequence[float], image: Annotated, height: int, width: int) -> tuple[int, int]:
    rows, columns = image.shape
    return int((box[1] + box[3]) / 2 * height / rows), int((box[0] + box[2]) / 2 * width / columns)


def _relative(
    box: Sequence[float], row: int, column: int, image: Annotated, height: int, width: int
) -> tuple[float, float, float, float]:
    """Centre from that of the token in its sides, and logarithms of the sides in pixels."""
    rows, columns = image.shape
    x, y = (box[0] + box[2]) / 2 * width / columns, (box[1] + box[3]) / 2 * height / rows
    return x - column - 0.5, y - row - 0.5, np.log(box[2] - box[0]), np.log(box[3] - box[1])


def _found(classes: Classifier, boxes: Regression, tokens: NDArray[np.floating], image: Annotated) -> list[Found]:
    """All boxes that are likelier than the least threshold, the likeliest first, each target once."""
    height, width, channels = tokens.shape
    flat = tokens.reshape(-1, channels).astype(np.float32)
    probabilities = classes.predict_proba(flat)
    named = {int(label): probabilities[:, index] for index, label in enumerate(classes.classes_) if label}
    best = np.max(list(named.values()), 0)
    which = np.array(list(named))[np.argmax(list(named.values()), 0)]
    likely = np.flatnonzero(best >= min(THRESHOLDS))
    if not len(likely):
        return []
    rows, columns = image.shape
    found: list[Found] = []
    for token, (x, y, log_width, log_height) in zip(likely, boxes(flat[likely]), strict=True):
        row, column = divmod(int(token), width)
        centre_x, centre_y = (column + 0.5 + x) * columns / width, (row + 0.5 + y) * rows / height
        half_width = max(float(np.exp(min(log_width, 5.0))), _LEAST_PIXELS) / 2
        half_height = max(float(np.exp(min(log_height, 5.0))), _LEAST_PIXELS) / 2
        box = (centre_x - half_width, centre_y - half_height, centre_x + half_width, centre_y + half_height)
        found.append(Found(box, TARGETS[int(which[token]) - 1], float(best[token])))
    kept: list[Found] = []
    for one in sorted(found, key=lambda item: -item.probability):
        if all(box_overlap(one.box, other.box) <= SAME_OVERLAP for other in kept):
            kept.append(one)
    return kept


def box_tallies(found: Sequence[Sequence[Found]], images: Sequence[Annotated], least: float = 0.0) -> dict[str, Tally]:
    """F1 at overlap 0.25 and 0.50, all and of each class, of the boxes that are at least so likely."""
    answers = _answers([[one for one in of_image if one.probability >= least] for of_image in found])
    tallies = detect_tallies(answers, _references(images))
    return {name: tally for name, tally in tallies.items() if name != "readable"}


def _answers(found: Sequence[Sequence[Found]]) -> list[str]:
    return [_text([(one.box, one.label) for one in of_image]) for of_image in found]


def _references(images: Sequence[Annotated]) -> list[str]:
    return [_text([(target.box, target.label) for target in image.targets]) for image in images]


def _text(boxes: Sequence[tuple[Sequence[float], str]]) -> str:
    """As answers are written, to be scored as they are."""
    listed = [{"bbox_2d": [round(float(edge), 1) for edge in box], "label": label} for box, label in boxes]
    return json.dumps(listed) if listed else NONE_ANSWER
