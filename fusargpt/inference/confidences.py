"""How sure a model was of an answer, and of each box in it, by the probabilities of the tokens that it chose.

A box's score is the geometric mean of the probabilities of the tokens of its four coordinates and its label; a token
that holds more, as a comma, counts whole. The confidence of a count, of cells and of a class is the probability of the
whole answer with the token that ends it; of boxes the mean of their scores, and of a description or any other text the
geometric mean over all tokens. Probabilities are those of free decoding, whatever an answer was held to, so that the
same tokens have the same scores either way.

They are not the shares in which answers are right. Where a model's processor holds a calibration (see
`fusargpt.evaluation.calibrating`), they are made so here, before they leave the model; the order does not change.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from fusargpt.errors import InputError
from fusargpt.inference.counts import Alternatives, CountDistribution, count_distribution
from fusargpt.tasks.answers import box_values

Calibration = Mapping[str, Mapping[str, float]]
"""By task, as `modeling_fusargpt.FusarGptProcessor` holds it."""
WHOLE_ANSWERS = ("count", "localize", "classify")
"""Tasks whose answer is right or wrong as a whole."""
CALIBRATED, RAW = "calibrated", "probabilities of tokens"
"""What confidences are, as results say it."""
_SUREST = 1e-6
"""Probabilities are kept so far from 0 and 1, whose log-odds are infinite."""


@dataclass(frozen=True)
class Decoded:
    """One answer as it was decoded.

    Attributes:
        tokens: with the one that ends it, unless it was cut.
        log_probabilities: of each.
        alternatives: of the first tokens, where they were asked for.
    """

    tokens: list[int]
    log_probabilities: list[float]
    alternatives: Alternatives = ()


class ScoredAnswer(str):
    """The text of an answer, and how sure the model was of it.

    Attributes:
        scores: in (0, 1], one for each box of `fusargpt.tasks.answers.parse_boxes`.
        confidence: in (0, 1], of the whole answer; None where it is not known.
        calibrated: whether these are calibrated.
        counts: of an answer to "count"; None of another, or where no number can be read.
    """

    scores: tuple[float, ...]
    confidence: float | None
    calibrated: bool
    counts: CountDistribution | None

    def __new__(
        cls,
        text: str,
        scores: Sequence[float] = (),
        confidence: float | None = None,
        calibrated: bool = False,
        counts: CountDistribution | None = None,
    ) -> "ScoredAnswer":
        made = super().__new__(cls, text)
        made.scores, made.confidence, made.calibrated, made.counts = tuple(scores), confidence, calibrated, counts
        return made

    # Not only of the text, as str has it: copies and other processes keep the scores.
    def __getnewargs__(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
    ) -> tuple[str, tuple[float, ...], float | None, bool, CountDistribution | None]:
        return str(self), self.scores, self.confidence, self.calibrated, self.counts


def abstains(confidence: float | None, least: float) -> bool:
    """Whether an answer is too little sure to be given.

    Raises:
        InputError: a least confidence above 0, and an answer without one.
    """
    if least > 0 and confidence is None:
        raise InputError(f"abstain: found {least:g}, but the model gives its answers no confidences; leave it out")
    return confidence is not None and confidence < least


def calibrated(probability: float, numbers: Mapping[str, float]) -> float:
    """A probability whose log-odds are divided by the `temperature`, and the `offset` added."""
    moved = log_odds(probability) / numbers["temperature"] + numbers["offset"]
    # Of the two forms the one that cannot overflow.
    return 1 / (1 + math.exp(-moved)) if moved >= 0 else math.exp(moved) / (1 + math.exp(moved))


def log_odds(probability: float) -> float:
    """Of a probability, which is kept a millionth from 0 and 1."""
    inside = min(max(probability, _SUREST), 1 - _SUREST)
    return math.log(inside / (1 - inside))


def scored(
    answer: Decoded,
    decode: Callable[[list[int]], str],
    task: str | None = None,
    calibration: Calibration | None = None,
) -> ScoredAnswer:
    """The answer's text with how sure the model was.

    Args:
        answer: as it was decoded.
        decode: tokens to text, without special ones.
        task: of `fusargpt.tasks.prompts.TASKS`; None of a free question.
        calibration: of the model; None leaves probabilities as they are.
    """
    text = decode(answer.tokens)
    ends = _ends(answer.tokens, text, decode) if box_values(text) else [0] * len(answer.tokens)
    counts = None
    if task == "count":
        counts = count_distribution(answer.tokens, answer.log_probabilities, answer.alternatives, decode)
    return scored_text(text, ends, answer.log_probabilities, task, calibration, counts)


def scored_text(
    text: str,
    ends: Sequence[int],
    log_probabilities: Sequence[float],
    task: str | None = None,
    calibration: Calibration | None = None,
    counts: CountDistribution | None = None,
) -> ScoredAnswer:
    """As `scored`, of a text whose tokens' places are known: where in it each ends, and its log-probability."""
    starts = [0, *ends[:-1]]
    scores: list[float] = []
    for spans in box_values(text):
        chosen = [
            log_probability
            for start, end, log_probability in zip(starts, ends, log_probabilities, strict=True)
            if any(start < last and end > first for first, last in spans)
        ]
        # Bytes that are no text leave no place of their own.
        scores.append(_mean(chosen or log_probabilities))
    kind = "detect" if scores else task
    numbers = (calibration or {}).get(kind or "")
    if numbers is not None:
        scores = [calibrated(score, numbers) for score in scores]
    if scores:
        confidence = sum(scores) / len(scores)
    elif not log_probabilities:
        confidence = None
    elif kind in (*WHOLE_ANSWERS, "detect"):
        # Of "None", of which no box tells whether it is right.
        confidence = math.exp(sum(log_probabilities))
        numbers = numbers if kind in WHOLE_ANSWERS else None
        confidence = confidence if numbers is None else calibrated(confidence, numbers)
    else:
        confidence, numbers = _mean(log_probabilities), None
    return ScoredAnswer(text.strip(), scores, confidence, numbers is not None, counts)


def _mean(log_probabilities: Sequence[float]) -> float:
    """The geometric mean of the probabilities."""
    return math.exp(sum(log_probabilities) / len(log_probabilities))


def _ends(tokens: list[int], text: str, decode: Callable[[list[int]], str]) -> list[int]:
    """Where in the text each token ends."""
    pieces = [decode([token]) for token in tokens]
    if "".join(pieces) == text:
        return list(accumulate(map(len, pieces)))
    # Letters that several tokens share, or spaces that a decoder takes off at the beginning.
    return [len(decode(tokens[: count + 1])) for count in range(len(tokens))]
