"""Reconstruction: other phrases in the place of flagged ones, of which only those are taken that all speak for.

A phrase is proposed by the judge's own reconstruction, by the images that look most alike, by what most say, by a
captioner, or, of a part that was dropped in an earlier round, by the dataset. It is accepted where alignment and
matching both gain by it at least what they gain by the median part, and where it contradicts no part that is trusted.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fusargpt.scio.judge import Judge, Seen
from fusargpt.scio.screening import Asked, weigh
from fusargpt.scio.settings import ScioSettings
from fusargpt.scio.support import supported
from fusargpt.scio.texts import context_of, probe
from fusargpt.scio.thresholds import Calibration

NEIGHBOURS, NEIGHBOUR_PHRASES = 20, 4
FILL, NEIGHBOUR, COMMONEST, CAPTIONER, SOURCE = "fill", "neighbour", "commonest", "captioner", "source"
_DIGITS = 6


class Gap(NamedTuple):
    """A part that is to be found anew.

    Attributes:
        image: its place in the batch.
        dimension: of the part.
        phrase: that was flagged now or, of a part that was dropped before, the dataset's own.
        fresh: whether it was flagged now; its phrase is then no candidate.
    """

    image: int
    dimension: str
    phrase: str
    fresh: bool


class Neighbours:
    """What is said of the images of one half, by likeness of images.

    Args:
        vectors: [N, D] of length 1.
        phrases: of each image those that are not flagged.
    """

    def __init__(self, vectors: NDArray[np.float32], phrases: Sequence[Mapping[str, str]]) -> None:
        self._vectors, self._phrases = vectors, phrases
        counts: dict[str, Counter[str]] = {}
        for said in phrases:
            for dimension, phrase in said.items():
                counts.setdefault(dimension, Counter())[phrase] += 1
        self.commonest = {name: found.most_common(1)[0][0] for name, found in counts.items()}
        """The phrase that most images have, by dimension; of equally common ones that of the first image."""

    def phrases(self, place: int, dimension: str) -> list[str]:
        """The commonest phrases of a dimension among the images that are most like that at a place."""
        likeness = self._vectors @ self._vectors[place]
        likeness[place] = -np.inf
        nearest = np.argsort(-likeness, kind="stable")[:NEIGHBOURS]
        said = Counter(self._phrases[other][dimension] for other in nearest if dimension in self._phrases[other])
        return [phrase for phrase, _ in said.most_common(NEIGHBOUR_PHRASES)]


def reconstruct(
    judge: Judge,
    seen: Seen,
    names: Sequence[str],
    trusted: Sequence[Mapping[str, str]],
    gaps: Sequence[Gap],
    proposals: Sequence[Mapping[str, str]],
    neighbours: Neighbours,
    places: Sequence[int],
    calibration: Calibration,
    settings: ScioSettings,
) -> list[dict[str, Any]]:
    """For each gap, as plain JSON: `id`, `dimension`, `before`, `tried`, and `accepted` with its phrase, or None.

    Args:
        judge: of this half.
        seen: the batch.
        names: of its images.
        trusted: their phrases that are neither flagged nor dropped.
        gaps: in the order of images.
        proposals: a captioner's phrases of each image by dimension.
        neighbours: of the half.
        places: of the images in the half.
        calibration: of the judge.
        settings: of the run.
    """
    contexts = [
        context_of(list(trusted[gap.image]), settings.together, names[gap.image], gap.dimension, "context")
        for gap in gaps
    ]
    fillings = _fillings(judge, seen, names, trusted, gaps, contexts)
    asked: list[Asked] = []
    for number, (gap, context, filling) in enumerate(zip(gaps, contexts, fillings, strict=True)):
        found = _proposed(gap, filling, proposals[gap.image], neighbours, places[gap.image]) if context else {}
        for phrase, origin in found.items():
            if supported(trusted[gap.image], gap.dimension, phrase):
                told = {**trusted[gap.image], gap.dimension: phrase}
                one = probe(told, (*context, gap.dimension), gap.dimension, names[gap.image])
                asked.append(Asked(gap.image, (number, phrase, origin), one))
    rows = [
        {"id": names[gap.image], "dimension": gap.dimension, "before": gap.phrase, "tried": 0, "accepted": None}
        for gap in gaps
    ]
    for one, evidence in zip(asked, weigh(judge, seen, asked), strict=True):
        number, phrase, origin = one.of
        dimension, row = gaps[number].dimension, rows[number]
        score = calibration.score(dimension, evidence)
        row["tried"] += 1
        best = row["accepted"]
        fits = calibration.fits(dimension, evidence) and score < calibration.thresholds[dimension].score
        if fits and (best is None or score < best["score"]):
            row["accepted"] = {
                "phrase": phrase,
                "by": origin,
                "score": score,
                "evidence": [round(value, _DIGITS) for value in evidence],
                "is_commonest": phrase == neighbours.commonest.get(dimension),
            }
    return rows


def _fillings(
    judge: Judge,
    seen: Seen,
    names: Sequence[str],
    trusted: Sequence[Mapping[str, str]],
    gaps: Sequence[Gap],
    contexts: Sequence[tuple[str, ...]],
) -> list[str | None]:
    able = [number for number, context in enumerate(contexts) if context]
    found: list[str | None] = [None] * len(gaps)
    if not able:
        return found
    probes = [
        probe(
            {**trusted[gaps[number].image], gaps[number].dimension: gaps[number].phrase},
            (*contexts[number], gaps[number].dimension),
            gaps[number].dimension,
            names[gaps[number].image],
        )
        for number in able
    ]
    filled = judge.fill(
        seen, [one.whole for one in probes], [one.span for one in probes], [gaps[number].image for number in able]
    )
    for number, phrase in zip(able, filled, strict=True):
        found[number] = phrase
    return found


def _proposed(
    gap: Gap, filling: str | None, proposals: Mapping[str, str], neighbours: Neighbours, place: int
) -> dict[str, str]:
    """Phrases that may stand in a gap, each with who proposed it first."""
    named = [
        (CAPTIONER, proposals.get(gap.dimension)),
        (SOURCE, None if gap.fresh else gap.phrase),
        (FILL, filling),
        *((NEIGHBOUR, phrase) for phrase in neighbours.phrases(place, gap.dimension)),
        (COMMONEST, neighbours.commonest.get(gap.dimension)),
    ]
    found: dict[str, str] = {}
    for origin, phrase in named:
        if phrase is not None and not (gap.fresh and phrase == gap.phrase):
            found.setdefault(phrase, origin)
    return found
