"""The visual questions that neither counting nor the dominant land cover answers, read of what the probes find.

Of the six types of questions of the annotation scheme, count and dominant landform are `probe-count` and `probe-cover`.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fusargpt.foundation.places import Place
from fusargpt.foundation.probes import Labelled
from fusargpt.foundation.subject import Subject
from fusargpt.foundation.tasks.classification import PROBES, probed
from fusargpt.foundation.tasks.detection import found_targets
from fusargpt.foundation.tasks.segmentation import predicted_covers
from fusargpt.geo.land_classes import LANDCOVER_CLASSES
from fusargpt.metrics.classification import label_tallies
from fusargpt.metrics.tally import Tally
from fusargpt.tasks.eight_dimensions import TRACE_SHARE
from fusargpt.tasks.prompts import GRID_SIDE, NONE_ANSWER, cell_of
from fusargpt.tasks.target_names import TARGETS

ANSWERS = (NONE_ANSWER, *TARGETS)


class Recognition:
    """Which class of targets an image holds."""

    name = "question-recognition"
    headline = "accuracy"
    how = f"the class of the targets in an image, of {', '.join(ANSWERS)}; {PROBES}"

    def tallies(self, subject: Subject) -> Mapping[str, Tally] | None:
        train, validation = (
            Labelled(subject.fitting(split).pooled, _classes(subject.places(split)))
            for split in ("train", "validation")
        )
        test = Labelled(subject.features("test").pooled, _classes(subject.places("test")))
        return probed(train, validation, test, ANSWERS)


class Position:
    """In which of nine cells targets are."""

    name = "question-position"
    headline = "exact"
    how = (
        "the cells of a 3 x 3 grid that hold centres of the boxes that the probe of detection finds; exact: no cell "
        "more or less"
    )

    def tallies(self, subject: Subject) -> Mapping[str, Tally] | None:
        found = [
            {cell_of(one.box, place.shape[1], place.shape[0]) for one in boxes if _inside(one.box, place.shape)}
            for boxes, place in zip(found_targets(subject), subject.places("test"), strict=True)
        ]
        true = [
            {cell_of(target.box, place.shape[1], place.shape[0]) for target in place.targets}
            for place in subject.places("test")
        ]
        return _set_tallies(found, true)


class CoversPresent:
    """All land covers of an image."""

    name = "question-covers"
    headline = "jaccard"
    how = (
        f"the land covers of at least {TRACE_SHARE:.0%} of the pixels that the probe of segmentation predicts; exact: "
        "no cover more or less"
    )

    def tallies(self, subject: Subject) -> Mapping[str, Tally] | None:
        found = [_present(cover) for cover in predicted_covers(subject)]
        return _set_tallies(found, [_present(place.cover) for place in subject.places("test")])


class RegionalCover:
    """The land cover of most pixels of one cell."""

    name = "question-regional-cover"
    headline = "accuracy"
    how = (
        "the land cover of most pixels of one cell of a 3 x 3 grid, drawn by the place's seed, of those that the probe "
        "of segmentation predicts"
    )

    def tallies(self, subject: Subject) -> Mapping[str, Tally] | None:
        places = subject.places("test")
        pairs = zip(predicted_covers(subject), places, strict=True)
        found = np.array([_dominant(cover, place.seed) for cover, place in pairs])
        return label_tallies(
            found, np.array([_dominant(place.cover, place.seed) for place in places]), LANDCOVER_CLASSES
        )


def _classes(places: Sequence[Place]) -> NDArray[np.int64]:
    return np.array([ANSWERS.index(place.targets[0].label) if place.targets else 0 for place in places])


def _inside(box: Sequence[float], shape: tuple[int, int]) -> bool:
    return 0 <= box[0] + box[2] < 2 * shape[1] and 0 <= box[1] + box[3] < 2 * shape[0]


def _present(cover: NDArray[np.integer]) -> set[int]:
    return set(np.flatnonzero(np.bincount(cover.ravel()) >= TRACE_SHARE * cover.size).tolist())


def _dominant(cover: NDArray[np.integer], seed: int) -> int:
    row, column = divmod(int(np.random.default_rng([seed, 3]).integers(GRID_SIDE**2)), GRID_SIDE)
    cell = np.array_split(np.array_split(cover, GRID_SIDE, axis=0)[row], GRID_SIDE, axis=1)[column]
    return int(np.bincount(cell.ravel()).argmax())


def _set_tallies(found: Sequence[set[int]], true: Sequence[set[int]]) -> dict[str, Tally]:
    """`exact`, and `jaccard`: the shared part of what is found or true, 1 where neither is anything."""
    pairs = list(zip(found, true, strict=True))
    shares = [len(first & second) / len(first | second) if first | second else 1.0 for first, second in pairs]
    return {"exact": Tally.mean([first == second for first, second in pairs]), "jaccard": Tally.mean(shares)}
