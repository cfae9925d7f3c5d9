"""Places of the suite, and towers that know them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fusargpt.foundation.entries import Entry
from fusargpt.foundation.features import Features, Tower
from fusargpt.foundation.places import Place, View, places
from fusargpt.foundation.store import Store
from fusargpt.foundation.subject import Subject
from fusargpt.foundation.tasks.segmentation import cover_shares
from fusargpt.tasks.prompts import TARGETS

COUNTS = {"train": 40, "validation": 20, "test": 30}
GRID = 12


@cache
def known(split: str) -> Sequence[Place]:
    return places(split, COUNTS[split])


def place_of(view: View) -> Place:
    """By the picture, whatever prior it is shown with."""
    pixels = view.picture.tobytes()
    return next(place for split in COUNTS for place in known(split) if place.view.picture.tobytes() == pixels)


@dataclass
class Knowing:
    """A tower that knows what it is shown: tokens are the truth of cells, embeddings the place's number.

    Attributes:
        text_of: the number of the place that a text is about, or None where it is about none.
        shown: how many views it has seen.
    """

    text_of: Callable[[str], int | None] = lambda text: None
    resize: str = "none"
    scale: float = 1.0
    shown: int = 0

    def features(self, views: Sequence[View]) -> Features:
        self.shown += len(views)
        found = [place_of(view) for view in views]
        tokens = np.stack([truth(place) for place in found])
        embeddings = np.stack([self.vector(place.scene.seed) for place in found])
        return Features(tokens.sum((1, 2)), tokens, embeddings)

    def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.stack([self.vector(self.text_of(text)) for text in texts])

    def match(self, views: Sequence[View], texts: Sequence[str]) -> NDArray[np.float32]:
        pairs = zip(views, texts, strict=True)
        return np.array([place_of(view).scene.seed == self.text_of(text) for view, text in pairs], np.float32)

    def vector(self, seed: int | None) -> NDArray[np.float32]:
        vector = np.zeros(COUNTS["test"] + 1, np.float32)
        vector[-1 if seed is None else seed % COUNTS["test"]] = 1
        return vector


def truth(place: Place) -> NDArray[np.float32]:
    """[GRID, GRID, C]: shares of land cover, and for each class of targets whether one is centred there and its box."""
    height, width = place.cover.shape
    targets = np.zeros((GRID, GRID, 5 * len(TARGETS)))
    for target in reversed(place.targets):
        x1, y1, x2, y2 = target.box
        x, y = (x1 + x2) / 2 * GRID / width, (y1 + y2) / 2 * GRID / height
        first = 5 * TARGETS.index(target.label)
        inside = (1, x % 1 - 0.5, y % 1 - 0.5, np.log(x2 - x1), np.log(y2 - y1))
        targets[int(y), int(x), first : first + 5] = inside
    return np.concatenate([cover_shares(place.cover, GRID, GRID), targets], -1).astype(np.float32)


def subject(
    folder: Path, tower: Tower, speaks: bool = False, kind: str = "known", arm: str = "none", writes: bool = False
) -> Subject:
    entry = Entry("known", "known", kind, "", arm, speaks, speaks, writes)
    return Subject(entry, lambda: tower, Store(folder, {}, "known", 16), known, 0)
