"""Which vectors are nearest to a query: one matrix product, and a sort of the best."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fusargpt.embedding.features import Features


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


def scores(features: Features, query: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cosines [N] of all vectors with a unit vector [D]."""
    return features.vectors @ query


def best(found: NDArray[np.float32], top: int) -> list[Hit]:
    """The `top` highest scores, the highest first; of equal ones the first row."""
    top = min(top, len(found))
    # Sorting the few that are wanted, not all.
    chosen = np.argpartition(-found, top - 1)[:top] if top < len(found) else np.arange(len(found))
    ordered = chosen[np.lexsort((chosen, -found[chosen]))]
    return [Hit(int(row), float(found[row])) for row in ordered]
