"""Which tiles need no model: those without data, and those in which nothing stands out of its surroundings.

Most of a scene at sea is water. A ship, or an aircraft, is there only where a few pixels are far brighter than the
rest, so a tile counts as empty when its brightest 3 x 3 pixels, averaged in power against speckle, lie less than
`contrast_db` above the median of its pixels, averaged alike. A coast, a harbour or rough sea with crests stands out and
is asked about; calm sea, and smooth land, are not. Targets fainter than that are lost: docs/how-to/scenes.md says how
many.

8-bit scenes were scaled for display by an unknown rule, in which decibels cannot be told, so there the rule is not
applied.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from fusargpt.geo.stored import Stored

NO_DATA, NOTHING, ON_LAND = "no data", "nothing stands out", "on land"
"""Why a tile is not asked; the last where the user says what is land."""
_WINDOW = 3  # pixels


def nothing_stands_out(values: np.ndarray, valid: NDArray[np.bool_], stored: Stored, contrast_db: float) -> bool:
    """Whether a tile can be left out by the rule above.

    Args:
        values: stored values [h, w].
        valid: bool [h, w], False on nodata; at least one pixel is True.
        stored: what the values are.
        contrast_db: how far something has to stand out.
    """
    if stored == "grey":
        return False
    power = _power(values, stored)
    usable = valid & (power > 0)
    if not usable.any():
        return True
    if usable.all():
        smooth = uniform_filter(power, _WINDOW)
    else:
        # Nodata takes no part: sums of what there is, divided by how much there is.
        weight = uniform_filter(usable.astype(np.float32), _WINDOW)
        smooth = uniform_filter(np.where(usable, power, 0), _WINDOW)[usable] / weight[usable]
    return bool(smooth.max() < np.median(smooth) * 10 ** (contrast_db / 10))


def _power(values: np.ndarray, stored: Stored) -> NDArray[np.float32]:
    """Linear power, float32; 0 or NaN where there is no signal."""
    real = (np.abs(values) if values.dtype.kind == "c" else values).astype(np.float32)
    if stored == "decibels":
        return np.power(np.float32(10), real / 10)
    return real if stored == "power" else real**2
