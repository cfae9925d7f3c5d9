"""What the values of a raster are, where nobody says it: by their type, by words, and by the values themselves.

Backscatter spreads over tens of decibels, and the darkest that a radar in space can tell from its own noise lies at -20
to -35 dB. So:

- 8-bit values are grey levels, complex ones are seen by their amplitude.
- When more than 1 % of the values are below -1, and none or few beyond 150, they are decibels.
- When more than 1 % are negative but hardly, next to the others, they are power from which noise was subtracted.
- Integers without negative ones are amplitude, as products are delivered.
- Floating-point numbers without negative ones are what words say, or power where they would be far darker than noise as
  amplitude (a median below 0.02). Otherwise nothing tells power from amplitude. They are taken as amplitude: power
  only halves the decibels, which limits by percentiles cancel. Where limits in decibels are given, it must be told.
- What fits two kinds that make different images is refused, with what to say.

Values that fill a raster without being named as nodata are known by standing apart: conventional numbers such as -9999
far below all others, a lowest value that many pixels share 20 dB below the rest, and exact zeros among decibels.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fusargpt.errors import InputError
from fusargpt.geo.evidence import Words

Stored = Literal["grey", "decibels", "amplitude", "power", "iq"]
"""What stored values are. "iq" are complex ones in two bands, or packed as two halves of one number; those that are
stored as complex numbers are "amplitude" as well."""

DECIBELS_PER_DECADE: dict[Stored, int] = {"amplitude": 20, "power": 10, "iq": 20}
MOST_DECIBELS = 200.0
"""Beyond which, above or below zero, no value is backscatter in decibels."""
FILLS = (-9999.0, -32768.0, -32767.0, -99999.0, -9999999.0, -2147483648.0, -999.0, -99.0)
"""What is written where there is no data, by convention."""
_HUGE = 1e15
"""No backscatter; the largest numbers of a type, and conventions such as 1e20 and 9.97e36, mark nodata."""

_LARGEST_DECIBELS = 150.0
_NOISE_FLOOR = 0.02  # of a median amplitude: -34 dB
_GAP_DB = 20.0
_SHARE, _FEWEST = 0.001, 16  # of the pixels that fill a raster
_SAY = "say what they are with stored (--stored)"


@dataclass(frozen=True)
class Kind:
    """What values are.

    Attributes:
        stored: the kind.
        why: what says so.
        sure: False where amplitude and power cannot be told apart.
    """

    stored: Stored
    why: str
    sure: bool = True


def check_stored(stored: str) -> None:
    """Raise InputError unless `stored` is one of `Stored`."""
    if stored not in get_args(Stored):
        raise InputError(f"stored: found {stored!r}; expected one of {', '.join(get_args(Stored))}")


def check_fits(dtype: "np.dtype[np.generic]", stored: Stored) -> None:
    """Raise InputError where values of this type cannot be what they are said to be."""
    if stored == "grey" and dtype != np.uint8:
        raise InputError(f"pixels of type {dtype} said to be grey levels; those are uint8")
    if stored in ("decibels", "power") and dtype.kind == "c":
        raise InputError(f"complex pixels said to be {stored}; complex values are linear and seen by their amplitude")


def signal(values: np.ndarray, stored: Stored) -> NDArray[np.bool_]:
    """Where values hold data as what they are: not zero where they are linear, none beyond 200 in decibels."""
    if stored == "grey":
        return np.ones(values.shape, bool)
    return np.abs(values) <= MOST_DECIBELS if stored == "decibels" else values != 0


def kind_of(values: np.ndarray, words: Words | None = None, bands: int = 1) -> Kind:
    """What real values are.

    Args:
        values: of a sample, those that hold data, finite; fill may be among them.
        words: what the raster says of them.
        bands: of the raster that may be parts of one image.

    Raises:
        InputError: values that fit two kinds, or none.
    """
    words = words or Words()
    if values.dtype == np.uint8:
        return Kind("grey", "8-bit values")
    data = np.asarray(values, np.float64)
    # Zeros are no signal or fill, and tell nothing.
    data = data[np.isfinite(data) & (data != 0) & ~np.isin(data, fill_of(values, None))]
    if not len(data):
        return Kind("amplitude", "no pixel holds data")
    _refuse_one_part(data, words, bands)
    deep = data < -MOST_DECIBELS
    # What resampling mixed of data and fill.
    data = data if deep.mean() > 0.5 else data[~deep]
    low, middle, high = (float(number) for number in np.percentile(data, (1, 50, 99.5)))
    if low < 0:
        return _with_negatives(low, middle, high, words)
    return _without_negatives(low, middle, high, bool((data == np.rint(data)).all()), words)


def _refuse_one_part(data: NDArray[np.float64], words: Words, bands: int) -> None:
    """Raises InputError for values that are balanced about zero, as I is, or Q."""
    low, middle, high = (float(number) for number in np.percentile(data, (1, 50, 99.5)))
    balanced = low < 0 < high and abs(middle) <= 0.1 * min(-low, high) and 0.5 < -low / high < 2
    # Decibels about 0 are balanced, too, but never so wide.
    if balanced and words.kind is None and (high > 40 or low >= -1 or bands % 2 == 0):
        cure = "iq where bands hold I and Q, or " if bands % 2 == 0 else ""
        raise InputError(
            f"{_found(low, middle, high)}: balanced about zero, as one part of complex values is, which alone is no "
            f"image; {_SAY}: {cure}decibels, amplitude or power"
        )


def _found(low: float, middle: float, high: float) -> str:
    return f"values from {low:.3g} to {high:.3g}, half of them below {middle:.3g}"


def _with_negatives(low: float, middle: float, high: float, words: Words) -> Kind:
    found = _found(low, middle, high)
    if low < -1 and low > -_LARGEST_DECIBELS and high <= _LARGEST_DECIBELS:
        if low > -3 and high - middle > 8 * (middle - low) and words.kind is None:
            raise InputError(f"{found}: decibels, or power from which noise was subtracted; {_SAY}")
        if words.kind in ("amplitude", "power") and low > -3:
            return Kind(words.kind, words.why)
        return Kind("decibels", "negative values")
    if low >= -1 and middle >= 3 and high <= _LARGEST_DECIBELS and words.kind is None:
        raise InputError(f"{found}: decibels, or power from which noise was subtracted; {_SAY}")
    if low >= -1 and words.kind == "decibels" and high - low >= 3:
        return Kind("decibels", words.why)
    if low >= -1 or (high > _LARGEST_DECIBELS and -low < high):
        if words.kind == "amplitude":
            return Kind("amplitude", words.why)
        return Kind("power", "some values are a little below zero, as where noise was subtracted")
    raise InputError(
        f"{found}: no decibels, which lie between -{_LARGEST_DECIBELS:g} and {_LARGEST_DECIBELS:g}, and not linear. If "
        "they are hundredths of decibels, say so in the file: gdal_edit.py -scale 0.01. If the lowest mark missing "
        "data, name them with nodata (--nodata)"
    )


def _without_negatives(low: float, middle: float, high: float, whole: bool, words: Words) -> Kind:
    if words.kind == "decibels" and high <= _LARGEST_DECIBELS and high - low >= 3:
        return Kind("decibels", words.why)
    if words.kind in ("amplitude", "power"):
        return Kind(words.kind, words.why)
    if whole:
        return Kind("amplitude", "whole numbers, as products are delivered")
    if words.backscatter:
        return Kind("power", f"{words.backscatter}: backscatter in floating-point numbers")
    if low >= 10 and high <= 100 and high < 5 * low:
        raise InputError(
            f"values from {low:.3g} to {high:.3g} fit decibels and linear values alike; {_SAY}: decibels, amplitude or "
            "power"
        )
    if middle < _NOISE_FLOOR:
        return Kind("power", f"a median of {middle:.2g}, which as amplitude would lie below any radar's noise")
    return Kind("amplitude", "no negative values; power would look the same", sure=False)


def fill_of(values: np.ndarray, stored: Stored | None) -> tuple[float, ...]:
    """The values that fill a raster without being named; ascending.

    Args:
        values: of a sample, those that hold data by what the file says.
        stored: what they are; None looks for conventional numbers alone.

    Raises:
        InputError: zeros among decibels that may be fill, or where they were cut off.
    """
    if stored == "grey" or values.dtype.kind not in "fiu" or values.dtype == np.uint8 or not len(values):
        return ()
    data = np.asarray(values, np.float64)
    fills = list(np.unique(data[np.abs(data) > _HUGE])[:8])
    rest = data[np.abs(data) <= _HUGE]
    present = [value for value in FILLS if (rest == value).any()]
    for value in sorted(present):
        # Far below all others, but for those that are fill themselves.
        others = rest[~np.isin(rest, present)]
        if not len(others) or others.min() > value / 2:
            fills.append(value)
    rest = rest[~np.isin(rest, fills)]
    if stored is not None and len(rest):
        fills += _lowest_apart(rest, stored)
        if stored == "decibels":
            fills += _zeros(rest[~np.isin(rest, fills)])
    return tuple(sorted(float(value) for value in fills))


def _lowest_apart(data: NDArray[np.float64], stored: Stored) -> list[float]:
    data = data if stored == "decibels" else data[data > 0]
    if not len(data):
        return []
    lowest = data.min()
    at_lowest = data == lowest
    if not _enough(at_lowest) or at_lowest.all():
        return []
    nearest = np.percentile(data[~at_lowest], 0.1)
    gap = nearest - lowest if stored == "decibels" else DECIBELS_PER_DECADE[stored] * np.log10(nearest / lowest)
    return [float(lowest)] if gap >= _GAP_DB else []


def _zeros(data: NDArray[np.float64]) -> list[float]:
    zeros = data == 0
    others = data[~zeros]
    if not _enough(zeros) or not len(others):
        return []
    # As often as other values, where decibels are rounded.
    if zeros.sum() <= 20 * len(others) / len(np.unique(others)):
        return []
    near = ((others >= -1) & (others < 0)).sum()
    if others.max() < 0 and near >= 0.1 * zeros.sum():
        raise InputError(
            f"{zeros.mean():.1%} of the decibels are exactly 0, and none are higher: cut off there, or missing data; "
            "say nodata (--nodata) 0 where data is missing, none where it is not"
        )
    return [0.0]


def _enough(found: NDArray[np.bool_]) -> bool:
    return bool(found.sum() >= max(_FEWEST, _SHARE * len(found)))
