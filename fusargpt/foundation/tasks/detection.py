"""Boxes of ships and aircraft, read of patch tokens one by one."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fusargpt.foundation.features import Features
from fusargpt.foundation.places import Place
from fusargpt.foundation.probes import Classifier, Labelled, Regression, logistic_probe, ridge_probe
from fusargpt.foundation.subject import Subject
from fusargpt.metrics.detection import box_overlap, detect_tallies
from fusargpt.metrics.tally import Tally
from fusargpt.tasks.prompts import NONE_ANSWER, TARGETS

EMPTY_TOKENS = 12
"""Of a training place, that no target is centred in; drawn by its seed, and counting for all of them."""
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
        "least probability chosen on the validation split"
    )

    def tallies(self, subject: Subject) -> Mapping[str, Tally] | None:
        train, validation = (
            _centred(subject.fitting(split), subject.places(split)) for split in ("train", "validation")
        )
        classes = logistic_probe(train.classes, validation.classes)
        boxes = ridge_probe(train.boxes, validation.boxes)
        chosen_by = [
            _found(classes, boxes, tokens, place)
            for tokens, place in zip(subject.fitting("validation").tokens, subject.places("validation"), strict=True)
        ]
        known = subject.places("validation")
        threshold = max(THRESHOLDS, key=lambda least: _scores(chosen_by, known, least)[self.headline].score().value)
        places = subject.places("test")
        shown = [
            _found(classes, boxes, tokens, place)
            for tokens, place in zip(subject.features("test").tokens, places, strict=True)
        ]
        return _scores(shown, places, threshold)


@dataclass(frozen=True, eq=False)
class _Centred:
    """Tokens with the class of the target centred in each (0: none), and those with a target, with its box."""

    classes: Labelled
    boxes: tuple[NDArray[np.floating], NDArray[np.floating]]


def _centred(features: Features, places: Sequence[Place]) -> _Centred:
    kept, labels, weights, boxes = [], [], [], []
    for tokens, place in zip(features.tokens, places, strict=True):
        height, width, _ = tokens.shape
        grid = np.zeros((height, width), int)
        for target in reversed(place.targets):
            row, column = _token_of(target.box, place, height, width)
            grid[row, column] = 1 + TARGETS.index(target.label)
        held = np.flatnonzero(grid)
        empty = np.flatnonzero(grid == 0)
        drawn = np.random.default_rng([place.scene.seed, 2]).permutation(empty)[:EMPTY_TOKENS]
        chosen = np.concatenate([held, drawn])
        kept.append(tokens.reshape(height * width, -1)[chosen])
        labels.append(grid.ravel()[chosen])
        weights.append(np.where(grid.ravel()[chosen] > 0, 1.0, len(empty) / max(len(drawn), 1)))
        relative = {}
        for target in reversed(place.targets):
            row, column = _token_of(target.box, place, height, width)
            relative[row * width + column] = _relative(target.box, row, column, place, height, width)
        boxes += [relative[index] for index in held]
    every = np.concatenate(kept).astype(np.float32)
    classes = np.concatenate(labels)
    return _Centred(Labelled(every, classes, np.concatenate(weights)), (every[classes > 0], np.array(boxes)))


def _token_of(box: Sequence[float], place: Place, height: int, width: int) -> tuple[int, int]:
    rows, columns = place.cover.shape
    return int((box[1] + box[3]) / 2 * height / rows), int((box[0] + box[2]) / 2 * width / columns)


def _relative(
    box: Sequence[float], row: int, column: int, place: Place, height: int, width: int
) -> tuple[float, float, float, float]:
    """Centre from that of the token in its sides, and logarithms of the sides in pixels."""
    rows, columns = place.cover.shape
    x, y = (box[0] + box[2]) / 2 * width / columns, (box[1] + box[3]) / 2 * height / rows
    return x - column - 0.5, y - row - 0.5, np.log(box[2] - box[0]), np.log(box[3] - box[1])


def _found(classes: Classifier, boxes: Regression, tokens: NDArray[np.floating], place: Place) -> list[Found]:
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
    rows, columns = place.cover.shape
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


def _scores(found: Sequence[Sequence[Found]], places: Sequence[Place], least: float) -> dict[str, Tally]:
    answers = [_text([(one.box, one.label) for one in of_place if one.probability >= least]) for of_place in found]
    references = [_text([(target.box, target.label) for target in place.targets]) for place in places]
    tallies = detect_tallies(answers, references)
    return {name: tally for name, tally in tallies.items() if name != "readable"}


def _text(boxes: Sequence[tuple[Sequence[float], str]]) -> str:
    """As answers are written, to be scored as they are."""
    listed = [{"bbox_2d": [round(float(edge), 1) for edge in box], "label": label} for box, label in boxes]
    return json.dumps(listed) if listed else NONE_ANSWER
