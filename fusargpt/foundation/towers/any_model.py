"""Any vision model that `AutoModel` loads; it gets no prior."""

from collections.abc import Sequence
from math import isqrt
from typing import Any, cast

import numpy as np
import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoImageProcessor, AutoModel

from fusargpt.errors import InputError, one_line
from fusargpt.foundation.features import Features, without_texts
from fusargpt.foundation.places import View


class AnyVisionTower:
    """The last hidden states of a model: a grid of patch tokens, and their mean; before them its class token.

    Args:
        name: folder, or name on the Hub.
        device: as torch names it.

    Raises:
        InputError: files that are missing or damaged.
    """

    def __init__(self, name: str, device: str) -> None:
        try:
            self._processor = cast(Any, AutoImageProcessor.from_pretrained(name, trust_remote_code=False))
            model = AutoModel.from_pretrained(name, trust_remote_code=False, use_safetensors=True)
        # What transformers and safetensors raise on files that are missing or damaged, and on absent packages.
        except (OSError, ValueError, RuntimeError, KeyError, ImportError, SafetensorError) as error:
            raise InputError(f"{name}: the model cannot be loaded: {one_line(error)}") from error
        self._name, self._device = name, device
        self._model = cast(nn.Module, model).to(device).eval()
        self.resize = f"its own processor's: {_size(self._processor)}"

    def features(self, views: Sequence[View]) -> Features:
        """Raises InputError for a model whose hidden states are no grid."""
        inputs = self._processor(images=[view.picture.convert("RGB") for view in views], return_tensors="pt")
        with torch.inference_mode():
            states = self._model(pixel_values=inputs["pixel_values"].to(self._device)).last_hidden_state
        hidden = states.float().cpu().numpy()
        if hidden.ndim == 4:  # [N, C, h, w] of convolutional ones
            tokens = hidden.transpose(0, 2, 3, 1)
            return without_texts(tokens.mean((1, 2)), tokens)
        side = isqrt(hidden.shape[1])
        before = hidden.shape[1] - side**2  # class and register tokens
        if before > 8:
            raise InputError(f"{self._name}: found {hidden.shape[1]} hidden states; expected a square grid of patches")
        tokens = hidden[:, before:].reshape(len(hidden), side, side, -1)
        pooled = [tokens.mean((1, 2))] + ([hidden[:, 0]] if before else [])
        return without_texts(np.concatenate(pooled, 1), tokens)


def _size(processor: Any) -> str:
    sizes = processor.crop_size or processor.size
    return " x ".join(str(value) for value in dict(sizes).values() if value)
