"""Models behind one face: a batch of images and questions in, answers out."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from datasets import Dataset
from PIL import Image
from safetensors import SafetensorError
from transformers import AutoModelForImageTextToText, AutoProcessor

from fusargpt.errors import InputError, one_line
from fusargpt.evaluation.entries import MAJORITY, OWN_TYPES, Entry
from fusargpt.evaluation.items import Item
from fusargpt.geo.prior import Prior
from fusargpt.inference.predict import FusarGpt, load
from fusargpt.tasks.grammar import AnswerForm
from fusargpt.tasks.prompts import NONE_ANSWER, TASKS
from modeling_fusargpt.configuration_fusargpt import FusarGptConfig, FusarGptQwen3Config

# Ours and their backbones, which our classes load with a TLM that does nothing; our processor makes of images and text
# what theirs does, and needs no torchvision.
_OURS = (*OWN_TYPES, FusarGptConfig.backbone_type, FusarGptQwen3Config.backbone_type)


@dataclass(frozen=True, eq=False)
class Asked:
    """An item as it is put to a model."""

    item: Item
    image: Image.Image
    question: str
    prior: Prior | None
    form: AnswerForm | None


class Answerer(Protocol):
    """A model that is ready to answer."""

    def answers(self, batch: Sequence[Asked], max_new_tokens: int) -> list[str]:
        """The answer to each, decoded greedily."""
        ...

    def seen_size(self, image: Image.Image) -> tuple[int, int]:
        """(width, height) in pixels of the image as the model sees it, which boxes in its answers are in."""
        ...


class FusarGptAnswerer:
    """A FUSAR-GPT model, or one of the backbones without a prior."""

    def __init__(self, predictor: FusarGpt) -> None:
        self._predictor = predictor
        self._seen: dict[tuple[int, int], tuple[int, int]] = {}

    def answers(self, batch: Sequence[Asked], max_new_tokens: int) -> list[str]:
        return self._predictor.answers(
            [asked.image for asked in batch],
            [asked.question for asked in batch],
            [asked.prior for asked in batch],
            max_new_tokens=max_new_tokens,
            batch_size=len(batch),
            forms=[asked.form for asked in batch],
        )

    def seen_size(self, image: Image.Image) -> tuple[int, int]:
        # It follows from the size alone, and the image processor takes its time to say it.
        if image.size not in self._seen:
            self._seen[image.size] = self._predictor.seen_size(image)
        return self._seen[image.size]


class AnyModelAnswerer:
    """Any other model of `AutoModelForImageTextToText`, asked through its own chat template."""

    def __init__(self, model: Any, processor: Any) -> None:
        self._model, self._processor = model, processor
        # Answers are decoded from the right end.
        processor.tokenizer.padding_side = "left"
        if processor.tokenizer.pad_token is None:
            processor.tokenizer.pad_token = processor.tokenizer.eos_token

    def answers(self, batch: Sequence[Asked], max_new_tokens: int) -> list[str]:
        features = self._processor(
            # A list for each text: the one form that all processors understand alike.
            images=[[asked.image] for asked in batch],
            text=[self._prompt(asked.question) for asked in batch],
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
        return image.size

    def _prompt(self, question: str) -> str:
        message = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}
        return self._processor.apply_chat_template([message], add_generation_prompt=True)


class MajorityAnswerer:
    """The most frequent answer of each task in other rows; of `detect` the most frequent one that names a box."""

    def __init__(self, rows: Dataset) -> None:
        counts: dict[str, Counter[str]] = {task: Counter() for task in TASKS}
        for task, completion in zip(rows["task"], rows["completion"], strict=True):
            counts[task][completion[0]["content"]] += 1
        # Always answering None would find nothing.
        del counts["detect"][NONE_ANSWER]
        self._answers = {task: answers.most_common(1)[0][0] for task, answers in counts.items() if answers}

    def answers(self, batch: Sequence[Asked], max_new_tokens: int) -> list[str]:
        """Raises InputError for a task that the training split does not ask."""
        for asked in batch:
            if asked.item.task not in self._answers:
                raise InputError(f"{MAJORITY}: the training split has no answer to {asked.item.task}")
        return [self._answers[asked.item.task] for asked in batch]

    def seen_size(self, image: Image.Image) -> tuple[int, int]:
        return image.size


def number_type(device: str) -> torch.dtype:
    """What models compute in on a device, as `fusargpt.inference.predict.load` has it."""
    return torch.float32 if device == "cpu" else torch.bfloat16


def load_answerer(entry: Entry, device: str) -> Answerer:
    """The model of an entry that is not `MAJORITY`, in `number_type(device)`.

    Raises:
        InputError: files that are missing or damaged, or a processor that cannot be made.
    """
    if entry.model_type in _OURS:
        return FusarGptAnswerer(load(entry.model, device))
    try:
        processor: Any = AutoProcessor.from_pretrained(entry.model, trust_remote_code=False)
        # Typed as a model alone, also where the report on its weights comes with it.
        loaded: Any = AutoModelForImageTextToText.from_pretrained(
            entry.model, dtype=number_type(device), output_loading_info=True, trust_remote_code=False
        )
        model, report = loaded
    # What transformers and safetensors raise on files that are missing, damaged or do not fit, and on absent packages.
    except (OSError, ValueError, RuntimeError, KeyError, ImportError, SafetensorError) as error:
        raise InputError(f"{entry.model}: the model cannot be loaded: {one_line(error)}") from error
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise InputError(f"{entry.model}: {len(missing)} weights are missing, {missing[0]} among them")
    return AnyModelAnswerer(model.to(device).eval(), processor)
