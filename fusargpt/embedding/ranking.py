"""Which vectors are nearest to a query: one matrix product, and a sort of the best."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Hit:
    """One image that was found.

    Attributes:
        row: in the features.
        score: cosine of the angle between its vector and the query's, -1 to 1.
        match: probability that the words tell of it, by the matching head; None where it was not asked.
    """

    row: int
    score: float
    match: float | None = None


def scores(vectors: NDArray[np.float32], query: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cosines [N] of unit vectors [N, D] with one [D]."""
    return vectors @ query


def best_rows(found: NDArray[np.float32], top: int) -> NDArray[np.int64]:
    """Rows of the `top` highest scores, the highest first; of equal ones the first row."""
    top = min(top, len(found))
    # Sorting the few that are wanted, not all.
    chosen = np.argpartition(-found, top - 1)[:top] if top < len(found) else np.arange(len(found))
    return chosen[np.lexsort((chosen, -found[chosen]))].astype(np.int64)


def best(found: NDArray[np.float32], top: int) -> list[Hit]:
    """The `top` highest scores as hits, in the order of `best_rows`."""
    return [Hit(int(row), float(found[row])) for row in best_rows(found, top)]
