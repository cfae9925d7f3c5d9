"""From stored SAR values to the 8-bit grey levels that the model sees.

The rule, in order:

1. What the values are is told (`Stored`) or detected, see `fusargpt.geo.stored`. Complex values become their amplitude.
2. Grey levels pass through unchanged: they are taken as scaled for display already.
3. Amplitude becomes 20 log10(value) and power 10 log10(value). Zeros carry no signal and count as nodata. Negative
   values, which noise removal and resampling leave behind, are data, darker than all limits. Decibels stay as they are,
   but for those beyond 200, which are none.
4. The decibels are stretched linearly so that their 1st percentile becomes 0 and their 99.5th becomes 255; the upper
   one is so high because ships and buildings are few and bright. Values beyond are clipped.
5. NaN, infinite and nodata values become 0.

The same values give the same image everywhere, and what was applied is returned, so that another tile of the same scene
can be scaled alike.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fusargpt.errors import InputError, NoDataError
from fusargpt.geo.stored import (
    DECIBELS_PER_DECADE,
    MOST_DECIBELS,
    Stored,
    check_fits,
    check_stored,
    fill_of,
    kind_of,
)

LOW_PERCENTILE = 1.0
HIGH_PERCENTILE = 99.5


@dataclass(frozen=True)
class Stretch:
    """How stored values became grey levels.

    Attributes:
        low: the decibels that become 0.
        high: the decibels that become 255.
        stored: what the stored values are; not "grey", which is not stretched.

    Raises:
        InputError: limits that are not finite or do not ascend, or another kind of values.
    """

    low: float
    high: float
    stored: Stored

    def __post_init__(self) -> None:
        if not (np.isfinite([self.low, self.high]).all() and self.low < self.high):
            raise InputError(f"stretch: found {self.low:g} to {self.high:g} dB; expected two finite values, ascending")
        check_stored(self.stored)
        if self.stored == "grey":
            raise InputError("stretch: found grey levels; expected decibels, amplitude or power")


def to_8bit(
    values: np.ndarray,
    valid: NDArray[np.bool_] | None = None,
    stretch: Stretch | None = None,
    stored: Stored | None = None,
) -> tuple[NDArray[np.uint8], Stretch | None]:
    """Grey levels of a SAR image by the rule above.

    Args:
        values: [height, width], stored values of one band: uint8, integers of 16 bit and more, floating or complex.
        valid: [height, width], False on nodata; None where every pixel holds data.
        stretch: what another image was scaled by; None takes the percentiles of this one.
        stored: what the values are; None detects it, or takes it from `stretch`.

    Returns:
        uint8 [height, width], and the stretch that was applied; None for grey levels, which are not scaled.

    Raises:
        NoDataError: no valid pixel.
        InputError: values of another type, nearly all pixels equal, or a stretch for grey levels.
    """
    if stretch is None:
        stretch = choose_stretch(values, valid, stored)
        if stretch is None:
            return (values if valid is None else np.where(valid, values, np.uint8(0))), None
    elif stored is None and values.dtype == np.uint8:
        raise InputError("a stretch was given for 8-bit values, which are not scaled")
    elif stored not in (None, stretch.stored):
        raise InputError(f"a stretch for {stretch.stored} was given for values that are {stored}")
    decibels = _decibels(_usable_values(values, valid), stretch.stored)
    np.clip(decibels, stretch.low, stretch.high, out=decibels)
    decibels -= stretch.low
    decibels *= 255 / (stretch.high - stretch.low)
    np.nan_to_num(decibels, copy=False, nan=0.0)
    return np.rint(decibels, out=decibels).astype(np.uint8), stretch


def choose_stretch(
    values: np.ndarray, valid: NDArray[np.bool_] | None = None, stored: Stored | None = None
) -> Stretch | None:
    """The stretch that the rule above takes for an image, or for a sample of one; None for grey levels.

    Args:
        values: of any shape, as for `to_8bit`.
        valid: of the same shape, False on nodata.
        stored: what the values are; None detects it, and what fills them.

    Raises:
        NoDataError: no valid pixel, or none with a signal.
        InputError: values of another type, or nearly all pixels equal.
    """
    if values.dtype == np.uint8 and stored in (None, "grey"):
        return None
    usable = _usable_values(values, valid)
    if np.isnan(usable).all():
        raise NoDataError("no pixel holds data: all are NaN or nodata")
    stored = _known(values, usable, stored)
    decibels = _decibels(usable, stored)
    if np.isnan(decibels).all():
        without = "beyond 200 dB" if stored == "decibels" else "0"
        raise NoDataError(f"no pixel holds data: all are {without}, NaN or nodata")
    low, high = np.nanpercentile(decibels, (LOW_PERCENTILE, HIGH_PERCENTILE))
    if low == high:
        raise InputError(f"nothing to see: nearly all valid pixels are at {low:g} dB")
    return Stretch(float(low), float(high), "amplitude" if stored == "iq" else stored)


def _known(values: np.ndarray, usable: NDArray[np.float32], stored: Stored | None) -> Stored:
    """What the values are; what fills them is taken out of `usable`, in place, where nobody said what they are."""
    if stored is not None:
        check_stored(stored)
        check_fits(values.dtype, stored)
        return stored
    if values.dtype.kind == "c":
        return "amplitude"
    sample = usable[~np.isnan(usable)]
    stored = kind_of(sample).stored
    usable[np.isin(usable, np.array(fill_of(sample, stored), np.float32))] = np.nan
    return stored


def _usable_values(values: np.ndarray, valid: NDArray[np.bool_] | None) -> NDArray[np.float32]:
    """A float32 copy of real values or amplitudes with NaN where there is no data."""
    if values.dtype.kind not in "uifc" or values.dtype == np.int8:
        raise InputError(
            f"pixels of type {values.dtype}; expected a SAR image in 8-bit grey (uint8), integers of 16 bit and more, "
            "floating-point or complex numbers"
        )
    usable = (np.abs(values) if values.dtype.kind == "c" else values).astype(np.float32)
    usable[~np.isfinite(usable)] = np.nan
    if valid is not None:
        usable[~valid] = np.nan
    return usable


def _decibels(usable: NDArray[np.float32], stored: Stored) -> NDArray[np.float32]:
    """In place; NaN where there is no signal."""
    if stored == "decibels":
        usable[~(np.abs(usable) <= MOST_DECIBELS)] = np.nan
        return usable
    usable[~(usable > 0)] = np.nan
    np.log10(usable, out=usable)
    usable *= DECIBELS_PER_DECADE[stored]
    return usable
