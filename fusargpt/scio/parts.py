"""Captions part by part: what each says now, how far it is trusted, and what it said at first."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from fusargpt.tasks.facts import (
    DIMENSIONS,
    LANDFORM_COLUMN,
    PART_SOURCE_COLUMN,
    PART_WEIGHT_COLUMN,
    TARGET_COLUMN,
    TARGET_PREFIX,
    phrases_of,
)

Origin = Literal["source", "reconstructed", "dropped"]
HALF_TRUSTED = 0.5
"""Weight of a reconstructed part until the next round has judged it."""


@dataclass(frozen=True)
class Part:
    """One part of one caption.

    Attributes:
        phrase: what it says; of a dropped one what it said last.
        source: what it said in the dataset.
        weight: 0 for a part that is held to be false.
        origin: where the phrase comes from.
        round: in which it was changed last; 0 for never.
    """

    phrase: str
    source: str
    weight: float = 1.0
    origin: Origin = "source"
    round: int = 0

    def dropped(self, in_round: int) -> "Part":
        return replace(self, weight=0.0, origin="dropped", round=in_round)

    def said(self, phrase: str, in_round: int) -> "Part":
        """With another phrase, or its first one again, at half weight."""
        origin: Origin = "source" if phrase == self.source else "reconstructed"
        return Part(phrase, self.source, HALF_TRUSTED, origin, in_round)

    def confirmed(self) -> "Part":
        return replace(self, weight=1.0)


Caption = Mapping[str, Part]
"""The parts of an image by dimension, in the order of `DIMENSIONS`."""


def read_caption(row: Mapping[str, Any]) -> Caption:
    """The parts of a row of `captions`, all trusted; raises InputError as `phrases_of`."""
    return {dimension: Part(phrase, phrase) for dimension, phrase in phrases_of(row).items()}


def kept(caption: Caption) -> dict[str, str]:
    """The phrases that are trusted, by dimension."""
    return {dimension: part.phrase for dimension, part in caption.items() if part.weight > 0}


def columns_of(caption: Caption) -> dict[str, Any]:
    """Both descriptions without what is dropped, and for each of `DIMENSIONS` weight, origin and first phrase."""
    phrases = kept(caption)
    place = {name: phrases.get(name) for name in DIMENSIONS if not name.startswith(TARGET_PREFIX)}
    targets = {
        name.removeprefix(TARGET_PREFIX): phrases.get(name) for name in DIMENSIONS if name.startswith(TARGET_PREFIX)
    }
    parts = [caption.get(name) for name in DIMENSIONS]
    return {
        LANDFORM_COLUMN: place if any(place.values()) else None,
        TARGET_COLUMN: targets if any(targets.values()) else None,
        PART_WEIGHT_COLUMN: [1.0 if part is None else part.weight for part in parts],
        "part_origin": [None if part is None else part.origin for part in parts],
        PART_SOURCE_COLUMN: [None if part is None else part.source for part in parts],
        "scio_round": max((part.round for part in parts if part is not None), default=0),
    }
