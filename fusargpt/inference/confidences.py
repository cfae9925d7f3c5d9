"""How sure a model was of each box that it wrote, by the probabilities of the tokens that it chose.

A box's score is the geometric mean of the probabilities of the tokens of its four coordinates and its label; a token
that holds more, as a comma, counts whole. They are those of free decoding, whatever an answer was held to, so that the
same tokens have the same scores either way. Scores are not calibrated: they rank boxes, and are no shares of hits.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from fusargpt.tasks.answers import box_values


@dataclass(frozen=True)
class Decoded:
    """One answer as it was decoded.

    Attributes:
        tokens: with the one that ends it, unless it was cut.
        log_probabilities: of each.
    """

    tokens: list[int]
    log_probabilities: list[float]


class ScoredAnswer(str):
    """The text of an answer, and a score in (0, 1] for each box of `fusargpt.tasks.answers.parse_boxes` in it."""

    scores: tuple[float, ...]

    def __new__(cls, text: str, scores: Sequence[float] = ()) -> "ScoredAnswer":
        made = super().__new__(cls, text)
        made.scores = tuple(scores)
        return made

    # Not only of the text, as str has it: copies and other processes keep the scores.
    def __getnewargs__(self) -> tuple[str, tuple[float, ...]]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return str(self), self.scores


def scored(answer: Decoded, decode: Callable[[list[int]], str]) -> ScoredAnswer:
    """The answer's text with the scores of its boxes.

    Args:
        answer: as it was decoded.
        decode: tokens to text, without special ones.
    """
    text = decode(answer.tokens)
    values = box_values(text)
    if not values:
        return ScoredAnswer(text.strip())
    ends = _ends(answer.tokens, text, decode)
    starts = [0, *ends[:-1]]
    scores = []
    for spans in values:
        chosen = [
            log_probability
            for start, end, log_probability in zip(starts, ends, answer.log_probabilities, strict=True)
            if any(start < last and end > first for first, last in spans)
        ]
        # Bytes that are no text leave no place of their own.
        chosen = chosen or answer.log_probabilities
        scores.append(math.exp(sum(chosen) / len(chosen)))
    return ScoredAnswer(text.strip(), scores)


def _ends(tokens: list[int], text: str, decode: Callable[[list[int]], str]) -> list[int]:
    """Where in the text each token ends."""
    pieces = [decode([token]) for token in tokens]
    if "".join(pieces) == text:
        return list(accumulate(map(len, pieces)))
    # Letters that several tokens share, or spaces that a decoder takes off at the beginning.
    return [len(decode(tokens[: count + 1])) for count in range(len(tokens))]
