"""Texts of some parts of a description, in varied order and wording, with what each says as fact keys.

A text that leaves parts out says nothing of them: it is true of every image that shares the facts it names.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fusargpt.tasks.facts import DIMENSIONS, TARGET_PREFIX, fact_keys
from fusargpt.tasks.false_facts import false_phrases
from fusargpt.tasks.stable_random import whole_number
from fusargpt.tasks.target_dimensions import NO_TARGETS
from fusargpt.tasks.wordings import SENTENCES, TARGET_SENTENCES

FEWEST_PARTS, MOST_PARTS = 2, 8
SAYS_LITTLE = "roads"
"""The dimension in which most scenes agree: alone it tells none from another."""
_SENTENCES = SENTENCES | {f"{TARGET_PREFIX}{name}": wordings for name, wordings in TARGET_SENTENCES.items()}
BEGINNINGS = {
    dimension: next(before for wording in wordings if (before := wording.partition("{}")[0]))
    for dimension, wordings in _SENTENCES.items()
}
"""What stands before the phrase of each dimension, in the first wording in which something does."""
# Of a scene without targets these say enough; the other dimensions would say the same again.
_ABSENCES = ("target_count", "target_location", "target_category")


@dataclass(frozen=True, eq=False)
class PartText:
    """A text of one or more parts, each a sentence.

    Attributes:
        text: the sentences, a space between them.
        facts: int64 [16], the key of what is said in each of `DIMENSIONS`, 0 where nothing is.
        spans: dimension index, first character and the one after the last of each sentence, as they follow each other.
        wording: the number that it was worded by.
    """

    text: str
    facts: NDArray[np.int64]
    spans: tuple[tuple[int, int, int], ...]
    wording: int

    @property
    def dimensions(self) -> tuple[str, ...]:
        """The dimensions of which something is said, in the text's order."""
        return tuple(DIMENSIONS[index] for index, _, _ in self.spans)


def part_text(phrases: Mapping[str, str], dimensions: Sequence[str], wording: int) -> PartText:
    """The text of `dimensions` in that order; `wording` >= 0 chooses each sentence, the same number always the same.

    Raises:
        ValueError: no dimension, one twice or one that `phrases` lacks, `roads` alone, or a negative wording.
    """
    if wording < 0:
        raise ValueError(f"wording: found {wording}, expected 0 or more")
    if not dimensions or len(set(dimensions)) < len(dimensions):
        raise ValueError(f"dimensions: found {', '.join(dimensions) or 'none'}; expected one or more, each once")
    if tuple(dimensions) == (SAYS_LITTLE,):
        raise ValueError(
            f"dimensions: found {SAYS_LITTLE} alone, in which most scenes agree; expected others beside it"
        )
    missing = [dimension for dimension in dimensions if dimension not in phrases]
    if missing:
        raise ValueError(f"dimensions: nothing is known of {', '.join(missing)}; known are {', '.join(phrases)}")
    text, spans = "", []
    for dimension in dimensions:
        wordings = _SENTENCES[dimension]
        sentence = wordings[whole_number(str(wording), dimension) % len(wordings)].format(phrases[dimension])
        start = len(text) + bool(text)
        text += f"{' ' if text else ''}{sentence[0].upper()}{sentence[1:]}"
        spans.append((DIMENSIONS.index(dimension), start, len(text)))
    return PartText(text, fact_keys({name: phrases[name] for name in dimensions}), tuple(spans), wording)


def draw_part_text(phrases: Mapping[str, str], seed: int) -> PartText:
    """Two to eight random parts in random order and wording; fewer where less is known, always the same for a seed.

    Of a scene without targets at most one part says so.

    Raises:
        ValueError: nothing is known but `roads`.
    """
    key = f"draw {seed}"
    drawn = sorted(phrases, key=lambda dimension: whole_number(key, dimension))
    if phrases.get("target_count") == NO_TARGETS.count:
        absence = next((dimension for dimension in drawn if dimension in _ABSENCES), None)
        drawn = [name for name in drawn if not name.startswith(TARGET_PREFIX) or name == absence]
    parts = FEWEST_PARTS + whole_number(key, "parts") % (MOST_PARTS - FEWEST_PARTS + 1)
    return part_text(phrases, drawn[:parts], whole_number(key, "wording"))


def counterfactual(phrases: Mapping[str, str], said: PartText | Sequence[str], seed: int) -> PartText | None:
    """A text that says one thing that is false of the scene, and nothing else that is not so.

    One more or one less of the targets, another land cover or class, or mirrored places; see
    `fusargpt.tasks.false_facts`. `facts` holds the keys of what it says, the false ones among them.

    Args:
        phrases: all that is known of the scene; they are true.
        said: a text of the scene, whose order and wording are kept, or the dimensions to speak of.
        seed: chooses what is exchanged, and the wording where `said` has none.

    Returns:
        None where `said` holds nothing that can be exchanged for what is known to be false.

    Raises:
        ValueError: as `part_text` does.
    """
    if isinstance(said, PartText):
        dimensions, wording = said.dimensions, said.wording
    else:
        dimensions, wording = said, whole_number("counterfactual", str(seed))
    true_text = part_text(phrases, dimensions, wording)
    told = false_phrases(phrases, true_text.dimensions, seed)
    return None if told is None else part_text(told, true_text.dimensions, wording)
