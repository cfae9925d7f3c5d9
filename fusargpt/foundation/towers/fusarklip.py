"""FUSAR-KLIP: images with prior and acquisition, texts, and matching."""

import re
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Self, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import BatchFeature, StoppingCriteria, StoppingCriteriaList

from fusargpt.embedding.towers import as_written
from fusargpt.errors import InputError, one_line
from fusargpt.foundation.features import Features
from fusargpt.foundation.places import View
from fusargpt.inference.faces import LoadingReport
from modeling_fusarklip import (
    FusarKlipConfig,
    FusarKlipForConditionalGeneration,
    FusarKlipForImageClassification,
    FusarKlipModel,
    FusarKlipProcessor,
)

_TEXTS = 64  # that are read together
_SEED = 0  # of random weights
LONGEST_SENTENCE = 48
"""Tokens that a sentence goes on for at most."""
Result = TypeVar("Result")
Model = TypeVar("Model", FusarKlipModel, FusarKlipForImageClassification)


def load_klip(kind: type[Model], name: str, device: str) -> tuple[Model, FusarKlipProcessor]:
    """A model of a folder or of the Hub, in evaluation mode, and its processor.

    Raises:
        InputError: files that are missing or damaged.
    """
    with _loading(name):
        processor = FusarKlipProcessor.from_pretrained(name)
        model, report = cast(
            tuple[Model, LoadingReport],
            kind.from_pretrained(name, dtype=_dtype(device), use_safetensors=True, output_loading_info=True),
        )
        if report["missing_keys"]:
            raise InputError(f"{name}: weights are missing, {sorted(report['missing_keys'])[0]} among them")
    return _placed(model, device), processor


@contextmanager
def _loading(name: str) -> Generator[None]:
    try:
        yield
    except InputError:
        raise
    # What transformers, tokenizers and safetensors raise on files that are missing or damaged: of any type.
    except Exception as error:
        raise InputError(f"{name}: the model cannot be loaded: {one_line(error)}") from error


def _dtype(device: str) -> torch.dtype:
    # As `fusargpt.embedding.model_folder` computes: small products in bfloat16 are slower on a CPU.
    return torch.float32 if device == "cpu" else torch.bfloat16


def _placed(model: Model, device: str) -> Model:
    # transformers wraps `to` in a way that hides its signature.
    model.to(device=device, dtype=_dtype(device))  # pyright: ignore[reportArgumentType, reportCallIssue]
    return model.eval()


def image_inputs(processor: FusarKlipProcessor, views: Sequence[View]) -> BatchFeature:
    """Pictures with prior and acquisition, as the image tower takes them."""
    priors = [None if view.prior is None else view.prior.columns() for view in views]
    return processor(
        images=[view.picture.convert("RGB") for view in views],
        # None where there is no prior at all, so that the model gets none.
        priors=None if all(prior is None for prior in priors) else priors,
        geography=[dict(view.acquisition) for view in views],
    )


class FusarKlipTower:
    """Pooled features are the embedding and the mean of the patch tokens, tokens those of the image tower's last layer.

    Args:
        model: in evaluation mode.
        processor: the model's.
    """

    def __init__(self, model: FusarKlipModel, processor: FusarKlipProcessor) -> None:
        self._model, self._processor = model, processor
        side = model.config.vision.image_size
        self.scale = 1 / float(model.temperature.detach())
        self.resize = f"{side} x {side}, the whole picture"

    @classmethod
    def load(cls, name: str, device: str, random: bool) -> Self:
        """The model of a folder or of the Hub, or one of its configuration with random weights.

        Raises:
            InputError: files that are missing or damaged.
        """
        if not random:
            return cls(*load_klip(FusarKlipModel, name, device))
        with _loading(name):
            processor = FusarKlipProcessor.from_pretrained(name)
            torch.manual_seed(_SEED)
            model = FusarKlipModel(FusarKlipConfig.from_pretrained(name))
        return cls(_placed(model, device), processor)

    def features(self, views: Sequence[View]) -> Features:
        with torch.inference_mode():
            tokens = self._tokens(views)
            embeddings = self._model.image_embeddings(image_tokens=tokens).float().cpu().numpy()
        patches = tokens[:, 1:].float().cpu().numpy()
        side = round(patches.shape[1] ** 0.5)
        pooled = np.concatenate([embeddings, patches.mean(1)], 1)
        return Features(pooled, patches.reshape(len(patches), side, side, -1), embeddings)

    def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Raises InputError for a text that is longer than the model reads."""
        found = []
        for start in range(0, len(texts), _TEXTS):
            with torch.inference_mode():
                read = self._read(texts[start : start + _TEXTS])
                found.append(self._model.text_embeddings(**read).float().cpu().numpy())
        return np.concatenate(found)

    def match(self, views: Sequence[View], texts: Sequence[str]) -> NDArray[np.float32]:
        """Each view is seen once, however many texts it is paired with. InputError for a text that is too long."""
        return self._paired(self._model.match, views, texts)

    def likelihood(self, views: Sequence[View], texts: Sequence[str]) -> NDArray[np.float32]:
        """As `match`."""
        return self._paired(self._model.log_likelihood, views, texts)

    def _paired(self, read: Callable[..., Tensor], views: Sequence[View], texts: Sequence[str]) -> NDArray[np.float32]:
        different = {id(view): view for view in views}
        places = {name: place for place, name in enumerate(different)}
        index = torch.tensor([places[id(view)] for view in views], device=self._model.device)
        with torch.inference_mode():
            tokens = self._tokens(list(different.values()))
            found = read(**self._read(texts), image_index=index, image_tokens=tokens)
            return found.float().cpu().numpy()

    def go_on(self, views: Sequence[View], beginning: str) -> list[str]:
        with torch.inference_mode():
            tokens = self._tokens(views)
            begun = self._read([beginning] * len(views))["input_ids"]
            stop = SentenceEnds(self._processor, begun.shape[1] - 1)
            written = self._writer.generate(
                input_ids=begun,
                image_tokens=tokens,
                max_new_tokens=LONGEST_SENTENCE,
                do_sample=False,
                stopping_criteria=StoppingCriteriaList([stop]),
            )
        # The token that ends a text is not in what was begun.
        tokenizer = cast(Any, self._processor).tokenizer
        texts: list[str] = tokenizer.batch_decode(written[:, begun.shape[1] - 1 :], skip_special_tokens=True)
        return [re.split(r"\.(?!\d)", as_written(text), maxsplit=1)[0].strip() for text in texts]

    @cached_property
    def _writer(self) -> FusarKlipForConditionalGeneration:
        writer = FusarKlipForConditionalGeneration(self._model.config)
        writer.load_state_dict(self._model.state_dict())
        writer.to(device=self._model.device, dtype=self._model.dtype)  # pyright: ignore[reportArgumentType, reportCallIssue]
        return writer.eval()

    def _tokens(self, views: Sequence[View]) -> Tensor:
        return self._model.image_tokens(**self._placed(image_inputs(self._processor, views)))

    def _read(self, texts: Sequence[str]) -> dict[str, Tensor]:
        return self._placed(_readable(lambda: self._processor(text=list(texts))))

    def _placed(self, batch: Any) -> dict[str, Tensor]:
        return dict(batch.to(self._model.device, self._model.dtype))


class SentenceEnds(StoppingCriteria):
    """Whether a full stop was written, or what ends a text.

    Args:
        processor: whose tokens they are.
        begun: how many tokens stand before what is written.
    """

    def __init__(self, processor: FusarKlipProcessor, begun: int) -> None:
        tokenizer = cast(Any, processor).tokenizer
        self._stop = tokenizer.convert_tokens_to_ids(".")
        self._digits = torch.tensor(tokenizer.convert_tokens_to_ids(list("0123456789")))
        self._begun = begun

    # As generate calls it; the base's hints say other types.
    def __call__(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, input_ids: Tensor, scores: Any, **kwargs: Any
    ) -> Tensor:
        written = input_ids[:, self._begun :]
        # A point between digits ends nothing.
        ends = (written[:, :-1] == self._stop) & ~torch.isin(written[:, 1:], self._digits.to(written.device))
        return ends.any(1)


def _readable(read: Callable[[], Result]) -> Result:
    try:
        return read()
    except ValueError as error:
        raise InputError(one_line(error)) from error
