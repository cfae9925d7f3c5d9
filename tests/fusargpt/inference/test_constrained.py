"""The tokens that a grammar lets through are those that a mask of the whole vocabulary would leave."""

from collections.abc import Sequence
from typing import cast

import pytest
import torch
from llguidance.numpy import fill_next_token_bitmask
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from fusargpt.checkpoints import NANO
from fusargpt.inference.constrained import ConstrainedAnswer, Grammars, Masks
from fusargpt.tasks.grammar import AnswerForm

SIZE = (168, 168)
TOKENS = 160


@pytest.fixture(scope="module")
def grammars() -> Grammars:
    tokenizer = cast(PreTrainedTokenizerBase, AutoTokenizer.from_pretrained(NANO))
    # Wider than the tokenizer's, and no multiple of 32 or 64.
    return Grammars(tokenizer, len(tokenizer) + 43, [cast(int, tokenizer.eos_token_id)])


def best_by_masks(matchers: Sequence["object | None"], scores: Tensor, vocabulary: int) -> Tensor:
    """A mask for each row: a bit a token, expanded 32-fold."""
    bits = torch.full((len(matchers), -(-vocabulary // 32)), -1, dtype=torch.int32)
    for row, matcher in enumerate(matchers):
        if matcher is not None:
            fill_next_token_bitmask(matcher, bits.numpy(), row)  # pyright: ignore[reportArgumentType]
    allowed = (bits[..., None] >> torch.arange(32, dtype=torch.int32)) & 1
    return scores.masked_fill(allowed.flatten(1)[:, :vocabulary] == 0, -torch.inf).argmax(-1)


@pytest.mark.parametrize("ties", [False, True])
def test_each_row_goes_on_with_the_best_token_that_a_mask_of_the_vocabulary_would_leave(
    grammars: Grammars, ties: bool
) -> None:
    tasks = ("count", "detect", None, "localize", "classify", "detect")
    forms = [None if task is None else AnswerForm(task) for task in tasks]
    answers = [None if form is None else ConstrainedAnswer(grammars, form, SIZE, TOKENS) for form in forms]
    # Walked beside them; far enough from the end that no list is cut short.
    matchers = [None if form is None else grammars.matcher(form, SIZE) for form in forms]
    masks = Masks(grammars.vocabulary)
    draw = torch.Generator().manual_seed(0)
    (end,) = grammars.end_tokens
    steps = 0
    while matchers and steps < TOKENS // 2:
        scores = torch.randn(len(matchers), grammars.vocabulary, generator=draw)
        scores = scores.sign() if ties else scores
        chosen = masks.choose(scores, answers)
        assert chosen.tolist() == best_by_masks(matchers, scores, grammars.vocabulary).tolist()
        for answer, matcher, token in zip(answers, matchers, chosen.tolist(), strict=True):
            if answer is not None:
                answer.take(token)
            if matcher is not None and token != end:
                matcher.consume_token(token)
        kept = [row for row, token in enumerate(chosen.tolist()) if token != end]
        answers, matchers = [answers[row] for row in kept], [matchers[row] for row in kept]
        steps += 1
    assert steps > 20


def test_rows_without_a_form_take_the_best_of_all(grammars: Grammars) -> None:
    scores = torch.randn(3, grammars.vocabulary, generator=torch.Generator().manual_seed(1))
    assert torch.equal(Masks(grammars.vocabulary).choose(scores, [None] * 3), scores.argmax(-1))


def test_a_list_near_its_last_token_is_ended(grammars: Grammars) -> None:
    """The scores would go on with boxes for ever."""
    form = AnswerForm("detect", ("ship",))
    answer = ConstrainedAnswer(grammars, form, SIZE, TOKENS)
    masks = Masks(grammars.vocabulary)
    (end,) = grammars.end_tokens
    scores = torch.zeros(1, grammars.vocabulary)
    for token in range(grammars.vocabulary):
        text = grammars.tokens.decode_str([token])
        scores[0, token] = ("," in text) - ("N" in text or "]" in text)
    scores[0, end] = -2
    written: list[int] = []
    while not written or written[-1] != end:
        written.append(int(masks.choose(scores, [answer])))
        answer.take(written[-1])
    assert len(written) <= TOKENS
    text = grammars.tokens.decode_str(written[:-1])
    assert text.startswith("[{") and text.endswith("}]") and text.count("bbox_2d") > 1
