"""A FUSAR-KLIP that was fine-tuned to classes: its head is asked, and no probe is fitted."""

from collections.abc import Sequence

import numpy as np
import torch

from fusargpt.foundation.features import Features, without_texts
from fusargpt.foundation.places import View
from fusargpt.foundation.towers.fusarklip import image_inputs, load_klip
from modeling_fusarklip import FusarKlipForImageClassification


class FusarKlipClassifier:
    """Pooled features are the logits of its classes, by their numbers; there are no tokens.

    Args:
        name: folder, or name on the Hub.
        device: as torch names it.

    Raises:
        InputError: files that are missing or damaged.
    """

    def __init__(self, name: str, device: str) -> None:
        self._model, self._processor = load_klip(FusarKlipForImageClassification, name, device)
        side = self._model.config.vision.image_size
        self.resize = f"{side} x {side}, the whole picture"

    def features(self, views: Sequence[View]) -> Features:
        inputs = image_inputs(self._processor, views).to(self._model.device, self._model.dtype)
        with torch.inference_mode():
            logits = self._model(**inputs).logits.float().cpu().numpy()
        return without_texts(logits, np.zeros((len(views), 1, 1, 1), np.float32))
