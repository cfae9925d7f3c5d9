"""AlphaEarth alone: the prior without the picture. What it tells, no picture is needed for."""

from collections.abc import Sequence
from math import isqrt

import numpy as np

from fusargpt.errors import InputError
from fusargpt.foundation.features import Features, without_texts
from fusargpt.foundation.places import View
from fusargpt.geo.embeddings import EMBEDDING_SIZE

_SIDE = 8  # of the grid of what has no prior


class AlphaEarthAlone:
    """The mean of a place's anchors, and the anchors themselves as tokens; zeros where there is no prior."""

    resize = "the picture is not looked at"

    def features(self, views: Sequence[View]) -> Features:
        """Raises InputError for anchors that are no square grid, or grids that differ."""
        grids = [_anchors(view) for view in views]
        sides = sorted({len(grid) for grid in grids})
        if len(sides) > 1:
            raise InputError(f"prior: found grids of {sides[0]} and {sides[-1]} anchors a side; expected one of them")
        tokens = np.stack(grids)
        return without_texts(tokens.mean((1, 2)), tokens)


def _anchors(view: View) -> np.ndarray:
    if view.prior is None:
        return np.zeros((_SIDE, _SIDE, EMBEDDING_SIZE), np.float32)
    side = isqrt(len(view.prior.embeddings))
    if side**2 != len(view.prior.embeddings):
        raise InputError(f"prior: found {len(view.prior.embeddings)} anchors; expected a square grid of them")
    # Row by row from the upper left, whatever the order they are stored in.
    order = np.lexsort(view.prior.positions.T[::-1])
    return view.prior.embeddings[order].reshape(side, side, -1)
