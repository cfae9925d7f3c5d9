"""The one engine by which items are asked: like inputs together, with a journal, and failures at the end.

Whole scenes, benchmarks, batches (here or on a cluster) and the ablation stand on it. A model gets the questions as a
stream, and takes further ones as it has room. What fails alone costs no other item: one that cannot be read is left
out, and what was being answered when a model failed is asked again, in smaller batches or one by one.
"""

import gc
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from itertools import chain
from typing import Any, Generic, Literal, TypeVar

import torch
from tqdm import tqdm

from fusargpt.errors import InputError, OptionError, one_line
from fusargpt.inference.confidences import ScoredAnswer
from fusargpt.inference.journal import Journal
from fusargpt.inference.questions import Answer, Answerer, Failure, Item, Question
from fusargpt.inference.reading_ahead import read_ahead

_SETTLED_AT_ONCE = 512
"""Answers that needed no model and wait to be written; each is a line of the journal."""
_BATCH_PIXELS = 2**26
"""Of the images that wait for one batch, and of those that are read ahead: a tile of 8,192 x 8,192 pixels takes 200 MB
before it is scaled down."""
_DIGITS = 4
"""Of confidences that are kept."""

AnyItem = TypeVar("AnyItem", bound=Item)
Order = Literal["task", "image", "given"]


class Asking(Generic[AnyItem]):
    """Puts items to a model.

    Args:
        answerer: the model.
        read: the question of an item, or its answer where the model need not be asked, called by a thread of its own.
            What it raises costs the item.
        journal: holds what is answered, and gets every further answer as it comes.
        batch_size: questions that are answered together. It shrinks when they do not fit into memory.
        max_new_tokens: where an answer is cut.
        advance: is told of items as they are done, however they end.
    """

    def __init__(
        self,
        answerer: Answerer,
        read: Callable[[AnyItem], Question | Answer],
        journal: Journal,
        *,
        batch_size: int,
        max_new_tokens: int,
        advance: Callable[[int], object] = lambda count: None,
    ) -> None:
        self._answerer, self._read, self._journal = answerer, read, journal
        self._batch_size, self._max_new_tokens = batch_size, max_new_tokens
        self._advance = advance
        # What the journal raised: it is nobody's answer, and ends the run.
        self._unwritten: Exception | None = None

    def run(self, items: Sequence[AnyItem], order: Order = "task") -> list[Failure]:
        """Ask all items that the journal does not hold.

        Args:
            items: each once.
            order: "task" and "image" as of `alike`; "given" keeps theirs, and batches across tasks.

        Returns:
            The items that failed; the next run asks them again.

        Raises:
            OptionError: an option that no item can be asked with.
            ImportError: a package that an option needs.
            OSError: the journal cannot be written.
        """
        left = [item for item in items if item.id not in self._journal.answers]
        failures: list[Failure] = []
        for group in [left] if order == "given" else alike(left, order):
            # As many are read while others are answered as are answered together.
            with closing(read_ahead(group, self._read, self._batch_size, _BATCH_PIXELS)) as outcomes:
                failures += self._ask_all(self._questions(outcomes, failures))
        return failures

    def _questions(
        self, outcomes: Iterable[tuple[AnyItem, Question | Answer | Exception]], failures: list[Failure]
    ) -> Iterator[Question]:
        """What is put to the model; what needs no asking is kept, and what could not be read is among the failures."""
        settled: list[Answer] = []
        for item, found in outcomes:
            # Whatever is wrong with one item, and whatever a library says to it, costs no other.
            if isinstance(found, Exception):
                failures.append(self._failure(item, found))
            elif isinstance(found, Question):
                yield found
            else:
                settled.append(found)
            if len(settled) >= _SETTLED_AT_ONCE:
                self._keep(settled)
                settled.clear()
        self._keep(settled)

    def _ask_all(self, questions: Iterator[Question]) -> list[Failure]:
        failures: list[Failure] = []
        for question in questions:
            failures += self._ask(question, questions)
        return failures

    def _ask(self, first: Question, further: Iterator[Question]) -> list[Failure]:
        """Ask until there are no more, too many pixels wait, or the model fails, which is asked again."""
        asked = {first.item.id: first}
        taken = self._taken(chain([first], further), asked)
        answers = self._answerer.answers(taken, self._batch_size, self._max_new_tokens)
        started = time.perf_counter()
        while True:
            try:
                answered = next(answers, None)
                if answered is None:
                    return []
                seen = [self._answerer.seen_size(question.image) for question, _ in answered]
            except Exception as error:
                if isinstance(error, OptionError | ImportError) or error is self._unwritten:
                    raise
                if len(asked) <= 1:
                    return [self._failure(question.item, error) for question in asked.values()]
                again = self._split(list(asked.values()), error)
                break
            now = time.perf_counter()
            seconds, started = round((now - started) / len(answered), 4), now
            for question, _ in answered:
                del asked[question.item.id]
            self._keep([_answer(*parts, size, seconds) for parts, size in zip(answered, seen, strict=True)])
        # Outside of the handler, whose traceback holds the tensors of the batch that failed.
        return [failure for batch in again for failure in self._ask_all(iter(batch))]

    @staticmethod
    def _taken(questions: Iterator[Question], asked: dict[str, Question]) -> Iterator[Question]:
        """Questions, which are in `asked` until they are answered; no further ones where large images wait in it."""
        for question in questions:
            asked[question.item.id] = question
            yield question
            if sum(one.image.width * one.image.height for one in asked.values()) >= _BATCH_PIXELS:
                return

    def _split(self, questions: Sequence[Question], error: Exception) -> list[Sequence[Question]]:
        size = min(self._batch_size, len(questions))
        if not out_of_memory(error) or size == 1:
            _tell(f"A batch of {len(questions)} failed, and is asked one by one: {one_line(error)}")
            return [[question] for question in questions]
        self._batch_size = (size + 1) // 2
        _tell(f"A batch of {size} does not fit into memory; from here on there are at most {self._batch_size} in one.")
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return [questions]

    def _keep(self, answers: Sequence[Answer]) -> None:
        if answers:
            try:
                self._journal.add(answers)
            except Exception as error:
                self._unwritten = error
                raise
            self._advance(len(answers))

    def _failure(self, item: Item, error: Exception) -> Failure:
        self._advance(1)
        # An InputError is one line by itself.
        return Failure(item.id, str(error) if isinstance(error, InputError) else one_line(error))


def alike(items: Sequence[AnyItem], order: Literal["task", "image"]) -> Iterator[list[AnyItem]]:
    """Items in groups, none of which shares a batch with another.

    Args:
        items: in any order.
        order: "task" makes a group of each task, whose answers are about as long, in it by the length of the inputs,
            so that neighbours need little padding: for models that keep every row until the longest answer ends.
            "image" makes one group, images by their size and all questions about one beside each other: for models
            that encode and read an image once for them, and let a row leave as its answer ends.
    """
    groups: dict[str, list[AnyItem]] = {}
    if order == "image":
        first: dict[str, int] = {}
        for place, item in enumerate(items):
            if item.image:
                first.setdefault(item.image, place)
        by_size = sorted(enumerate(items), key=lambda placed: (placed[1].pixels, first.get(placed[1].image, placed[0])))
        groups[""] = [item for _, item in by_size]
    else:
        for item in items:
            groups.setdefault(item.task, []).append(item)
        for group in groups.values():
            # The length grows with the image's area and the question's letters.
            group.sort(key=lambda item: (item.pixels, len(item.question)))
    yield from groups.values()


def out_of_memory(error: Exception) -> bool:
    """Whether fewer questions at a time could be answered: a GPU's memory did not suffice, or this machine's."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # What torch's allocator for CPUs raises is of no type of its own.
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def _answer(question: Question, text: str, seen: tuple[int, int], seconds: float) -> Answer:
    item, prior = question.item, question.prior
    anchors = None if prior is None else len(prior.embeddings)
    return Answer(
        item.id,
        item.task,
        question.text,
        str(text),
        question.image.size,
        seen,
        anchors,
        seconds,
        read_as=question.read_as,
        **kept_confidences(text),
    )


def kept_confidences(answer: str) -> dict[str, Any]:
    """The fields of an `Answer` that say how sure the model was of a text, rounded; none where that is not known."""
    if not isinstance(answer, ScoredAnswer):
        return {}
    counts = () if answer.counts is None else answer.counts.probabilities
    kept = tuple((count, rounded) for count, share in counts if (rounded := round(share, _DIGITS)) > 0)
    return {
        "scores": tuple(round(score, _DIGITS) for score in answer.scores),
        "confidence": None if answer.confidence is None else round(answer.confidence, _DIGITS),
        "calibrated": answer.calibrated,
        "counts": kept or None,
    }


def _tell(line: str) -> None:
    tqdm.write(line, sys.stderr)
