"""What a tower makes of pictures: one vector an image, vectors on a grid, and where it has one a point beside texts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fusargpt.foundation.places import View


@dataclass(frozen=True, eq=False)
class Features:
    """Of N images.

    Attributes:
        pooled: float32 [N, D], what is said of the whole image.
        tokens: [N, h, w, C], what is said of each cell of an even grid over the image.
        embeddings: float32 [N, E], unit vectors in the space of the tower's texts; E is 0 where it has none.
    """

    pooled: NDArray[np.float32]
    tokens: NDArray[np.floating]
    embeddings: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.pooled)


def without_texts(pooled: NDArray[np.floating], tokens: NDArray[np.floating]) -> Features:
    """The features of a tower that has no texts."""
    return Features(pooled.astype(np.float32), tokens, np.zeros((len(pooled), 0), np.float32))


class Tower(Protocol):
    """A frozen model of images.

    Attributes:
        resize: what becomes of a picture before the model sees it, in words.
    """

    resize: str

    def features(self, views: Sequence[View]) -> Features: ...


class SpeakingTower(Tower, Protocol):
    """One with texts in the same space."""

    def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors [M, E]."""
        ...


class MatchingTower(SpeakingTower, Protocol):
    """One that also reads a text with the image before it.

    Attributes:
        scale: what the contrast multiplies cosines by.
    """

    scale: float

    def match(self, views: Sequence[View], texts: Sequence[str]) -> NDArray[np.float32]:
        """The probability that each text is true of the view beside it, [pairs]."""
        ...


class WritingTower(Tower, Protocol):
    """One that writes texts beside images."""

    def go_on(self, views: Sequence[View], beginning: str) -> list[str]:
        """How a sentence that begins so goes on beside each view, without its full stop."""
        ...

    def likelihood(self, views: Sequence[View], texts: Sequence[str]) -> NDArray[np.float32]:
        """Log-likelihood, in nats, of each text beside the view at its place, [pairs]."""
        ...


def on_grid(tokens: NDArray[np.floating], side: int) -> NDArray[np.float32]:
    """Tokens [N, h, w, C] averaged into a grid of `side` x `side` cells; cells share the tokens across their edges.

    Args:
        tokens: of any grid.
        side: at most any number; cells smaller than a token repeat it.
    """
    rows, columns = (_cells(size, side) for size in tokens.shape[1:3])
    return np.einsum("ih,nhwc,jw->nijc", rows, tokens.astype(np.float32), columns, optimize=True)


def _cells(size: int, side: int) -> NDArray[np.float32]:
    """How much each of `side` cells [side, size] takes of each of `size` tokens."""
    edges = np.linspace(0, size, side + 1)
    starts = np.arange(size)
    shared = np.clip(np.minimum(edges[1:, None], starts + 1) - np.maximum(edges[:-1, None], starts), 0, None)
    return np.asarray(shared / shared.sum(1, keepdims=True), np.float32)
