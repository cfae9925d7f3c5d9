"""Errors planted in copies of captions, to see how well a judge finds them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from fusargpt.captioning.agreement import agrees
from fusargpt.tasks.stable_random import whole_number

_TRIES = 50


class Planted(NamedTuple):
    """A phrase of another image, false of this one, in place of that of a dimension."""

    dimension: str
    phrase: str


def plant(names: Sequence[str], captions: Sequence[Mapping[str, str]], *key: str) -> list[Planted | None]:
    """For each caption one part of another one that is not true of it by its own words; None where none was found.

    Every dimension is drawn alike of those that a caption has, whether or not its own words are true.

    Args:
        names: of the images.
        captions: what is said of them, by dimension.
        key: of what is drawn.
    """
    found: list[Planted | None] = []
    for name, caption in zip(names, captions, strict=True):
        found.append(_planted(name, caption, captions, key) if caption else None)
    return found


def _planted(
    name: str, caption: Mapping[str, str], captions: Sequence[Mapping[str, str]], key: tuple[str, ...]
) -> Planted | None:
    dimensions = list(caption)
    dimension = dimensions[whole_number(*key, name, "dimension") % len(dimensions)]
    for attempt in range(_TRIES):
        other = captions[whole_number(*key, name, str(attempt)) % len(captions)].get(dimension)
        if other is not None and not alike(dimension, other, caption[dimension]):
            return Planted(dimension, other)
    return None


def alike(dimension: str, said: str, true: str) -> bool:
    """Whether both phrases may be true of one image; of a phrase in no known form, whether they are the same."""
    try:
        return agrees(dimension, said, true)
    except ValueError:
        return said == true
