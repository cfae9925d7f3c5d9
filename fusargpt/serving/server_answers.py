"""How sure the model behind a server with OpenAI's interface was, as `fusargpt.inference.confidences` has it.

Ask with `logprobs=True`, and of a count with `top_logprobs=20`.
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from fusargpt.errors import InputError
from fusargpt.inference.confidences import Calibration, ScoredAnswer, scored_text
from fusargpt.inference.counts import STEPS, CountDistribution, count_distribution


def scored_choice(
    choice: Mapping[str, Any], task: str | None = None, calibration: Calibration | None = None
) -> ScoredAnswer:
    """The answer of a chat completion, scored as `fusargpt.inference.predict.FusarGpt.answer` scores the same tokens.

    Args:
        choice: of the completion, as JSON: of the `openai` client, `completion.choices[0].model_dump()`.
        task: of `fusargpt.tasks.prompts.TASKS`; None of a free question.
        calibration: of the served model, `FusarGptProcessor.from_pretrained(model).calibration`; None leaves
            probabilities as they are.

    Raises:
        InputError: a completion that was asked for without log-probabilities.
    """
    text = choice["message"]["content"] or ""
    found = (choice.get("logprobs") or {}).get("content")
    if found is None:
        raise InputError("logprobs: found none; expected those of each token, ask with logprobs=True")
    log_probabilities = [float(token["logprob"]) for token in found]
    counts = _counts(found) if task == "count" else None
    return scored_text(text, _ends(text, found), log_probabilities, task, calibration, counts)


def _ends(text: str, found: Sequence[Mapping[str, Any]]) -> list[int]:
    """Where in the text each token ends; one that is not in it, as that which ends the answer, where the last did."""
    whole, ends = text.encode(), [0]
    for token in found:
        written = token["token"].encode() if token.get("bytes") is None else bytes(token["bytes"])
        ends.append(ends[-1] + (len(written) if whole.startswith(written, ends[-1]) else 0))
    # A letter of several tokens begins with the first of them.
    letters = [0, *accumulate(_letters(byte) for byte in whole)]
    return [letters[end] for end in ends[1:]]


def _letters(byte: int) -> int:
    """1 where a letter begins, in UTF-8."""
    return int(byte & 0xC0 != 0x80)


def _counts(found: Sequence[Mapping[str, Any]]) -> CountDistribution | None:
    """Tokens are told apart by their texts."""
    names: dict[str, int] = {}

    def number(token: Mapping[str, Any]) -> int:
        return names.setdefault(token["token"], len(names))

    steps = [
        [(number(other), float(other["logprob"])) for other in token.get("top_logprobs") or ()]
        for token in found[:STEPS]
    ]
    tokens, log_probabilities = [number(token) for token in found], [float(token["logprob"]) for token in found]
    texts = list(names)
    return count_distribution(tokens, log_probabilities, steps, lambda ids: "".join(texts[one] for one in ids))
