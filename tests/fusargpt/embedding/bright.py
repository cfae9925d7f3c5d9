"""A model that sees only how much of an image is white, so that what it finds can be said beforehand."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fusargpt.embedding.embedder import Embedder
from fusargpt.errors import InputError
from fusargpt.geo.acquisition import Acquisition
from fusargpt.geo.prior import Prior

WORDS = ("ships", "water")
LONGEST = 5


class BrightTowers:
    """Images lie between the words "ships" (all white) and "water" (nothing white); matching sees it the other way."""

    side = 32
    takes_prior = True
    can_match = True
    scale = 10.0

    def __init__(self) -> None:
        self.seen: list[tuple[np.ndarray, Prior | None, Acquisition | None]] = []
        self.fail_after: int | None = None

    def image_features(
        self,
        pictures: Sequence[Image.Image],
        priors: Sequence[Prior | None],
        acquisitions: Sequence[Acquisition | None],
    ) -> Tensor:
        if self.fail_after is not None and len(self.seen) >= self.fail_after:
            raise KeyboardInterrupt
        images = [np.asarray(picture) for picture in pictures]
        self.seen += zip(images, priors, acquisitions, strict=True)
        white = torch.tensor([float((image[..., 0] > 250).mean()) for image in images])
        return torch.stack([white, 1 - white], 1)

    def patch_features(self, pictures: Sequence[Image.Image], priors: Sequence[Prior | None]) -> Tensor:
        return torch.zeros(len(pictures), 2, 2, 3)

    def text_features(self, texts: Sequence[str]) -> Tensor:
        if any(len(text.split()) > LONGEST for text in texts):
            raise InputError(f"text: more than {LONGEST} words")
        return torch.tensor([[float(word in text) for word in WORDS] for text in texts])

    def match(
        self,
        pictures: Sequence[Image.Image],
        priors: Sequence[Prior | None],
        acquisitions: Sequence[Acquisition | None],
        texts: Sequence[str],
    ) -> Tensor:
        return self.image_features(pictures, priors, acquisitions)[:, 1]

    def unknown(self, text: str) -> list[str]:
        return [word for word in text.split() if not any(known in word for known in WORDS)]


def bright_embedder() -> tuple[Embedder, BrightTowers]:
    towers = BrightTowers()
    return Embedder(towers, "bright", "0123456789abcdef"), towers
