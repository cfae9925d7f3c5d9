"""Whoever answers a benchmark: FUSAR-GPT, other vision-language models, and the majority answer."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple, cast

import torch
from datasets import Dataset
from PIL import Image
from safetensors import SafetensorError
from torch import nn
from transformers import AutoModelForImageTextToText, AutoProcessor

from fusargpt.errors import InputError, one_line
from fusargpt.evaluation.entries import MAJORITY, OWN_TYPES, Entry
from fusargpt.inference.devices import chosen_dtype
from fusargpt.inference.faces import Generates, LoadingReport, Processes
from fusargpt.inference.loading import load
from fusargpt.inference.number_types import Dtype, Quantization
from fusargpt.inference.predict import FusarGpt
from fusargpt.inference.questions import Answered, Answerer, FusarGptAnswerer, Question, batch_by_batch
from fusargpt.inference.rows import only_message
from fusargpt.inference.user_texts import UserTexts
from fusargpt.tasks.prompts import NONE_ANSWER, TASKS
from modeling_fusargpt.configuration_fusargpt import FusarGptConfig, FusarGptQwen3Config

THOUSANDTHS = (1000, 1000)
"""Width and height of every image to a model whose boxes are in thousandths of it."""
# Ours and their backbones, which our classes load with a TLM that does nothing; our processor makes of images and text
# what theirs does, and needs no torchvision.
_OURS = (*OWN_TYPES, FusarGptConfig.backbone_type, FusarGptQwen3Config.backbone_type)


class OwnEngine(NamedTuple):
    """What else than transformers runs FUSAR-GPT models: its name, and what loads a model by its folder or name."""

    name: str
    load: Callable[[str], FusarGpt]


class AnyModelAnswerer:
    """Any other model of `AutoModelForImageTextToText`, asked through its own chat template."""

    def __init__(self, model: Generates, processor: Processes, unit: tuple[int, int] | None) -> None:
        self._model, self._processor, self._unit = model, processor, unit
        # Answers are decoded from the right end.
        processor.tokenizer.padding_side = "left"
        if processor.tokenizer.pad_token is None:
            processor.tokenizer.pad_token = processor.tokenizer.eos_token

    def answers(self, questions: Iterable[Question], batch_size: int, max_new_tokens: int) -> Iterator[Answered]:
        return batch_by_batch(partial(self._answers, max_new_tokens=max_new_tokens), questions, batch_size)

    def _answers(self, questions: Sequence[Question], max_new_tokens: int) -> list[str]:
        features = self._processor(
            # A list for each text: the one form that all processors understand alike.
            images=[[question.image] for question in questions],
            text=[self._prompt(question.text) for question in questions],
            padding=True,
            return_tensors="pt",
        ).to(self._model.device, self._model.dtype)
        with torch.inference_mode():
            tokens = self._model.generate(
                **features, max_new_tokens=max_new_tokens, do_sample=False, temperature=None, top_p=None, top_k=None
            )
        new_tokens = tokens[:, features["input_ids"].shape[1] :]
        return [text.strip() for text in self._processor.batch_decode(new_tokens, skip_special_tokens=True)]

    def seen_size(self, image: Image.Image) -> tuple[int, int]:
        """The image's own size: how such a model counts pixels is not known, and the form of the answer names it."""
        return image.size if self._unit is None else self._unit

    def _prompt(self, question: str) -> str:
        if UserTexts(self._processor.tokenizer).shown(question) != question:
            raise InputError("question: holds a special token, which a model of another type would not take for text")
        message = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}
        return self._processor.apply_chat_template([message], add_generation_prompt=True)


class MajorityAnswerer:
    """The most frequent answer of each task in other rows; of `detect` the most frequent one that names a box."""

    def __init__(self, rows: Dataset) -> None:
        counts: dict[str, Counter[str]] = {task: Counter() for task in TASKS}
        for row in rows.select_columns(["task", "completion"]):
            assert isinstance(row, dict)
            # A row that says nothing costs none of the others.
            with suppress(InputError, KeyError):
                counts[row["task"]][only_message(row, "completion", "assistant")] += 1
        # Always answering None would find nothing.
        del counts["detect"][NONE_ANSWER]
        self._answers = {task: answers.most_common(1)[0][0] for task, answers in counts.items() if answers}

    def answers(self, questions: Iterable[Question], batch_size: int, max_new_tokens: int) -> Iterator[Answered]:
        """Raises InputError for a task that the training split does not ask."""
        return batch_by_batch(self._most_frequent, questions, batch_size)

    def _most_frequent(self, questions: Sequence[Question]) -> list[str]:
        for question in questions:
            if question.item.task not in self._answers:
                raise InputError(f"{MAJORITY}: the training split has no answer to {question.item.task}")
        return [self._answers[question.item.task] for question in questions]

    def seen_size(self, image: Image.Image) -> tuple[int, int]:
        return image.size


def load_answerer(
    entry: Entry,
    device: str,
    raw_scores: bool = False,
    dtype: Dtype | None = None,
    quantization: Quantization = "none",
    engine: OwnEngine | None = None,
) -> Answerer:
    """The model of an entry that is not `MAJORITY`.

    Args:
        entry: who answers.
        device: as torch names it.
        raw_scores: leave its calibration out.
        dtype, quantization: as of `fusargpt.inference.loading.load`; models of other types are never quantized.
        engine: of FUSAR-GPT models and their backbones; None takes transformers.

    Raises:
        InputError: files that are missing or damaged, or a processor that cannot be made.
    """
    unit = THOUSANDTHS if entry.in_thousandths else None
    if entry.model_type in _OURS:
        predictor = load(entry.model, device, dtype, quantization) if engine is None else engine.load(entry.model)
        if raw_scores:
            predictor.processor.calibration = None
        return FusarGptAnswerer(predictor, unit)
    try:
        processor = cast(Processes, AutoProcessor.from_pretrained(entry.model, trust_remote_code=False))
        model, report = cast(
            # Typed as a model alone, also where the report on its weights comes with it.
            tuple[nn.Module, LoadingReport],
            AutoModelForImageTextToText.from_pretrained(
                entry.model, dtype=chosen_dtype(dtype, device), output_loading_info=True, trust_remote_code=False
            ),
        )
    # What transformers and safetensors raise on files that are missing, damaged or do not fit, and on absent packages.
    except (OSError, ValueError, RuntimeError, KeyError, ImportError, SafetensorError) as error:
        raise InputError(f"{entry.model}: the model cannot be loaded: {one_line(error)}") from error
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise InputError(f"{entry.model}: {len(missing)} weights are missing, {missing[0]} among them")
    return AnyModelAnswerer(cast(Generates, model.to(device).eval()), processor, unit)
