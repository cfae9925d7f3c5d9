"""Questions and images in, answers out: a loaded model with its processor, decoding greedily."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import groupby, islice, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import BatchFeature
from transformers.generation.streamers import BaseStreamer

from fusargpt.errors import InputError
from fusargpt.geo.image import check_8bit
from fusargpt.geo.prior import Prior
from fusargpt.geo.tiling import seen_size
from fusargpt.inference.chat_template import render
from fusargpt.inference.confidences import Decoded, ScoredAnswer, scored
from fusargpt.inference.decoding import begin, decode
from fusargpt.inference.drafts import Context, Drafts
from fusargpt.inference.faces import Generates
from fusargpt.inference.running_batch import RunningBatch, RunningRow
from fusargpt.inference.user_texts import UserTexts
from fusargpt.tasks.grammar import AnswerForm
from fusargpt.tasks.prompts import MAX_NEW_TOKENS, check_question, format_boxes
from fusargpt.tasks.target_names import TARGETS
from modeling_fusargpt import AnyFusarGpt
from modeling_fusargpt.processing_fusargpt import FusarGptProcessor

if TYPE_CHECKING:
    from fusargpt.inference.constrained import ConstrainedAnswer, Grammars, Masks

# The image processor of Qwen2-VL takes no longer strips.
_MAX_ASPECT_RATIO = 200
# Boxes with numbers of two and of three digits, which some tokenizers write digit by digit.
_EXAMPLES = ((12, 34, 56, 78), (123, 145, 167, 189))


class Asked(NamedTuple):
    """One question: what `FusarGpt.answer` takes under these names."""

    image: Image.Image
    question: str
    prior: Prior | None = None
    form: AnswerForm | None = None
    task: str | None = None


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
        task = _task_of(task, form)
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
        _check_image(image)
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
    def targets(self) -> tuple[str, ...] | None:
        """The classes that the model was trained to find; None where its processor does not say."""
        return None if self.processor.targets is None else tuple(self.processor.targets)

    @cached_property
    def _masks(self) -> "Masks":
        from fusargpt.inference.constrained import Masks

        return Masks(self._grammars.vocabulary)

    @cached_property
    def _grammars(self) -> "Grammars":
        from fusargpt.inference.constrained import Grammars

        model = cast(Generates, self.model)
        ends = model.generation_config.eos_token_id
        vocabulary = model.config.get_text_config().vocab_size
        return Grammars(self.processor.tokenizer, vocabulary, ends if isinstance(ends, list) else [ends])

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
            return self._begin(batch, max_new_tokens, drafts, streamer) if batch else None

        drafts = self._new_drafts() if self.drafting else None
        decoding = decode(read, places)
        while True:
            # Not around what is yielded: whoever takes it would be within it.
            with torch.inference_mode():
                ended = next(decoding, None)
            if ended is None:
                return
            if ended:
                yield ended

    def _begin(
        self,
        asked: Sequence[tuple[int, Asked]],
        max_new_tokens: int,
        drafts: Drafts | None,
        streamer: BaseStreamer | None,
    ) -> RunningBatch:
        """The questions read, with the first token of each answer."""
        pairs = [(id(one.image), id(one.prior)) for _, one in asked]
        firsts = [row for row, pair in enumerate(pairs) if pairs.index(pair) == row]
        image_of_row = torch.tensor([firsts.index(pairs.index(pair)) for pair in pairs])
        for row in firsts:
            _check_image(asked[row][1].image)
        features = self.processor(
            images=[asked[row][1].image for row in firsts],
            priors=_prior_mappings([asked[row][1].prior for row in firsts]),
            return_tensors="pt",
        )
        grids = features["image_grid_thw"]
        head, behind = self._prompts([one.question for _, one in asked])
        placeholders = [self.processor.image_token * int(grid.prod() // self._merge**2) for grid in grids]
        before = self._padded([self.processor.tokenizer(head + tokens)["input_ids"] for tokens in placeholders])
        after = self._padded(behind)
        text = {name: torch.cat([before[name][image_of_row], after[name]], dim=1) for name in before}
        text["mm_token_type_ids"] = (text["input_ids"] == self.processor.image_token_id).int()
        sizes = [(int(width) * self._patch, int(height) * self._patch) for _, height, width in grids[image_of_row]]
        rows = [
            RunningRow(number, _task_of(one.task, one.form), self._held(one.form, size, max_new_tokens))
            for (number, one), size in zip(asked, sizes, strict=True)
        ]
        if streamer is not None:
            rows[0].tell = lambda token: streamer.put(torch.tensor([token]))
        shown: dict[str, Any] = self._to_device(features)
        encoded = self.model.model.get_image_features(**shown, return_dict=True)
        generate = cast(Callable[..., RunningBatch], cast(Generates, self.model).generate)
        return generate(
            **self._to_device(text),
            image_grid_thw=grids[image_of_row].to(self.model.device),
            mm_encoder_outputs={"image": encoded},
            max_new_tokens=max_new_tokens,
            # `generate` shows it the question, and keeps it from a loop that is not its own.
            streamer=streamer,
            custom_generate=partial(
                begin,
                rows=rows,
                image_of_row=image_of_row.to(self.model.device),
                shared=before["input_ids"].shape[1],
                choose=self._choose,
                drafts=drafts,
            ),
            do_sample=False,
            # Published generation configurations carry these, and greedy decoding warns about them.
            temperature=None,
            top_p=None,
            top_k=None,
        )

    def _prompts(self, questions: Sequence[str]) -> tuple[str, list[list[int]]]:
        """What stands before the image, which is the same whatever is asked, and the tokens of what stands behind."""
        texts = UserTexts(self.processor.tokenizer)
        parts = [self._prompt(question, texts).partition(self.processor.image_token) for question in questions]
        return parts[0][0], [texts.tokens(behind) for _, _, behind in parts]

    def _padded(self, rows: Sequence[Sequence[int]]) -> dict[str, Tensor]:
        """Tokens and their mask, int64 [rows, tokens]."""
        # Answers are decoded from the right end, so that padding must be on the left.
        tensors = [torch.tensor(row) for row in rows]
        masks = [torch.ones_like(row) for row in tensors]
        pad = self.processor.tokenizer.pad_token_id
        return {
            "input_ids": pad_sequence(tensors, batch_first=True, padding_value=pad, padding_side="left"),
            "attention_mask": pad_sequence(masks, batch_first=True, padding_side="left"),
        }

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
        return [_task_of(task, form) for task, form in zip(tasks, forms, strict=True)]

    def _to_device(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return dict(BatchFeature(dict(features)).to(self.model.device, self.model.dtype))

    def _held(self, form: AnswerForm | None, size: tuple[int, int], max_new_tokens: int) -> "ConstrainedAnswer | None":
        if form is None:
            return None
        from fusargpt.inference.constrained import ConstrainedAnswer

        return ConstrainedAnswer(self._grammars, form, size, max_new_tokens)

    def _new_drafts(self) -> Drafts:
        """They know the form of boxes, as no answer has written it yet."""
        drafts = Drafts(self._numbers)
        for names in pairwise(TARGETS):
            before: Context = ["detect"]
            for token in self.processor.tokenizer(format_boxes(_EXAMPLES, names))["input_ids"]:
                drafts.learn(before, token, is_end=False)
        return drafts

    @cached_property
    def _numbers(self) -> frozenset[int]:
        """Tokens of digits alone, with or without a space before them."""
        vocabulary = self.processor.tokenizer.get_vocab()
        return frozenset(token for text, token in vocabulary.items() if text.lstrip(" \u0120\u2581").isdecimal())

    def _choose(self, scores: Tensor, rows: Sequence[RunningRow]) -> Tensor:
        if all(row.held is None for row in rows):
            return scores.argmax(-1)
        return self._masks.choose(scores, [cast("ConstrainedAnswer | None", row.held) for row in rows])

    @property
    def _patch(self) -> int:
        return self.processor.image_processor.patch_size

    @property
    def _merge(self) -> int:
        return self.processor.image_processor.merge_size

    def _prompt(self, question: str, texts: UserTexts) -> str:
        check_question(question)
        return render(self.processor, texts.shown(question))


def _runs(asked: Iterable[Asked], most: int) -> Iterator[list[tuple[int, Asked]]]:
    """Numbered questions in succession about one image with one prior, `most` of them at most."""
    for _, run in groupby(enumerate(asked), lambda numbered: (id(numbered[1].image), id(numbered[1].prior))):
        # Held until the next one is there, so that no other image can have taken its id.
        while part := list(islice(run, most)):
            yield part


def _decoded(row: RunningRow) -> Decoded:
    return Decoded(row.tokens, row.log_probabilities, row.alternatives)


def _task_of(task: str | None, form: AnswerForm | None) -> str | None:
    """The form's where none is said; "" is none as well."""
    return task or (None if form is None else form.task)


def _check_image(image: Image.Image) -> None:
    check_8bit(image)
    if max(image.size) > _MAX_ASPECT_RATIO * min(image.size):
        raise InputError(
            f"image: {image.width} x {image.height} pixels; one side may be at most {_MAX_ASPECT_RATIO} times the other"
        )


def _prior_mappings(priors: Sequence[Prior | None]) -> list[dict[str, np.ndarray] | None] | None:
    """The processor's form; None when there is no prior at all, so that the model gets none."""
    if all(prior is None for prior in priors):
        return None
    return [None if prior is None else prior.columns() for prior in priors]
