"""One entry of the suite under examination: its features of the places, its texts and its matches."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from fusargpt.foundation.arms import fitted_on, given
from fusargpt.foundation.entries import Entry
from fusargpt.foundation.features import Features, MatchingTower, SpeakingTower, Tower, WritingTower
from fusargpt.foundation.places import Place, View
from fusargpt.foundation.store import Store

Result = TypeVar("Result")
Places = Callable[[str], Sequence[Place]]
"""The places of a split, simulated once."""


class Subject:
    """What the tasks ask an entry for.

    Args:
        entry: who is examined.
        tower: loads its tower, at the first call.
        store: of what the tower computes.
        places: of each split.
        seed: of shuffled priors.
    """

    def __init__(self, entry: Entry, tower: Callable[[], Tower], store: Store, places: Places, seed: int) -> None:
        self.entry, self.places = entry, places
        self._tower, self._store, self._seed = tower, store, seed
        # Of this subject alone, which is let go when its tasks are done.
        self._kept = cache(self._under)
        self._fitted: dict[str, object] = {}

    def features(self, split: str) -> Features:
        """Of the places of a split, under the entry's arm."""
        return self._kept(split, self.entry.arm)

    def fitting(self, split: str) -> Features:
        """Those that probes are fitted to and chosen by; see `fusargpt.foundation.arms.fitted_on`."""
        return self._kept(split, fitted_on(self.entry.arm))

    def views(self, split: str) -> list[View]:
        """What the tower is shown of the places of a split."""
        return given([place.view for place in self.places(split)], self.entry.arm, self._seed)

    def features_of(self, name: str, views: Sequence[View]) -> Features:
        """Of other views, always the same for one name."""
        return self._store.features(name, views, self._tower)

    @property
    def resize(self) -> str:
        """What became of pictures before its tower saw them, in words."""
        return self._store.resize

    def features_under_arm(self, name: str, views: Sequence[View], *, fitting: bool) -> Features:
        """Of other views of places with their own priors, always the same for one name, under the entry's arm.

        Args:
            name: of the views.
            views: of different places.
            fitting: whether probes are fitted to them or chosen by them.
        """
        arm = fitted_on(self.entry.arm) if fitting else self.entry.arm
        return self.features_of(f"{name}-{arm}", given(views, arm, self._seed))

    def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors [M, E]; of an entry that speaks."""
        return cast(SpeakingTower, self._tower()).texts(texts)

    @property
    def scale(self) -> float:
        """What the contrast multiplies cosines by; of an entry that matches."""
        return cast(MatchingTower, self._tower()).scale

    def match(
        self, name: str, views: Sequence[View], texts: Sequence[str], pairs: NDArray[np.integer]
    ) -> NDArray[np.float32]:
        """The probability that a text is true of a view, for `pairs` [P, 2] of indices; of an entry that matches.

        Args:
            name: of what is asked; the pairs of one name are always the same.
            views: as `pairs[:, 0]` counts them.
            texts: as `pairs[:, 1]` counts them.
            pairs: those of one view should follow each other.
        """

        return self._of_pairs(name, views, texts, pairs, lambda: cast(MatchingTower, self._tower()).match)

    def likelihood(
        self, name: str, views: Sequence[View], texts: Sequence[str], pairs: NDArray[np.integer]
    ) -> NDArray[np.float32]:
        """As `match`, the log-likelihood of a text beside a view; of an entry that writes."""
        name = f"likelihood-{name}"
        return self._of_pairs(name, views, texts, pairs, lambda: cast(WritingTower, self._tower()).likelihood)

    def _of_pairs(
        self,
        name: str,
        views: Sequence[View],
        texts: Sequence[str],
        pairs: NDArray[np.integer],
        reader: Callable[[], Callable[[Sequence[View], Sequence[str]], NDArray[np.float32]]],
    ) -> NDArray[np.float32]:
        def read(start: int, end: int) -> NDArray[np.float32]:
            shown = [views[int(view)] for view in pairs[start:end, 0]]
            return reader()(shown, [texts[int(text)] for text in pairs[start:end, 1]])

        return self._store.of_pairs(f"{name}-{self.entry.arm}", len(pairs), read)

    def written(self, name: str, views: Sequence[View], beginning: str) -> list[str]:
        """How a sentence goes on beside each view; of an entry that writes.

        Args:
            name: of what is asked; views and beginning of one name are always the same.
            views: of the test places.
            beginning: as `fusargpt.foundation.features.WritingTower.go_on` takes it.
        """

        def write(start: int, end: int) -> list[str]:
            return cast(WritingTower, self._tower()).go_on(views[start:end], beginning)

        return self._store.texts(f"{name}-{self.entry.arm}", len(views), write)

    def once(self, name: str, compute: Callable[[], Result]) -> Result:
        """What `compute` gives, computed for the first of the tasks that ask for it by this name."""
        if name not in self._fitted:
            self._fitted[name] = compute()
        return cast(Result, self._fitted[name])

    def _under(self, split: str, arm: str) -> Features:
        views = given([place.view for place in self.places(split)], arm, self._seed)
        return self.features_of(f"{split}-{arm}", views)
