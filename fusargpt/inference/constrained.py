"""Decoding within a grammar: at every step, the tokens that an answer may not go on with are out of the question.

llguidance walks the grammar. An answer is always whole: no list begins another box that the tokens left may not
suffice for.
"""

from collections.abc import Sequence
from functools import lru_cache

import llguidance
import llguidance.hf
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from fusargpt.errors import OptionError
from fusargpt.tasks.grammar import AnswerForm, boxes_begun, grammar, longest_answer


class Grammars:
    """The grammars of one tokenizer, each compiled once.

    Args:
        tokenizer: a fast one.
        vocabulary: width of the model's logits, which may exceed the tokenizer's.
        end_tokens: those that end an answer.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, vocabulary: int, end_tokens: Sequence[int]) -> None:
        self.vocabulary = vocabulary
        self.end_tokens = frozenset(end_tokens)
        # typed as the parent of slow tokenizers too
        self.tokens = llguidance.hf.from_tokenizer(
            tokenizer,  # pyright: ignore[reportArgumentType]
            n_vocab=vocabulary,
            eos_token=list(end_tokens),
        )
        self._compiled = lru_cache(maxsize=256)(self._compile)

    def matcher(self, form: AnswerForm, size: tuple[int, int], boxes: int | None = None) -> llguidance.LLMatcher:
        """A matcher at the beginning of an answer; arguments as of `grammar`."""
        return self._compiled(form, size, boxes).deep_copy()

    def _compile(self, form: AnswerForm, size: tuple[int, int], boxes: int | None) -> llguidance.LLMatcher:
        written = llguidance.LLMatcher.grammar_from_lark(grammar(form, size, boxes))
        return checked(llguidance.LLMatcher(self.tokens, written))


class ConstrainedAnswer:
    """One answer as it is decoded.

    Args:
        grammars: of the model's tokenizer.
        form: of the answer.
        size: (width, height) in pixels of the image as the model sees it.
        max_new_tokens: that the answer may have.

    Raises:
        OptionError: when the tokens may not suffice: a token can be as short as a byte.
    """

    def __init__(self, grammars: Grammars, form: AnswerForm, size: tuple[int, int], max_new_tokens: int) -> None:
        needed = longest_answer(form, size)
        if max_new_tokens < needed:
            raise OptionError(
                f"max_new_tokens: found {max_new_tokens}, expected at least {needed}, so that a constrained answer to "
                f"{form.task} is whole however it is cut into tokens"
            )
        self._grammars, self._form, self._size = grammars, form, size
        self._matcher = grammars.matcher(form, size)
        self._left = max_new_tokens
        self._written: list[int] = []
        # What a token may begin and the tokens after it must end: a comma, a box, and the list.
        self._reserve = needed + len(", ") if form.task == "detect" else 0

    def fill(self, bits: NDArray[np.int64]) -> None:
        """Write into `bits` [ceil(vocabulary / 64)] which tokens may be next, a bit each, the lowest first."""
        if self._reserve and self._left <= self._reserve and not self._matcher.is_accepting():
            self._end_list()
        # llguidance counts in words of 32 bits; its function for a row of a table takes twice as long.
        self._matcher.unsafe_compute_mask_ptr(bits.ctypes.data, -(-self._grammars.vocabulary // 32) * 4)
        checked(self._matcher)

    def take(self, token: int) -> None:
        """Go on with `token`."""
        self._left -= 1
        self._written.append(token)
        if token not in self._grammars.end_tokens:
            self._matcher.consume_token(token)
            checked(self._matcher)

    def _end_list(self) -> None:
        boxes = boxes_begun(self._grammars.tokens.decode_str(self._written))
        self._matcher = self._grammars.matcher(self._form, self._size, max(boxes, 1))
        self._matcher.consume_tokens(self._written)
        checked(self._matcher)
        self._reserve = 0


class Masks:
    """What the answers of a batch may go on with.

    A step asks for the few tokens that each answer may go on with, and compares their scores alone: of a vocabulary of
    152,064, a grammar lets about ten through.

    Args:
        vocabulary: width of the model's logits.
    """

    def __init__(self, vocabulary: int) -> None:
        self._bits = np.zeros((0, -(-vocabulary // 64)), np.int64)

    def choose(self, scores: Tensor, answers: Sequence[ConstrainedAnswer | None]) -> Tensor:
        """The best token [rows] by `scores` [rows, vocabulary] that may be next; the first where several are.

        Args:
            scores: of every token.
            answers: one a row; None for a free one.
        """
        held = [(row, answer) for row, answer in enumerate(answers) if answer is not None]
        if not held:
            return scores.argmax(-1)
        allowed = torch.from_numpy(self._allowed([answer for _, answer in held])).to(scores.device)
        rows = torch.tensor([row for row, _ in held], device=scores.device)
        best = scores[rows[:, None], allowed].argmax(-1, keepdim=True)
        chosen = allowed.gather(1, best)[:, 0]
        if len(held) == len(answers):
            return chosen
        return scores.argmax(-1).index_copy(0, rows, chosen)

    def _allowed(self, answers: Sequence[ConstrainedAnswer]) -> NDArray[np.int64]:
        """Tokens [answers, most], ascending; those of an answer with fewer are filled up with its first."""
        if len(answers) > len(self._bits):
            self._bits = np.zeros((len(answers), self._bits.shape[1]), np.int64)
        bits = self._bits[: len(answers)]
        for answer, row in zip(answers, bits, strict=True):
            answer.fill(row)
        # Of all bits, few are set: whole words without one are passed over.
        places = np.flatnonzero(bits.ravel() != 0)
        of_place, bit = np.nonzero(np.unpackbits(bits.ravel()[places, None].view(np.uint8), axis=1, bitorder="little"))
        row, word = np.divmod(places[of_place], bits.shape[1])
        counts = np.bincount(row, minlength=len(answers))
        first = counts.cumsum() - counts
        token = 64 * word + bit
        allowed = np.repeat(token[first, None], counts.max(), axis=1)
        allowed[row, np.arange(len(token)) - first[row]] = token
        return allowed


def checked(matcher: llguidance.LLMatcher) -> llguidance.LLMatcher:
    """The matcher; RuntimeError with what llguidance says when it has failed, which no input should make it do."""
    if matcher.is_error():
        raise RuntimeError(f"llguidance: {matcher.get_error()}")
    return matcher
