"""CLIP, SigLIP and what is built like them, as `fusargpt.embedding` loads them; they get no prior."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fusargpt.embedding.embedder import Embedder
from fusargpt.foundation.features import Features
from fusargpt.foundation.places import View

_TEXTS = 64  # that are read together


class DualEncoder:
    """Pooled features are the embedding and the mean of the patch tokens.

    Args:
        name: folder, or name on the Hub.
        device: as torch names it.

    Raises:
        InputError: another kind of model, or files that are missing or damaged.
    """

    def __init__(self, name: str, device: str) -> None:
        self._embedder = Embedder.load(name, device)
        self.resize = f"{self._embedder.side} x {self._embedder.side}, by its own processor"

    def features(self, views: Sequence[View]) -> Features:
        pictures = [view.picture.convert("RGB") for view in views]
        embeddings, tokens = self._embedder.images(pictures), self._embedder.patches(pictures)
        return Features(np.concatenate([embeddings, tokens.mean((1, 2))], 1), tokens, embeddings)

    def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Raises InputError for a text that is longer than the model reads."""
        parts = [texts[start : start + _TEXTS] for start in range(0, len(texts), _TEXTS)]
        return np.concatenate([self._embedder.texts(part) for part in parts])
