"""From stored SAR values to the 8-bit grey levels that the model sees.

The rule, in order:

1. 8-bit values pass through unchanged: they are taken as scaled for display already.
2. Complex values become their amplitude.
3. When more than 1 % of the valid values are negative, they are decibels and stay as they are. Otherwise they are
   linear amplitude or power and become 20 log10(value); zeros and the few negative values that resampling or noise
   removal leaves behind carry no signal and count as nodata. (Power would take 10 log10, half of it, which the stretch
   below cancels: both give the same image. Decibels without a negative value cannot be told from linear values.)
4. The decibels are stretched linearly so that their 1st percentile becomes 0 and their 99.5th becomes 255; the upper
   one is so high because ships and buildings are few and bright. Values beyond are clipped.
5. NaN, infinite and nodata values become 0.

The same values give the same image everywhere, and what was applied is returned, so that another tile of the same scene
can be scaled alike.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fusar_geo.errors import InputError

LOW_PERCENTILE = 1.0
HIGH_PERCENTILE = 99.5


@dataclass(frozen=True)
class Stretch:
    """How stored values became grey levels.

    Attributes:
        low: the decibels that become 0.
        high: the decibels that become 255.
        stored_decibels: whether the stored values are decibels; otherwise they are linear.
    """

    low: float
    high: float
    stored_decibels: bool

    def __post_init__(self) -> None:
        if not (np.isfinite([self.low, self.high]).all() and self.low < self.high):
            raise InputError(f"stretch: found {self.low:g} to {self.high:g} dB; expected two finite values, ascending")


def to_8bit(
    values: NDArray, valid: NDArray[np.bool_] | None = None, stretch: Stretch | None = None
) -> tuple[NDArray[np.uint8], Stretch | None]:
    """Grey levels of a SAR image by the rule above.

    Args:
        values: [height, width], stored values of one band: uint8, integers of 16 bit and more, floating or complex.
        valid: [height, width], False on nodata; None where every pixel holds data.
        stretch: what another image was scaled by; None takes the percentiles of this one.

    Returns:
        uint8 [height, width], and the stretch that was applied; None for 8-bit values, which are not scaled.

    Raises:
        InputError: values of another type, no valid pixel, nearly all pixels equal, or a stretch for 8-bit values.
    """
    if values.dtype == np.uint8:
        if stretch is not None:
            raise InputError("a stretch was given for 8-bit values, which are not scaled")
        return values, None
    usable = _usable_values(values, valid)
    if stretch is None:
        stored_decibels = bool(np.nanpercentile(usable, LOW_PERCENTILE) < 0)
        decibels = usable if stored_decibels else _logarithm(usable)
        low, high = np.nanpercentile(decibels, (LOW_PERCENTILE, HIGH_PERCENTILE))
        if low == high:
            raise InputError(f"nothing to see: nearly all valid pixels are at {low:g} dB")
        stretch = Stretch(float(low), float(high), stored_decibels)
    else:
        decibels = usable if stretch.stored_decibels else _logarithm(usable)
    decibels -= stretch.low
    decibels *= 255 / (stretch.high - stretch.low)
    np.nan_to_num(decibels, copy=False, nan=0.0)
    return np.clip(np.rint(decibels, out=decibels), 0, 255, out=decibels).astype(np.uint8), stretch


def _usable_values(values: NDArray, valid: NDArray[np.bool_] | None) -> NDArray[np.float32]:
    """A float32 copy of real values or amplitudes with NaN where there is no data."""
    if values.dtype.kind not in "uifc" or values.dtype.itemsize == 1:
        raise InputError(
            f"pixels of type {values.dtype}; expected a SAR image in 8-bit grey (uint8), integers of 16 bit and more, "
            "floating-point or complex numbers"
        )
    usable = (np.abs(values) if values.dtype.kind == "c" else values).astype(np.float32)
    usable[~np.isfinite(usable)] = np.nan
    if valid is not None:
        usable[~valid] = np.nan
    if np.isnan(usable).all():
        raise InputError("no pixel holds data: all are NaN or nodata")
    return usable


def _logarithm(linear: NDArray[np.float32]) -> NDArray[np.float32]:
    """20 log10 in place; NaN where a value is not positive."""
    linear[~(linear > 0)] = np.nan
    if np.isnan(linear).all():
        raise InputError("no pixel holds data: all are 0, NaN or nodata")
    np.log10(linear, out=linear)
    linear *= 20
    return linear
