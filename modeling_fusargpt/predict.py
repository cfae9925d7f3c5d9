"""Questions and images in, answers out: a loaded model with its processor, decoding greedily."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import torch
from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError, StrictDataclassError
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor
from transformers import BatchFeature
from transformers.generation.streamers import BaseStreamer
from transformers.models.qwen3_vl.modeling_qwen3_vl import BaseModelOutputWithDeepstackFeatures

from fusar_geo.errors import InputError
from fusar_geo.prior import Prior
from modeling_fusargpt.artefacts import HUB_ID, ArtefactError
from modeling_fusargpt.backbones import AnyFusarGpt, model_class, read_config
from modeling_fusargpt.decoding import decode
from modeling_fusargpt.grammar import AnswerForm
from modeling_fusargpt.processing_fusargpt import FusarGptProcessor

if TYPE_CHECKING:
    from modeling_fusargpt.constrained import Grammars, Masks

MAX_NEW_TOKENS = 512
"""Enough for some twenty boxes in JSON."""

# The image processor of Qwen2-VL takes no longer strips.
_MAX_ASPECT_RATIO = 200


# Of so many batches visual tokens are kept (at 7B 2 MB an image), so that questions about one image share them.
_BATCHES_ENCODED = 16


class Visual(NamedTuple):
    """What the language model sees of an image.

    Attributes:
        grid: [3], its patches along time, height and width.
        tokens: [h w, C], modulated by the prior.
        levels: of Qwen3-VL, as many further [h w, C] as there are deep-stack levels.
    """

    grid: Tensor
    tokens: Tensor
    levels: tuple[Tensor, ...]


@dataclass(frozen=True, eq=False)
class FusarGpt:
    """A model and its processor, ready to answer. Made by `load`."""

    model: AnyFusarGpt
    processor: FusarGptProcessor

    def answer(
        self,
        image: Image.Image,
        question: str,
        prior: Prior | None = None,
        max_new_tokens: int = MAX_NEW_TOKENS,
        streamer: BaseStreamer | None = None,
        form: AnswerForm | None = None,
    ) -> str:
        """The answer to one question about one image.

        Args:
            image: RGB, 8 bit, as `fusar_geo.image.read_image` returns it.
            question: free text, or a task's prompt of `modeling_fusargpt.tasks`.
            prior: AlphaEarth embeddings of the same place; None answers from the image alone.
            max_new_tokens: where an answer is cut that has not ended by itself; one with a form is whole.
            streamer: receives the tokens as they are decoded, the question's first.
            form: that the answer must have, whatever the model would rather say; None leaves it free.

        Returns:
            The answer's text. Boxes in it are pixels of the image as the model sees it, see `seen_size`.

        Raises:
            InputError: an empty question, or an image that is more than 200 times as long as wide.
            ModuleNotFoundError: a form without llguidance, which the extra `constrained` brings.
            ValueError: `max_new_tokens` that a form may need more of.
        """
        visual = self._encode([image], [prior])
        return self._text(self._decode(visual, [question], [form], max_new_tokens, streamer))[0]

    def answers(
        self,
        images: Sequence[Image.Image],
        questions: Sequence[str],
        priors: Sequence[Prior | None] | None = None,
        max_new_tokens: int = MAX_NEW_TOKENS,
        batch_size: int = 16,
        forms: Sequence[AnswerForm | None] | None = None,
    ) -> list[str]:
        """The answers to one question about each image, decoded in batches; otherwise as `answer`.

        An image that stands there several times, as the same object with the same prior, is encoded once for questions
        that are near each other.

        Raises:
            ValueError: as many questions, priors or forms as there are not images; otherwise as `answer`.
            InputError: as `answer`.
        """
        return self._text(self.answer_tokens(images, questions, priors, max_new_tokens, batch_size, forms))

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
        priors = [None] * len(images) if priors is None else priors
        forms = [None] * len(images) if forms is None else forms
        if not len(images) == len(questions) == len(priors) == len(forms):
            raise ValueError(
                f"found {len(images)} images, {len(questions)} questions, {len(priors)} priors and {len(forms)} forms"
            )
        answers: list[list[int]] = [[] for _ in images]
        for start in range(0, len(images), _BATCHES_ENCODED * batch_size):
            rows = range(start, min(start + _BATCHES_ENCODED * batch_size, len(images)))
            # The same image and prior, by whichever row comes first.
            first = {(id(images[row]), id(priors[row])): row for row in reversed(rows)}
            encoded: dict[int, Visual] = {}
            distinct = sorted(first.values())
            for place in range(0, len(distinct), batch_size):
                batch = distinct[place : place + batch_size]
                visual = self._encode([images[row] for row in batch], [priors[row] for row in batch])
                encoded |= dict(zip(batch, visual, strict=True))
            # Answers to the same question are about as long, and need no padding.
            ordered = sorted(rows, key=lambda row: questions[row])
            for place in range(0, len(ordered), batch_size):
                batch = ordered[place : place + batch_size]
                decoded = self._decode(
                    [encoded[first[id(images[row]), id(priors[row])]] for row in batch],
                    [questions[row] for row in batch],
                    [forms[row] for row in batch],
                    max_new_tokens,
                )
                for row, tokens in zip(batch, decoded, strict=True):
                    answers[row] = tokens
        return answers

    def seen_size(self, image: Image.Image) -> tuple[int, int]:
        """(width, height) in pixels to which the processor resizes `image`; boxes in answers are in these pixels."""
        _check_image(image)
        side = self.processor.image_size
        if side is not None:
            return side, side
        image_processor = self.processor.image_processor
        _, rows, columns = image_processor(images=[image])["image_grid_thw"][0]
        return int(columns) * image_processor.patch_size, int(rows) * image_processor.patch_size

    @cached_property
    def _grammars(self) -> "Grammars":
        from modeling_fusargpt.constrained import Grammars

        ends = cast(Any, self.model).generation_config.eos_token_id
        vocabulary = cast(Any, self.model).config.get_text_config().vocab_size
        return Grammars(self.processor.tokenizer, vocabulary, ends if isinstance(ends, list) else [ends])

    def _encode(self, images: Sequence[Image.Image], priors: Sequence[Prior | None]) -> list[Visual]:
        """What the language model sees of each image."""
        for image in images:
            _check_image(image)
        features = self.processor(images=list(images), priors=_prior_mappings(priors), return_tensors="pt")
        with torch.inference_mode():
            outputs = self.model.model.get_image_features(**self._to_device(features), return_dict=True)
        # One [h w, C] for each image, whatever the annotation says; of Qwen3-VL the same for each level.
        tokens = cast(Sequence[Tensor], outputs.pooler_output)
        levels = cast(Sequence[Sequence[Tensor]], outputs.get("deepstack_features") or ())
        return [
            Visual(grid, tokens[index], tuple(level[index] for level in levels))
            for index, grid in enumerate(features["image_grid_thw"])
        ]

    def _decode(
        self,
        visual: Sequence[Visual],
        questions: Sequence[str],
        forms: Sequence[AnswerForm | None],
        max_new_tokens: int,
        streamer: BaseStreamer | None = None,
    ) -> list[list[int]]:
        placeholder = self.processor.image_token
        features = self.processor.tokenizer(
            [
                self._prompt(question).replace(placeholder, placeholder * len(seen.tokens), 1)
                for question, seen in zip(questions, visual, strict=True)
            ],
            padding=True,
            # Answers are decoded from the right end, so that padding must be on the left.
            padding_side="left",
            return_tensors="pt",
        )
        features["mm_token_type_ids"] = (features["input_ids"] == self.processor.image_token_id).int()
        features["image_grid_thw"] = torch.stack([seen.grid for seen in visual])
        levels = [tuple(level) for level in zip(*(seen.levels for seen in visual), strict=True)]
        encoded = BaseModelOutputWithDeepstackFeatures(
            pooler_output=cast(Any, tuple(seen.tokens for seen in visual)), deepstack_features=cast(Any, levels)
        )
        # transformers types `generate` by a protocol that its own models do not meet.
        generate: Any = self.model.generate  # pyright: ignore[reportAttributeAccessIssue]
        with torch.inference_mode():
            tokens = generate(
                **self._to_device(features),
                mm_encoder_outputs={"image": encoded},
                max_new_tokens=max_new_tokens,
                streamer=streamer,
                # The streamer twice: `generate` shows it the question, and keeps it from a loop that is not its own.
                custom_generate=partial(
                    decode, streamer=streamer, restriction=self._restriction(visual, forms, max_new_tokens)
                ),
                do_sample=False,
                # Published generation configurations carry these, and greedy decoding warns about them.
                temperature=None,
                top_p=None,
                top_k=None,
            )
        padding = cast(Any, self.model).generation_config.pad_token_id
        new_tokens = tokens[:, features["input_ids"].shape[1] :].tolist()
        return [answer[: answer.index(padding)] if padding in answer else answer for answer in new_tokens]

    def _text(self, tokens: Sequence[list[int]]) -> list[str]:
        return [answer.strip() for answer in self.processor.batch_decode(tokens, skip_special_tokens=True)]

    def _to_device(self, features: Mapping[str, Any]) -> dict[str, Any]:
        return dict(BatchFeature(dict(features)).to(self.model.device, self.model.dtype))

    def _restriction(
        self, visual: Sequence[Visual], forms: Sequence[AnswerForm | None], max_new_tokens: int
    ) -> "Masks | None":
        if all(form is None for form in forms):
            return None
        from modeling_fusargpt.constrained import ConstrainedAnswer, Masks

        patch = self.processor.image_processor.patch_size
        answers = [
            None
            if form is None
            else ConstrainedAnswer(
                self._grammars, form, (int(seen.grid[2]) * patch, int(seen.grid[1]) * patch), max_new_tokens
            )
            for form, seen in zip(forms, visual, strict=True)
        ]
        return Masks(answers, self._grammars.vocabulary)

    def _prompt(self, question: str) -> str:
        if not question.strip():
            raise InputError("question: found an empty text; ask something, for example 'Describe this image.'")
        message: dict[str, Any] = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}
        return self.processor.apply_chat_template([message], add_generation_prompt=True)


def load(model: str | Path, device: str | None = None) -> FusarGpt:
    """Load a FUSAR-GPT checkpoint, or a Qwen2.5-VL or Qwen3-VL backbone whose TLM then does nothing.

    Args:
        model: a folder with model and processor, or the Hub's `owner/name`. What a stage has left with `save: trained`,
            a TLM or an adapter that names its base, is loaded as one model.
        device: as torch names it; None takes a GPU where there is one. Weights are float32 on the CPU, else bfloat16.

    Raises:
        InputError: no such folder or repository, a model of another type, or files that are missing or damaged, those
            of a base among them.
    """
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    loaded, processor = load_parts(str(model), torch.float32 if device == "cpu" else torch.bfloat16)
    # transformers wraps `to` in a way that hides its signature.
    loaded.to(device)  # pyright: ignore[reportArgumentType]
    return FusarGpt(loaded.eval(), processor)


def load_parts(name: str, dtype: torch.dtype | Literal["auto"]) -> tuple[AnyFusarGpt, FusarGptProcessor]:
    """Model and processor on the CPU; otherwise as `load`. With the dtype "auto", that of the model's configuration."""
    check_name(name)
    try:
        config, is_backbone = read_config(name)
        processor = FusarGptProcessor.from_pretrained(name)
        loaded, report = cast(
            tuple[AnyFusarGpt, dict[str, Any]],
            model_class(config).from_pretrained(name, dtype=dtype, merge_adapter=True, output_loading_info=True),
        )
    except InputError:
        raise
    except ArtefactError as error:
        raise InputError(str(error)) from error
    # What transformers and safetensors raise on files that are missing, damaged or do not fit each other.
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError, StrictDataclassError) as error:
        raise InputError(f"{name}: the model cannot be loaded: {one_line(error)}") from error
    _check_report(name, is_backbone, report)
    return loaded, processor


def check_name(name: str) -> None:
    """Raises InputError for a name that is neither a model folder nor a model on the Hub that can be read."""
    if not name.strip():
        raise InputError("model: found an empty name; expected a model folder or the Hub's owner/name")
    folder = Path(name)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            found = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
            raise InputError(f"{name}: found {found}; expected a model folder with config.json")
    elif folder.exists():
        raise InputError(f"{name}: a file; expected a model folder or the Hub's owner/name")
    elif folder.parts[0] in (".", "..", "~") or Path(folder.parts[0]).is_dir() or not HUB_ID.fullmatch(name):
        raise InputError(f"{name}: no such model folder; expected one, or the Hub's owner/name")
    elif not isinstance(try_to_load_from_cache(name, "config.json"), str):
        _check_on_hub(name)


def _check_on_hub(name: str) -> None:
    """Ask once; `from_pretrained` would retry for half a minute without a network."""
    try:
        get_hf_file_metadata(hf_hub_url(name, "config.json"))
    except HfHubHTTPError as error:
        raise InputError(
            f"{name}: neither a folder nor a model on the Hub that you can read: {one_line(error)}"
        ) from error
    # The HTTP client's errors, whose classes differ between releases of huggingface_hub.
    except Exception as error:
        raise InputError(f"{name}: not a folder, and the Hub cannot be reached: {one_line(error)}") from error


def _check_report(name: str, is_backbone: bool, report: Mapping[str, Any]) -> None:
    """Weights that the files lack would be random; only a backbone's TLM may be missing."""
    missing = [key for key in report["missing_keys"] if not (is_backbone and ".tlm." in key)]
    if missing:
        raise InputError(f"{name}: {len(missing)} weights are missing, {sorted(missing)[0]} among them")


def _check_image(image: Image.Image) -> None:
    if max(image.size) > _MAX_ASPECT_RATIO * min(image.size):
        raise InputError(
            f"image: {image.width} x {image.height} pixels; one side may be at most {_MAX_ASPECT_RATIO} times the other"
        )


def _prior_mappings(priors: Sequence[Prior | None]) -> list[dict[str, Any] | None] | None:
    """The processor's form; None when there is no prior at all, so that the model gets none."""
    if all(prior is None for prior in priors):
        return None
    return [
        None if prior is None else {"prior_embeddings": prior.embeddings, "prior_positions": prior.positions}
        for prior in priors
    ]


def one_line(error: Exception) -> str:
    """An error of another library as the end of a one-line message."""
    return textwrap.shorten(str(error), width=240, placeholder=" ...") or type(error).__name__
