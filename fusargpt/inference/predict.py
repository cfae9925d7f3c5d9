"""Questions and images in, answers out: a loaded model with its processor, decoding greedily."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import groupby, islice

import torch
from PIL import Image
from transformers.generation.streamers import BaseStreamer

from fusargpt.geo.prior import Prior
from fusargpt.geo.tiling import seen_size
from fusargpt.inference.beginning import Asked, Beginning, check_image, task_of
from fusargpt.inference.confidences import Decoded, ScoredAnswer, scored
from fusargpt.inference.decoding import decode
from fusargpt.inference.running_batch import RunningBatch, RunningRow
from fusargpt.tasks.grammar import AnswerForm
from fusargpt.tasks.prompts import MAX_NEW_TOKENS
from modeling_fusargpt import AnyFusarGpt
from modeling_fusargpt.processing_fusargpt import FusarGptProcessor


@dataclass(frozen=True, eq=False)
class FusarGpt:
    """A model and its processor, ready to answer. Made by `load`.

    Attributes:
        model, processor: as they are loaded.
        drafting: whether tokens are drafted by what followed in answers before, see `fusargpt.inference.drafts`, which
            changes how many passes an answer takes, and no token of it. `dataclasses.replace` makes one without.
    """

    model: AnyFusarGpt
    processor: FusarGptProcessor
    drafting: bool = True

    def answer(
        self,
        image: Image.Image,
        question: str,
        prior: Prior | None = None,
        max_new_tokens: int = MAX_NEW_TOKENS,
        streamer: BaseStreamer | None = None,
        form: AnswerForm | None = None,
        task: str | None = None,
    ) -> str:
        """The answer to one question about one image.

        Args:
            image: RGB, 8 bit, as `fusargpt.geo.image.read_image` returns it.
            question: free text, or a task's prompt of `fusargpt.tasks.prompts`. Special tokens in it are text.
            prior: AlphaEarth embeddings of the same place; None answers from the image alone.
            max_new_tokens: where an answer is cut that has not ended by itself; one with a form is whole.
            streamer: receives the tokens as they are decoded, the question's first.
            form: that the answer must have, whatever the model would rather say; None leaves it free.
            task: of `fusargpt.tasks.prompts.TASKS` that the question is of, by which confidences are read and
                calibrated; None takes the form's, and else the question for a free one.

        Returns:
            The answer's text, a `fusargpt.inference.confidences.ScoredAnswer`. Boxes in it are pixels of the image as
            the model sees it, see `seen_size`.

        Raises:
            InputError: an empty question or one that is no text, an image that is not of 8 bit or more than 200 times
                as long as wide, or `max_new_tokens` that may not suffice for a form.
            ModuleNotFoundError: a form without llguidance, which the extra `constrained` brings.
        """
        task = task_of(task, form)
        ((row,),) = self._rows([Asked(image, question, prior, form, task)], max_new_tokens, 1, streamer)
        if streamer is not None:
            streamer.end()
        return self._text(_decoded(row), task)

    def answers(
        self,
        images: Sequence[Image.Image],
        questions: Sequence[str],
        priors: Sequence[Prior | None] | None = None,
        max_new_tokens: int = MAX_NEW_TOKENS,
        batch_size: int = 16,
        forms: Sequence[AnswerForm | None] | None = None,
        tasks: Sequence[str | None] | None = None,
    ) -> list[str]:
        """The answers to one question about each image, decoded in batches; otherwise as `answer`.

        Questions about one image, the same object with the same prior, stand in one batch, which encodes it once.

        Returns:
            Texts that are `fusargpt.inference.confidences.ScoredAnswer`: `scores` has one for each box, `confidence`
            is of the whole answer.

        Raises:
            ValueError: as many questions, priors, forms or tasks as there are not images; otherwise as `answer`.
            InputError: as `answer`.
        """
        decoded = self.decoded(images, questions, priors, max_new_tokens, batch_size, forms, tasks)
        chosen = self._tasks(tasks, forms, len(images))
        return [self._text(answer, task) for answer, task in zip(decoded, chosen, strict=True)]

    def in_turn(
        self, asked: Iterable[Asked], max_new_tokens: int = MAX_NEW_TOKENS, batch_size: int = 16
    ) -> Iterator[list[tuple[int, str]]]:
        """Answers as they end, however many questions there are; otherwise as `answers`.

        Args:
            asked: the questions, which are taken as there is room for them, and a little ahead; those about one image,
                the same object with the same prior, in succession.
            max_new_tokens: where an answer is cut.
            batch_size: questions that are answered together.

        Returns:
            The answers that have ended, each with the number of its question, from 0.
        """
        for ended in self._rows(asked, max_new_tokens, batch_size):
            yield [(row.number, self._text(_decoded(row), row.task)) for row in ended]

    def answer_tokens(
        self,
        images: Sequence[Image.Image],
        questions: Sequence[str],
        priors: Sequence[Prior | None] | None = None,
        max_new_tokens: int = MAX_NEW_TOKENS,
        batch_size: int = 16,
        forms: Sequence[AnswerForm | None] | None = None,
    ) -> list[list[int]]:
        """The tokens of each answer, with the one that ends it unless it was cut; otherwise as `answers`."""
        return [one.tokens for one in self.decoded(images, questions, priors, max_new_tokens, batch_size, forms)]

    def decoded(
        self,
        images: Sequence[Image.Image],
        questions: Sequence[str],
        priors: Sequence[Prior | None] | None = None,
        max_new_tokens: int = MAX_NEW_TOKENS,
        batch_size: int = 16,
        forms: Sequence[AnswerForm | None] | None = None,
        tasks: Sequence[str | None] | None = None,
    ) -> list[Decoded]:
        """The tokens of each answer and their probabilities, of a count with others; otherwise as `answers`."""
        tasks = self._tasks(tasks, forms, len(images))
        priors = [None] * len(images) if priors is None else priors
        forms = [None] * len(images) if forms is None else forms
        if not len(images) == len(questions) == len(priors) == len(forms):
            raise ValueError(
                f"found {len(images)} images, {len(questions)} questions, {len(priors)} priors and {len(forms)} forms"
            )
        answers = [Decoded([], []) for _ in images]
        first: dict[tuple[int, int], int] = {}
        for row, pair in enumerate(zip(images, priors, strict=True)):
            first.setdefault((id(pair[0]), id(pair[1])), row)
        ordered = sorted(range(len(images)), key=lambda row: first[id(images[row]), id(priors[row])])
        asked = (Asked(images[row], questions[row], priors[row], forms[row], tasks[row]) for row in ordered)
        for ended in self._rows(asked, max_new_tokens, batch_size):
            for row in ended:
                answers[ordered[row.number]] = _decoded(row)
        return answers

    def seen_size(self, image: Image.Image) -> tuple[int, int]:
        """(width, height) in pixels to which the processor resizes `image`; boxes in answers are in these pixels."""
        check_image(image)
        side = self.processor.image_size
        if side is not None:
            return side, side
        image_processor = self.processor.image_processor
        size, token_side = image_processor.size, image_processor.patch_size * image_processor.merge_size
        return seen_size(*image.size, size["shortest_edge"], size["longest_edge"], token_side)

    def decibel_limits(self, polarization: str) -> tuple[float, float] | None:
        """What calibrated decibels were black and white in training; None where the processor does not say."""
        limits = (self.processor.decibel_limits or {}).get(polarization)
        return None if limits is None else (limits[0], limits[1])

    @property
    def coarsest_pixel_m(self) -> float | None:
        """Metres that a pixel had at most in training; None where the processor does not say."""
        return self.processor.coarsest_pixel_m

    @property
    def min_score(self) -> float:
        """The score from which on boxes are worth keeping; 0, all of them, where the processor does not say."""
        return (self.processor.calibration or {}).get("detect", {}).get("min_score", 0.0)

    @property
    def targets(self) -> tuple[str, ...] | None:
        """The classes that the model was trained to find; None where its processor does not say."""
        return None if self.processor.targets is None else tuple(self.processor.targets)

    @cached_property
    def _beginning(self) -> Beginning:
        return Beginning(self.model, self.processor)

    def _rows(
        self, asked: Iterable[Asked], max_new_tokens: int, places: int, streamer: BaseStreamer | None = None
    ) -> Iterator[list[RunningRow]]:
        """Answers as they end."""
        runs = _runs(asked, places)
        waiting: list[list[tuple[int, Asked]]] = []

        def read(free: int) -> RunningBatch | None:
            batch: list[tuple[int, Asked]] = []
            while len(batch) < free:
                waiting.extend(islice(runs, 1 - len(waiting)))
                if not waiting or len(batch) + len(waiting[0]) > free:
                    break
                batch += waiting.pop()
            return self._beginning.batch(batch, max_new_tokens, drafts, streamer) if batch else None

        drafts = self._beginning.drafts() if self.drafting else None
        decoding = decode(read, places)
        while True:
            # Not around what is yielded: whoever takes it would be within it.
            with torch.inference_mode():
                ended = next(decoding, None)
            if ended is None:
                return
            if ended:
                yield ended

    def _text(self, answer: Decoded, task: str | None) -> ScoredAnswer:
        decode = partial(self.processor.tokenizer.decode, skip_special_tokens=True)
        return scored(answer, decode, task, self.processor.calibration)

    @staticmethod
    def _tasks(
        tasks: Sequence[str | None] | None, forms: Sequence[AnswerForm | None] | None, count: int
    ) -> list[str | None]:
        tasks = [None] * count if tasks is None else tasks
        forms = [None] * count if forms is None else forms
        if not len(tasks) == len(forms) == count:
            raise ValueError(f"found {count} images, {len(forms)} forms and {len(tasks)} tasks")
        return [task_of(task, form) for task, form in zip(tasks, forms, strict=True)]


def _runs(asked: Iterable[Asked], most: int) -> Iterator[list[tuple[int, Asked]]]:
    """Numbered questions in succession about one image with one prior, `most` of them at most."""
    for _, run in groupby(enumerate(asked), lambda numbered: (id(numbered[1].image), id(numbered[1].prior))):
        # Held until the next one is there, so that no other image can have taken its id.
        while part := list(islice(run, most)):
            yield part


def _decoded(row: RunningRow) -> Decoded:
    return Decoded(row.tokens, row.log_probabilities, row.alternatives)
