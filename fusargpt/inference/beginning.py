"""How answers begin: images, priors and questions read, and the first token of each answer chosen."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise
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
from fusargpt.inference.chat_template import render
from fusargpt.inference.decoding import begin
from fusargpt.inference.drafts import Context, Drafts
from fusargpt.inference.faces import Generates
from fusargpt.inference.running_batch import RunningBatch, RunningRow
from fusargpt.inference.user_texts import UserTexts
from fusargpt.tasks.grammar import AnswerForm
from fusargpt.tasks.prompts import check_question, format_boxes
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
class Beginning:
    """Makes of questions a batch that runs.

    Attributes:
        model, processor: as they are loaded.
    """

    model: AnyFusarGpt
    processor: FusarGptProcessor

    def batch(
        self,
        asked: Sequence[tuple[int, Asked]],
        max_new_tokens: int,
        drafts: Drafts | None,
        streamer: BaseStreamer | None,
    ) -> RunningBatch:
        """The questions read, with the first token of each answer.

        Args:
            asked: questions with their numbers; those about one image, the same object with the same prior, share its
                encoding.
            max_new_tokens: where an answer is cut.
            drafts: that the answers are drafted by; None for none.
            streamer: of the only question; None for none.

        Raises:
            InputError: as `FusarGpt.answer`.
        """
        pairs = [(id(one.image), id(one.prior)) for _, one in asked]
        firsts = [row for row, pair in enumerate(pairs) if pairs.index(pair) == row]
        image_of_row = torch.tensor([firsts.index(pairs.index(pair)) for pair in pairs])
        for row in firsts:
            check_image(asked[row][1].image)
        features = self.processor(
            images=[asked[row][1].image for row in firsts],
            priors=_prior_mappings([asked[row][1].prior for row in firsts]),
            return_tensors="pt",
        )
        grids = features["image_grid_thw"]
        head, behind = self.prompts([one.question for _, one in asked])
        placeholders = [self.processor.image_token * int(grid.prod() // self._merge**2) for grid in grids]
        before = self._padded([self.processor.tokenizer(head + tokens)["input_ids"] for tokens in placeholders])
        after = self._padded(behind)
        text = {name: torch.cat([before[name][image_of_row], after[name]], dim=1) for name in before}
        text["mm_token_type_ids"] = (text["input_ids"] == self.processor.image_token_id).int()
        sizes = [(int(width) * self._patch, int(height) * self._patch) for _, height, width in grids[image_of_row]]
        rows = [
            RunningRow(number, task_of(one.task, one.form), self._held(one.form, size, max_new_tokens))
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

    def prompts(self, questions: Sequence[str]) -> tuple[str, list[list[int]]]:
        """What stands before the image, which is the same whatever is asked, and the tokens of what stands behind."""
        texts = UserTexts(self.processor.tokenizer)
        parts = [
            prompt_of(self.processor, question, texts).partition(self.processor.image_token) for question in questions
        ]
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

    def drafts(self) -> Drafts:
        """They know the form of boxes, as no answer has written it yet."""
        drafts = Drafts(self._numbers)
        for names in pairwise(TARGETS):
            before: Context = ["detect"]
            for token in self.processor.tokenizer(format_boxes(_EXAMPLES, names))["input_ids"]:
                drafts.learn(before, token, is_end=False)
        return drafts

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

    def _held(self, form: AnswerForm | None, size: tuple[int, int], max_new_tokens: int) -> "ConstrainedAnswer | None":
        if form is None:
            return None
        from fusargpt.inference.constrained import ConstrainedAnswer

        return ConstrainedAnswer(self._grammars, form, size, max_new_tokens)

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

    def _to_device(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return dict(BatchFeature(dict(features)).to(self.model.device, self.model.dtype))

    @cached_property
    def _numbers(self) -> frozenset[int]:
        """Tokens of digits alone, with or without a space before them."""
        vocabulary = self.processor.tokenizer.get_vocab()
        return frozenset(token for text, token in vocabulary.items() if text.lstrip(" \u0120\u2581").isdecimal())


def prompt_of(processor: FusarGptProcessor, question: str, texts: UserTexts) -> str:
    """What the model reads of a question, by the chat template. Raises InputError for one that is empty or no text."""
    check_question(question)
    return render(processor, texts.shown(question))


def task_of(task: str | None, form: AnswerForm | None) -> str | None:
    """The form's where none is said; "" is none as well."""
    return task or (None if form is None else form.task)


def check_image(image: Image.Image) -> None:
    """Raises InputError for an image that is not of 8 bit or longer than the image processor takes."""
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
