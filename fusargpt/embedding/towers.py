"""The two towers of a dual encoder behind one interface, whatever model they are of."""

import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

import torch
from PIL import Image
from torch import Tensor

from fusargpt.errors import InputError
from fusargpt.geo.acquisition import Acquisition
from fusargpt.geo.prior import Prior


class Towers(Protocol):
    """A model that is ready to embed.

    Attributes:
        side: pixels of the square in which the model sees an image.
        takes_prior: whether images may come with anchors.
        can_match: whether it has a head that reads an image and a text together.
        scale: by which similarities are multiplied before the softmax over labels.
    """

    side: int
    takes_prior: bool
    can_match: bool
    scale: float

    def image_features(
        self,
        pictures: Sequence[Image.Image],
        priors: Sequence[Prior | None],
        acquisitions: Sequence[Acquisition | None],
    ) -> Tensor:
        """[N, D], of any length."""
        ...

    def patch_features(self, pictures: Sequence[Image.Image], priors: Sequence[Prior | None]) -> Tensor:
        """[N, h, w, C]."""
        ...

    def text_features(self, texts: Sequence[str]) -> Tensor:
        """[M, D], of any length. InputError for a text that is too long."""
        ...

    def match(
        self,
        pictures: Sequence[Image.Image],
        priors: Sequence[Prior | None],
        acquisitions: Sequence[Acquisition | None],
        texts: Sequence[str],
    ) -> Tensor:
        """Probabilities [N] that a text tells of its image. InputError where the model has no head for that."""
        ...

    def unknown(self, text: str) -> list[str]:
        """The words of a text that the model's vocabulary has not."""
        ...


class ClipTowers:
    """CLIP, SigLIP and what is built like them in transformers: no prior, no acquisition, no matching head.

    Args:
        model: has `get_image_features` and `get_text_features`.
        processor: with an image processor and a tokenizer.
    """

    takes_prior = False
    can_match = False

    def __init__(self, model: Any, processor: Any) -> None:
        self._model, self._images, self._tokenizer = model, processor.image_processor, processor.tokenizer
        self.scale = float(model.logit_scale.detach().exp())
        self.side = int(model.config.vision_config.image_size)
        # SigLIP was trained on texts that are filled up, and knows no mask.
        self._filled = model.config.model_type.startswith("siglip")
        self._longest = int(model.config.text_config.max_position_embeddings)

    def image_features(
        self,
        pictures: Sequence[Image.Image],
        priors: Sequence[Prior | None],
        acquisitions: Sequence[Acquisition | None],
    ) -> Tensor:
        _refuse_priors(priors)
        return _pooled(self._model.get_image_features(**self._seen(pictures)))

    def patch_features(self, pictures: Sequence[Image.Image], priors: Sequence[Prior | None]) -> Tensor:
        _refuse_priors(priors)
        hidden: Tensor = self._model.vision_model(**self._seen(pictures)).last_hidden_state
        rows = self.side // int(self._model.config.vision_config.patch_size)
        # Some have a class token before the patches.
        patches = hidden[:, hidden.shape[1] - rows * rows :]
        return patches.reshape(len(patches), rows, rows, -1)

    def text_features(self, texts: Sequence[str]) -> Tensor:
        for text in texts:
            check_length(len(self._tokenizer(text)["input_ids"]), self._longest, text)
        filled: dict[str, Any] = {"padding": "max_length", "max_length": self._longest} if self._filled else {}
        tokens = self._tokenizer(list(texts), return_tensors="pt", **{"padding": True, **filled})
        return _pooled(self._model.get_text_features(**on_device(self._model, tokens)))

    def match(
        self,
        pictures: Sequence[Image.Image],
        priors: Sequence[Prior | None],
        acquisitions: Sequence[Acquisition | None],
        texts: Sequence[str],
    ) -> Tensor:
        raise InputError(f"match: a model of type {self._model.config.model_type} has no head that matches")

    def unknown(self, text: str) -> list[str]:
        return unknown_words(self._tokenizer, text)

    def _seen(self, pictures: Sequence[Image.Image]) -> dict[str, Tensor]:
        return on_device(self._model, self._images(images=list(pictures), return_tensors="pt"))


def check_length(tokens: int, longest: int, text: str) -> None:
    """Raises InputError for a text of more tokens than the model reads."""
    if tokens > longest:
        begin = textwrap.shorten(text, 40, placeholder=" ...")
        raise InputError(f"text: {tokens:,} tokens, but the model reads {longest:,} at most; shorten {begin!r}")


def unknown_words(tokenizer: Any, text: str) -> list[str]:
    """The words of a text of which a tokenizer makes its token for what it does not know, each once."""
    if tokenizer.unk_token_id is None:
        return []
    words = dict.fromkeys(text.split())
    return [word for word in words if tokenizer.unk_token_id in tokenizer(word, add_special_tokens=False)["input_ids"]]


def as_written(decoded: str) -> str:
    """Tokens with a space between them as they are written: "61%", "1.5 km", "narrow-body (two)"."""
    text = re.sub(r"(?<=\d) (?=\d)", "", decoded)
    text = re.sub(r"(?<=\d) ([.,]) (?=\d)", r"\1", text)
    text = re.sub(r" (?=[,;:%)])|(?<=\() ", "", text)
    return re.sub(r"(?<=\w) - (?=\w)", "-", text).strip()


def on_device(model: Any, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Where the model is; what is no whole number in its type."""
    return {
        name: value.to(model.device, model.dtype if value.is_floating_point() else None)
        for name, value in features.items()
    }


def _pooled(output: Any) -> Tensor:
    return output if isinstance(output, Tensor) else cast(Tensor, output.pooler_output)


def _refuse_priors(priors: Sequence[Prior | None]) -> None:
    if any(prior is not None and len(prior.embeddings) for prior in priors):
        raise InputError("prior: this model sees the image alone; leave the prior out (--no-prior)")


def unit(features: Tensor) -> Tensor:
    """Vectors [N, D] of length 1, float32."""
    return torch.nn.functional.normalize(features.float(), dim=-1)
