"""FUSAR-KLIP: images with prior and acquisition, texts, and matching."""

from collections.abc import Callable, Sequence
from typing import Any, Self, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fusargpt.errors import InputError, one_line
from fusargpt.foundation.features import Features
from fusargpt.foundation.places import View
from fusargpt.inference.faces import LoadingReport
from modeling_fusarklip import FusarKlipConfig, FusarKlipModel, FusarKlipProcessor

_TEXTS = 64  # that are read together
_SEED = 0  # of random weights
Result = TypeVar("Result")


class FusarKlipTower:
    """Pooled features are the embedding and the mean of the patch tokens, tokens those of the image tower's last layer.

    Args:
        model: in evaluation mode.
        processor: the model's.
    """

    def __init__(self, model: FusarKlipModel, processor: FusarKlipProcessor) -> None:
        self._model, self._processor = model, processor
        side = model.config.vision.image_size
        self.resize = f"{side} x {side}, the whole picture"

    @classmethod
    def load(cls, name: str, device: str, random: bool) -> Self:
        """The model of a folder or of the Hub, or one of its configuration with random weights.

        Raises:
            InputError: files that are missing or damaged.
        """
        try:
            processor = FusarKlipProcessor.from_pretrained(name)
            if random:
                torch.manual_seed(_SEED)
                model = FusarKlipModel(FusarKlipConfig.from_pretrained(name))
            else:
                model, report = cast(
                    tuple[FusarKlipModel, LoadingReport],
                    FusarKlipModel.from_pretrained(name, use_safetensors=True, output_loading_info=True),
                )
                if report["missing_keys"]:
                    raise InputError(f"{name}: weights are missing, {sorted(report['missing_keys'])[0]} among them")
        except InputError:
            raise
        # What transformers, tokenizers and safetensors raise on files that are missing or damaged: of any type.
        except Exception as error:
            raise InputError(f"{name}: the model cannot be loaded: {one_line(error)}") from error
        # transformers wraps `to` in a way that hides its signature.
        model.to(device)  # pyright: ignore[reportArgumentType]
        return cls(model.eval(), processor)

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
        different = {id(view): view for view in views}
        places = {name: place for place, name in enumerate(different)}
        index = torch.tensor([places[id(view)] for view in views], device=self._model.device)
        with torch.inference_mode():
            tokens = self._tokens(list(different.values()))
            matched = self._model.match(**self._read(texts), image_index=index, image_tokens=tokens)
            return matched.float().cpu().numpy()

    def _tokens(self, views: Sequence[View]) -> Tensor:
        priors = [None if view.prior is None else view.prior.columns() for view in views]
        batch = self._processor(
            images=[view.picture.convert("RGB") for view in views],
            # None where there is no prior at all, so that the model gets none.
            priors=None if all(prior is None for prior in priors) else priors,
            geography=[dict(view.acquisition) for view in views],
        )
        return self._model.image_tokens(**self._placed(batch))

    def _read(self, texts: Sequence[str]) -> dict[str, Tensor]:
        return self._placed(_readable(lambda: self._processor(text=list(texts))))

    def _placed(self, batch: Any) -> dict[str, Tensor]:
        return dict(batch.to(self._model.device, self._model.dtype))


def _readable(read: Callable[[], Result]) -> Result:
    try:
        return read()
    except ValueError as error:
        raise InputError(one_line(error)) from error
