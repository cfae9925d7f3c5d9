"""Towers that are no model: one that says nothing, and several side by side."""

from collections.abc import Sequence

import numpy as np

from fusargpt.foundation.features import Features, Tower, on_grid, without_texts
from fusargpt.foundation.places import View


class Nothing:
    """The same feature of every picture: probes of it give the majority class, retrieval is left to chance."""

    resize = "the picture is not looked at"

    def features(self, views: Sequence[View]) -> Features:
        return without_texts(np.zeros((len(views), 1)), np.zeros((len(views), 1, 1, 1), np.float32))


class Together:
    """The features of several towers in one vector; tokens on the finest of their grids."""

    def __init__(self, towers: Sequence[Tower]) -> None:
        self._towers = towers
        self.resize = "; ".join(dict.fromkeys(tower.resize for tower in towers))

    def features(self, views: Sequence[View]) -> Features:
        found = [tower.features(views) for tower in self._towers]
        side = max(features.tokens.shape[1] for features in found)
        tokens = np.concatenate([on_grid(features.tokens, side) for features in found], -1)
        return without_texts(np.concatenate([features.pooled for features in found], 1), tokens)
