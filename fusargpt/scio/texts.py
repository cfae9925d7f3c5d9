"""The texts in which parts are judged: some parts together, and the same without one of them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from fusargpt.scio.settings import FEWEST_TOGETHER
from fusargpt.tasks.facts import DIMENSIONS
from fusargpt.tasks.part_texts import part_text
from fusargpt.tasks.stable_random import whole_number


class Probe(NamedTuple):
    """A part within others.

    Attributes:
        whole: text of the part and its context.
        rest: the same without the part.
        span: first character and the one after the last of the part's phrase in `whole`.
    """

    whole: str
    rest: str
    span: tuple[int, int]


def groups(dimensions: Sequence[str], together: int, *key: str) -> list[tuple[str, ...]]:
    """Dimensions in a drawn order, about `together` in each group; none where a part could not be taken out of them."""
    if len(dimensions) < FEWEST_TOGETHER:
        return []
    drawn = sorted(dimensions, key=lambda name: whole_number("scio", *key, name))
    count = max(1, min(round(len(drawn) / together), len(drawn) // FEWEST_TOGETHER))
    return [tuple(drawn[first::count]) for first in range(count)]


def context_of(dimensions: Sequence[str], together: int, *key: str) -> tuple[str, ...]:
    """Trusted dimensions among which another one is judged; empty where there are too few."""
    if len(dimensions) < FEWEST_TOGETHER - 1:
        return ()
    drawn = sorted(dimensions, key=lambda name: whole_number("scio", *key, name))
    return tuple(drawn[: together - 1])


def probe(phrases: Mapping[str, str], group: Sequence[str], dimension: str, *key: str) -> Probe:
    """The probe of a dimension in its group, worded by `key`, the same for every phrase of it."""
    wording = whole_number("scio wording", *key)
    whole = part_text(phrases, group, wording)
    rest = part_text(phrases, [name for name in group if name != dimension], wording)
    index = DIMENSIONS.index(dimension)
    start, end = next((start, end) for found, start, end in whole.spans if found == index)
    phrase = phrases[dimension]
    first = start + whole.text[start:end].lower().index(phrase.lower())
    return Probe(whole.text, rest.text, (first, first + len(phrase)))
