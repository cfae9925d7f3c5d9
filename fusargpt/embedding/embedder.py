"""Images and texts in, vectors of one space out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from fusargpt.checkpoints import KLIP_NANO, shipped
from fusargpt.embedding.model_folder import fingerprint, model_label, read_towers
from fusargpt.embedding.towers import Towers, unit
from fusargpt.errors import InputError, check_characters
from fusargpt.geo.acquisition import Acquisition
from fusargpt.geo.image import check_8bit
from fusargpt.geo.prior import Prior

Known = TypeVar("Known", Prior, Acquisition)


@dataclass(frozen=True, eq=False)
class Embedder:
    """A dual encoder, ready to embed. Made by `load`.

    Attributes:
        towers: the model.
        name: of the model, as outputs have it.
        fingerprint: stands for the model's content; vectors of different ones cannot be compared.
    """

    towers: Towers
    name: str
    fingerprint: str

    @staticmethod
    def load(model: str | Path = KLIP_NANO, device: str | None = None) -> "Embedder":
        """Load FUSAR-KLIP, or CLIP, SigLIP and their like, which see the image alone.

        Args:
            model: a folder with model and processor, or the Hub's `owner/name`.
            device: as torch names it; None takes a GPU where there is one.

        Raises:
            InputError: no such model, one that answers questions instead, or files that are missing or damaged.
        """
        name = shipped(str(model))
        return Embedder(read_towers(name, device), model_label(name), fingerprint(name))

    @property
    def side(self) -> int:
        """Pixels of the square in which the model sees an image."""
        return self.towers.side

    @property
    def takes_prior(self) -> bool:
        """Whether images may come with anchors."""
        return self.towers.takes_prior

    @property
    def can_match(self) -> bool:
        """Whether it has a head that reads an image and a text together."""
        return self.towers.can_match

    @property
    def scale(self) -> float:
        """By which similarities are multiplied before the softmax over labels: the model's own."""
        return self.towers.scale

    def images(
        self,
        pictures: Sequence[Image.Image],
        priors: Sequence[Prior | None] | None = None,
        acquisitions: Sequence[Acquisition | None] | None = None,
    ) -> NDArray[np.float32]:
        """Unit vectors [N, D] of N images, in one batch.

        Args:
            pictures: RGB, 8 bit, as `fusargpt.geo.image.read_image` returns them.
            priors: AlphaEarth embeddings of the same places; None, or an entry that is None, looks at the image alone.
            acquisitions: what is known of how they were acquired, likewise.

        Raises:
            InputError: an image that is not of 8 bit, or a prior for a model that takes none.
            ValueError: not as many of each.
        """
        priors, count = _as_many(priors, pictures), len(pictures)
        acquisitions = _as_many(acquisitions, pictures)
        if not count:
            raise InputError("images: there are none; expected at least one")
        _check_pictures(pictures)
        return _array(lambda: unit(self.towers.image_features(pictures, priors, acquisitions)))

    def patches(
        self, pictures: Sequence[Image.Image], priors: Sequence[Prior | None] | None = None
    ) -> NDArray[np.float32]:
        """Features [N, h, w, C] of the patches of N images, for tasks that look at places in them; not unit vectors.

        Raises:
            InputError, ValueError: as `images`.
        """
        _check_pictures(pictures)
        known = _as_many(priors, pictures)
        return _array(lambda: self.towers.patch_features(pictures, known).float())

    def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors [M, D] of M texts.

        Raises:
            InputError: no text, an empty one, one of more tokens than the model reads, or one of which the model knows
                no word.
        """
        if not texts:
            raise InputError("texts: there are none; expected at least one")
        for text in texts:
            self._check_text(text)
        return _array(lambda: unit(self.towers.text_features(texts)))

    def match(
        self,
        pictures: Sequence[Image.Image],
        priors: Sequence[Prior | None] | None,
        texts: Sequence[str],
        acquisitions: Sequence[Acquisition | None] | None = None,
    ) -> NDArray[np.float32]:
        """Probability [N] of each pair that the text tells of the image, by the model's matching head.

        Raises:
            InputError: a model that has none; otherwise as `images` and `texts`.
            ValueError: not as many of each.
        """
        _check_pictures(pictures)
        priors, acquisitions = _as_many(priors, pictures), _as_many(acquisitions, pictures)
        if len(texts) != len(pictures):
            raise ValueError(f"found {len(pictures)} images and {len(texts)} texts; expected as many")
        for text in texts:
            self._check_text(text)
        return _array(lambda: self.towers.match(pictures, priors, acquisitions, texts).float())

    def unknown_words(self, text: str) -> list[str]:
        """The words of a text that the model's vocabulary has not; they say nothing to it."""
        return self.towers.unknown(text)

    def _check_text(self, text: str) -> None:
        if not text.strip():
            raise InputError("text: found an empty one; expected words")
        check_characters(text, "text")
        if len(self.unknown_words(text)) == len(set(text.split())):
            raise InputError(f"text: the model knows no word of {text[:60]!r}; say it in other words")


def _as_many(known: Sequence[Known | None] | None, pictures: Sequence[Image.Image]) -> Sequence[Known | None]:
    if known is None:
        return [None] * len(pictures)
    if len(known) != len(pictures):
        raise ValueError(f"found {len(pictures)} images and {len(known)} priors or acquisitions; expected as many")
    return known


def _check_pictures(pictures: Sequence[Image.Image]) -> None:
    for picture in pictures:
        check_8bit(picture)
        if picture.mode != "RGB":
            raise InputError(f"image: found a picture of mode {picture.mode}; expected RGB, as read_image gives it")


def _array(compute: Callable[[], Tensor]) -> NDArray[np.float32]:
    with torch.inference_mode():
        return compute().cpu().numpy()
