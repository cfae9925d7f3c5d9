"""Models of open_clip, as RemoteCLIP, GeoRSCLIP, SkyCLIP and SARCLIP are published: image and text, no prior."""

from collections.abc import Sequence
from importlib import import_module
from math import isqrt
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fusargpt.errors import InputError, one_line
from fusargpt.foundation.features import Features
from fusargpt.foundation.places import View


class OpenClipTower:
    """Pooled features are the embedding and the mean of the patch tokens.

    Args:
        name: ARCHITECTURE/WEIGHTS, weights being open_clip's own name of them or a file of safetensors.
        device: as torch names it.

    Raises:
        InputError: a name of another form, weights in a pickle, or a model that cannot be loaded.
        ModuleNotFoundError: open_clip is not installed.
    """

    def __init__(self, name: str, device: str) -> None:
        open_clip: Any = import_module("open_clip")

        architecture, _, weights = name.partition("/")
        if not architecture or not weights:
            raise InputError(f"open_clip:{name}: expected open_clip:ARCHITECTURE/WEIGHTS, as ViT-B-32/openai")
        if weights.endswith((".pt", ".pth", ".bin")):
            raise InputError(f"{weights}: weights in a pickle, which can run code; convert them to safetensors")
        try:
            model, _, preprocess = open_clip.create_model_and_transforms(architecture, pretrained=weights)
            model.visual.output_tokens = True
        # What open_clip, its downloads and torch raise on names and files that are not as they should be: of any type.
        except Exception as error:
            raise InputError(f"open_clip:{name}: the model cannot be loaded: {one_line(error)}") from error
        self._model: Any = model.to(device).eval()
        self._preprocess: Any = preprocess
        self._tokenizer: Any = open_clip.get_tokenizer(architecture)
        self._device = device
        self.resize = "open_clip's own transform of the architecture"

    def features(self, views: Sequence[View]) -> Features:
        pixels = torch.stack([self._preprocess(view.picture.convert("RGB")) for view in views]).to(self._device)
        with torch.inference_mode():
            embeddings, hidden = self._model.visual(pixels)
        embeddings = torch.nn.functional.normalize(embeddings.float(), dim=-1).cpu().numpy()
        tokens = hidden.float().cpu().numpy()
        side = isqrt(tokens.shape[1])
        tokens = tokens[:, tokens.shape[1] - side**2 :].reshape(len(tokens), side, side, -1)
        return Features(np.concatenate([embeddings, tokens.mean((1, 2))], 1), tokens, embeddings)

    def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Raises InputError for a text that the tokenizer would cut."""
        for text in texts:
            # One token less than the context is filled with what was cut.
            if int(self._tokenizer([text])[0, -1]) != 0:
                raise InputError(f"text: longer than the {self._tokenizer.context_length} tokens that the model reads")
        with torch.inference_mode():
            encoded = self._model.encode_text(self._tokenizer(list(texts)).to(self._device), normalize=True)
        return encoded.float().cpu().numpy()
