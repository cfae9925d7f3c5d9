"""FUSAR-KLIP as towers: images with prior and acquisition, texts, and the matching of both."""

from collections.abc import Sequence
from typing import Any, cast

from PIL import Image
from torch import Tensor

from fusargpt.embedding.towers import check_length, on_device, unknown_words
from fusargpt.errors import InputError
from fusargpt.geo.acquisition import Acquisition
from fusargpt.geo.prior import Prior
from modeling_fusarklip import FusarKlipModel, FusarKlipProcessor


class KlipTowers:
    """A loaded FUSAR-KLIP, as `fusargpt.embedding.towers.Towers`.

    Args:
        model: in evaluation mode.
        processor: its own.
    """

    takes_prior = True

    def __init__(self, model: FusarKlipModel, processor: FusarKlipProcessor) -> None:
        self._model, self._processor = model, processor
        self._tokenizer = cast(Any, processor).tokenizer
        self.scale = 1 / float(model.temperature.detach())
        self.side = cast(int, model.config.vision.image_size)
        # Of a model that was trained without matching the head is as it began.
        self.can_match = model.config.losses.itm > 0

    def image_features(
        self,
        pictures: Sequence[Image.Image],
        priors: Sequence[Prior | None],
        acquisitions: Sequence[Acquisition | None],
    ) -> Tensor:
        return self._model.image_embeddings(**self._seen(pictures, priors, acquisitions))

    def patch_features(self, pictures: Sequence[Image.Image], priors: Sequence[Prior | None]) -> Tensor:
        return self._model.patch_features(**self._seen(pictures, priors, [None] * len(pictures)))

    def text_features(self, texts: Sequence[str]) -> Tensor:
        return self._model.text_embeddings(**self._read(texts))

    def match(
        self,
        pictures: Sequence[Image.Image],
        priors: Sequence[Prior | None],
        acquisitions: Sequence[Acquisition | None],
        texts: Sequence[str],
    ) -> Tensor:
        if not self.can_match:
            raise InputError("match: this model was trained without matching (losses_config.itm is 0)")
        return self._model.match(**self._read(texts), **self._seen(pictures, priors, acquisitions))

    def unknown(self, text: str) -> list[str]:
        return unknown_words(self._tokenizer, text)

    def _seen(
        self,
        pictures: Sequence[Image.Image],
        priors: Sequence[Prior | None],
        acquisitions: Sequence[Acquisition | None],
    ) -> dict[str, Tensor]:
        # What nobody knows is not handed over at all: the model then computes what it computes without.
        known: dict[str, Any] = {}
        if any(prior is not None for prior in priors):
            known["priors"] = [None if prior is None else prior.columns() for prior in priors]
        if any(acquisition is not None for acquisition in acquisitions):
            known["geography"] = [None if one is None else self._told(one) for one in acquisitions]
        return on_device(self._model, self._processor(images=list(pictures), **known))

    def _read(self, texts: Sequence[str]) -> dict[str, Tensor]:
        for text in texts:
            check_length(len(self._tokenizer(text)["input_ids"]), self._processor.max_text_tokens, text)
        return on_device(self._model, self._processor(text=list(texts)))

    def _told(self, acquisition: Acquisition) -> dict[str, object]:
        """What the model has a word for; a sensor or polarization of which it was not told is unknown to it."""
        told: dict[str, object] = dict(acquisition.known())
        for name, names in (("sensor", self._processor.sensors), ("polarization", self._processor.polarizations)):
            found = str(told.get(name, "")).casefold()
            if not any(found.startswith(known.casefold()) for known in names):
                told.pop(name, None)
        return told
