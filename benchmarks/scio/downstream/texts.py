"""Captions as stage 1 learns them, and read back: some parts in one wording, which the question asks for by number.

A part that a caption lacks is not asked for, and one that SCIO holds to be false is told and not learned: so a model
that was trained on captions with gaps is not taught to leave parts out.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from fusargpt.tasks.facts import DIMENSIONS, PART_WEIGHT_COLUMN, doubted_phrases, trusted_phrases
from fusargpt.tasks.part_texts import PartText, part_text

PARTS = (
    "terrain",
    "distribution",
    "target_count",
    "target_location",
    "target_category",
    "target_environment",
)
"""Two of the place and four of its targets: the shorter ones, that nano's image can tell."""
_WORDING = 1031  # the shortest in tokens of nano's in which every sentence begins with words of its own
_BETWEEN = ". "


def told(row: Mapping[str, Any]) -> dict[str, str]:
    """The trusted phrases of a row of `captions`, of `PARTS`."""
    trusted = trusted_phrases(row)
    return {part: trusted[part] for part in PARTS if part in trusted}


def question(parts: Sequence[str]) -> str:
    """The question for `parts`; numbers because each is one token of nano's."""
    return f"Describe this image: {' '.join(str(DIMENSIONS.index(part) + 1) for part in parts)}."


def caption(phrases: Mapping[str, str]) -> str:
    """The text of those of `PARTS` that there are.

    Raises:
        ValueError: there is none.
    """
    return _text(phrases).text


def told_with_doubts(row: Mapping[str, Any]) -> PartText:
    """The caption of a row, with what it said at first of the parts that are not trusted now."""
    doubted = doubted_phrases(row) if PART_WEIGHT_COLUMN in row else {}
    return _text(doubted | told(row))


def _text(phrases: Mapping[str, str]) -> PartText:
    return part_text(phrases, [part for part in PARTS if part in phrases], _WORDING)


def read_caption(text: str) -> dict[str, str]:
    """The phrases of a text of `caption` by dimension; the first where one comes twice, and none of what is no part."""
    found: dict[str, str] = {}
    for sentence in f"{text.strip().removesuffix('.')}".split(_BETWEEN):
        for part, (before, after) in _AROUND.items():
            if sentence.startswith(before) and sentence.endswith(after) and part not in found:
                found[part] = sentence.removeprefix(before).removesuffix(after)
    return found


def _around(part: str) -> tuple[str, str]:
    before, _, after = part_text({part: "{}"}, [part], _WORDING).text.removesuffix(".").partition("{}")
    return before, after


_AROUND = {part: _around(part) for part in PARTS}
