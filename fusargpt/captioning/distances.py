"""How far pixels are from a part of the image, with types that scipy leaves open."""

from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt


def distance_to(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Pixels from each pixel to the nearest of a mask [H, W], 0 on it; infinite where the mask is empty."""
    if not mask.any():
        return np.full(mask.shape, np.inf)
    return np.asarray(distance_transform_edt(~mask), np.float64)


def nearest_in(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row and column, [H, W] each, of the pixel of a mask [H, W] that is nearest to each pixel.

    Raises:
        ValueError: the mask is empty.
    """
    if not mask.any():
        raise ValueError("the mask is empty: nothing is near it")
    found = distance_transform_edt(~mask, return_distances=False, return_indices=True)
    rows, columns = cast(NDArray[np.int64], found)
    return rows.astype(np.int64), columns.astype(np.int64)
