"""How sure a model is of a number that it counted: the probability of each number by those of the tokens.

Where a tokenizer has a token for every number, as those of the small models, this is the whole distribution.
Where it writes numbers digit by digit, as Qwen's, only the numbers that begin as the answer does are followed to their
end; one that begins by another digit is taken for that digit alone.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

SHARE = 0.9
"""Of the probability that an interval holds."""
STEPS = 10
"""Tokens at the beginning of an answer whose alternatives are looked at: a number has up to nine digits."""
ALTERNATIVES = 20
"""Tokens of each step that are looked at, the most probable ones; as many as vLLM gives."""

Alternatives = Sequence[Sequence[tuple[int, float]]]
"""Of each step: the most probable tokens, each with its log-probability."""


@dataclass(frozen=True)
class CountDistribution:
    """Numbers, ascending, and the probability of each, which add up to 1.

    A mean and a deviation are not taken: a model that has also learned to write coordinates puts a thousandth on
    numbers of three digits, which say nothing and outweigh all else in them. The interval leaves them out.
    """

    probabilities: tuple[tuple[int, float], ...]

    @property
    def interval(self) -> tuple[int, int]:
        """The numbers from which on 5 % and 95 % of the probability are reached; between them lie 90 % or more."""
        return self._quantile((1 - SHARE) / 2), self._quantile((1 + SHARE) / 2)

    def _quantile(self, share: float) -> int:
        # Rounded numbers add up to a little less than 1.
        total, reached = sum(probability for _, probability in self.probabilities), 0.0
        for count, probability in self.probabilities:
            reached += probability
            if reached >= share * total:
                return count
        return self.probabilities[-1][0]


def count_distribution(
    tokens: Sequence[int],
    log_probabilities: Sequence[float],
    alternatives: Alternatives,
    decode: Callable[[list[int]], str],
) -> CountDistribution | None:
    """Of an answer that is a number; None where neither it nor an alternative is one.

    Args:
        tokens: of the answer.
        log_probabilities: of each.
        alternatives: of the first tokens.
        decode: tokens to text, without special ones.
    """
    found: dict[int, float] = {}

    def add(number: str, probability: float) -> None:
        if number:
            found[int(number)] = found.get(int(number), 0.0) + probability

    begun, weight = "", 1.0
    for token, log_probability, others in zip(tokens, log_probabilities, alternatives, strict=False):
        for other, of_other in others:
            if other != token:
                add(begun + _digits(decode([other])), weight * math.exp(of_other))
        weight *= math.exp(log_probability)
        written = _digits(decode([token]))
        if begun and not written:
            break
        begun += written
    add(begun, weight)
    total = sum(found.values())
    if total == 0:
        return None
    return CountDistribution(tuple((count, share / total) for count, share in sorted(found.items())))


def _digits(text: str) -> str:
    """The number that a token is, "" for another one; nobody counts to ten digits."""
    bare = text.strip()
    return bare if bare.isascii() and bare.isdigit() and len(bare) < STEPS else ""
