"""From stored SAR values to the 8-bit grey levels that the model sees.

The rule, in order:

1. What the values are is told (`Stored`) or detected. Detected: 8-bit values are grey levels; of other types, when more
   than 1 % of the valid values are negative, they are decibels; otherwise they are linear and taken as amplitude.
   (Power told apart from amplitude only halves the decibels, which the stretch below cancels: both give the same image.
   Decibels without a negative value cannot be told from linear values.) Complex values become their amplitude first.
2. Grey levels pass through unchanged: they are taken as scaled for display already.
3. Amplitude becomes 20 log10(value) and power 10 log10(value); zeros and the few negative values that resampling or
   noise removal leaves behind carry no signal and count as nodata. Decibels stay as they are.
4. The decibels are stretched linearly so that their 1st percentile becomes 0 and their 99.5th becomes 255; the upper
   one is so high because ships and buildings are few and bright. Values beyond are clipped.
5. NaN, infinite and nodata values become 0.

The same values give the same image everywhere, and what was applied is returned, so that another tile of the same scene
can be scaled alike.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fusargpt.errors import InputError, NoDataError

Stored = Literal["grey", "decibels", "amplitude", "power"]
"""What stored values are. Complex ones are "amplitude"."""

LOW_PERCENTILE = 1.0
HIGH_PERCENTILE = 99.5

_DECIBELS_PER_DECADE = {"amplitude": 20, "power": 10}


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


def check_stored(stored: str) -> None:
    """Raise InputError unless `stored` is one of `Stored`."""
    if stored not in get_args(Stored):
        raise InputError(f"stored: found {stored!r}; expected one of {', '.join(get_args(Stored))}")


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
    elif stored is None and values.dtype == np.uint8:
        raise InputError("a stretch was given for 8-bit values, which are not scaled")
    elif stored not in (None, stretch.stored):
        raise InputError(f"a stretch for {stretch.stored} was given for values that are {stored}")
    if stretch is None:
        return (values if valid is None else np.where(valid, values, np.uint8(0))), None
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
        stored: what the values are; None detects it.

    Raises:
        NoDataError: no valid pixel.
        InputError: values of another type, or nearly all pixels equal.
    """
    stored = _grey_or_not(values, stored)
    if stored == "grey":
        return None
    usable = _usable_values(values, valid)
    if stored is None:
        stored = "decibels" if np.nanpercentile(usable, LOW_PERCENTILE) < 0 else "amplitude"
    low, high = np.nanpercentile(_decibels(usable, stored), (LOW_PERCENTILE, HIGH_PERCENTILE))
    if low == high:
        raise InputError(f"nothing to see: nearly all valid pixels are at {low:g} dB")
    return Stretch(float(low), float(high), stored)


def _grey_or_not(values: np.ndarray, stored: Stored | None) -> Stored | None:
    if stored is None:
        return "grey" if values.dtype == np.uint8 else None
    check_stored(stored)
    if stored == "grey" and values.dtype != np.uint8:
        raise InputError(f"pixels of type {values.dtype} said to be grey levels; those are uint8")
    if stored == "decibels" and values.dtype.kind == "c":
        raise InputError("complex pixels said to be decibels; complex values are linear")
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
    if np.isnan(usable).all():
        raise NoDataError("no pixel holds data: all are NaN or nodata")
    return usable


def _decibels(usable: NDArray[np.float32], stored: Stored) -> NDArray[np.float32]:
    """In place; NaN where a linear value is not positive."""
    if stored == "decibels":
        return usable
    usable[~(usable > 0)] = np.nan
    if np.isnan(usable).all():
        raise NoDataError("no pixel holds data: all are 0, NaN or nodata")
    np.log10(usable, out=usable)
    usable *= _DECIBELS_PER_DECADE[stored]
    return usable
