"""One band of an open raster, or two that hold complex values: its values and which of them hold data."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.windows import Window

from fusargpt.errors import InputError
from fusargpt.geo.evidence import complex_pair
from fusargpt.geo.stored import Stored, check_fits

_LUMA = np.array([0.299, 0.587, 0.114])
"""Of red, green and blue, by ITU-R BT.601, as PNG palettes are made grey."""
_HALVES = {"uint32": np.int16, "int32": np.int16, "uint64": np.float32, "int64": np.float32}
"""What two packed halves of a number are: those of 64 bits are floating-point numbers."""
_LEAST_SPREAD = 4.0  # of halves that are I and Q


def check_band(dataset: rasterio.DatasetReader, band: int) -> None:
    """Raise InputError unless the raster has this band, counted from 1."""
    if not 1 <= band <= dataset.count:
        raise InputError(f"no band {band}; the file has {dataset.count}")


@dataclass(frozen=True, eq=False)
class Band:
    """How the values of a band come out of its file.

    Attributes:
        dataset: open.
        number: from 1.
        form: "plain" real or complex numbers, a "palette" of colours, "colours" in three bands, "iq bands" or numbers
            that "may be packed" or are "packed": I in one half, Q in the other.
        parts: the bands of I and Q.
        nodata: instead of the file's nodata value and masks; NaN for none.
    """

    dataset: rasterio.DatasetReader
    number: int
    form: Literal["plain", "palette", "colours", "iq bands", "may be packed", "packed"]
    parts: tuple[int, int]
    nodata: float | None

    @staticmethod
    def of(
        dataset: rasterio.DatasetReader,
        number: int,
        stored: Stored | None,
        nodata: float | None,
        whole_colours: bool = False,
    ) -> "Band":
        """The band by what is told and what the file says of it.

        Args:
            dataset: open.
            number: from 1.
            stored: what its values are; None where nobody says.
            nodata: as of the attribute.
            whole_colours: nobody chose the band: where it is red, one of three, it stands for all of them.

        Raises:
            InputError: no such band, one that cannot hold what it is told to, or colours of more than 8 bit.
        """
        check_band(dataset, number)
        dtype = dataset.dtypes[number - 1]
        parts, form = (number, number), "plain"
        if whole_colours and _is_coloured(dataset, number):
            if dtype != "uint8":
                raise InputError(f"colours (red, green, blue) of {dtype}; say which of them to read with band (--band)")
            if stored not in (None, "grey"):
                raise InputError(
                    f"stored: found {stored!r} for colours (red, green, blue), which are grey levels; where the bands "
                    "are images of their own, say which one to read with band (--band)"
                )
            form = "colours"
        elif dataset.colorinterp[number - 1] == ColorInterp.palette:
            if stored not in (None, "grey"):
                raise InputError(f"stored: found {stored!r} for the colours of a palette, which are grey levels")
            form = "palette"
        elif "complex" in dtype:
            check_fits(np.dtype(np.complex64), stored or "amplitude")
        elif stored in (None, "iq") and (pair := complex_pair(dataset, number)) is not None:
            parts, form = pair, "iq bands"
        elif stored == "iq":
            form, parts = _told_complex(dataset, number)
        elif stored is not None:
            check_fits(np.dtype(dtype), stored)
        elif dtype in _HALVES and dataset.count == 1 and _scaling(dataset, number) == (1.0, 0.0):
            form = "may be packed"
        return Band(dataset, number, form, parts, nodata)

    @property
    def is_complex(self) -> bool:
        return self.form in ("iq bands", "packed") or "complex" in self.dataset.dtypes[self.number - 1]

    @property
    def is_grey(self) -> bool:
        """Whether the values are 8-bit grey levels, as far as the file says."""
        return self.form in ("palette", "colours") or (
            self.form == "plain" and self.dataset.dtypes[self.number - 1] == "uint8"
        )

    @property
    def is_plain_uint16(self) -> bool:
        """Whether the values are unsigned 16-bit integers as they stand."""
        dtype = self.dataset.dtypes[self.number - 1]
        return self.form == "plain" and dtype == "uint16" and _scaling(self.dataset, self.number) == (1.0, 0.0)

    def packed_or_plain(self, sample: np.ndarray) -> "Band":
        """The band once it is known from values whether its numbers are packed ones.

        Args:
            sample: of stored values, as `read` gives them while that is open.
        """
        form = "packed" if _is_packed(sample) else "plain"
        return Band(self.dataset, self.number, form, self.parts, self.nodata)

    def read(self, window: Window | None = None) -> tuple[np.ndarray, NDArray[np.bool_]]:
        """Values, and where they hold data.

        Scale and offset of the band are applied, except to 8-bit values; palettes become grey levels, and what is
        stored with white as its least value is inverted. Not valid are: the nodata value, what a mask or an alpha band
        of the file leaves out, transparent colours of a palette, NaN and infinite values. Complex values are nodata
        where both parts are.

        Args:
            window: whole pixels inside the raster; None reads all of it.

        Returns:
            values [height, width] of the stored type (float32 where it is float64 or scaled, complex64 for complex
            ones, uint8 for palettes), and bool [height, width].

        Raises:
            RasterioError: what GDAL cannot read.
        """
        if self.form == "iq bands":
            (real, valid), (imaginary, _) = (self._stored(number, window) for number in self.parts)
            values = real.astype(np.float32) + np.complex64(1j) * imaginary.astype(np.float32)
        else:
            values, valid = self._stored(self.number, window)
        if self.form == "packed":
            halves = values.view(_HALVES[str(values.dtype)]).reshape(*values.shape, 2).astype(np.float32)
            values = halves[..., 0] + np.complex64(1j) * halves[..., 1]
        if self._marked_by_both_parts:
            valid &= ~self._both_parts_marked(values)
        if self.form == "colours":
            colours = [self._upright(values), *(self._upright(self._stored(number, window)[0]) for number in (2, 3))]
            return np.rint(np.tensordot(_LUMA, np.stack(colours), 1)).astype(np.uint8), valid
        if self.form == "palette":
            values, opaque = self._colours(values)
            valid &= opaque
        elif values.dtype.kind == "u":
            values = self._upright(values)
        if values.dtype.kind in "fc":
            valid &= np.isfinite(values)
        scale, offset = _scaling(self.dataset, self.number)
        if values.dtype != np.uint8 and (scale, offset) != (1.0, 0.0):
            values = values * np.float32(scale) + np.float32(offset)
        return values, valid

    def _stored(self, number: int, window: Window | None) -> tuple[np.ndarray, NDArray[np.bool_]]:
        # Half the memory, and nothing lost: seven digits are more than radiometry has.
        narrow = {"float64": "float32", "complex128": "complex64"}.get(self.dataset.dtypes[number - 1])
        values = self.dataset.read(number, window=window, out_dtype=narrow)
        flags = self.dataset.mask_flag_enums[number - 1]
        if self._marked_by_both_parts:
            # GDAL compares the real part alone; see `_both_parts_marked`.
            masked = MaskFlags.all_valid not in flags and MaskFlags.nodata not in flags and self.nodata is None
            return values, self._mask(number, window) if masked else np.ones(values.shape, bool)
        if self.nodata is not None:
            told = np.float32(self.nodata) if values.dtype == np.float32 else self.nodata
            return values, ~np.isnan(values) if np.isnan(self.nodata) else values != told
        if MaskFlags.all_valid in flags:
            return values, np.ones(values.shape, bool)
        return values, self._mask(number, window)

    def _mask(self, number: int, window: Window | None) -> NDArray[np.bool_]:
        return self.dataset.read_masks(number, window=window) != 0

    @property
    def _marked_by_both_parts(self) -> bool:
        return self.is_complex and self.form != "packed"

    def _both_parts_marked(self, values: np.ndarray) -> NDArray[np.bool_]:
        nodata = self.nodata
        if nodata is None and MaskFlags.nodata in self.dataset.mask_flag_enums[self.number - 1]:
            nodata = self.dataset.nodatavals[self.number - 1]
        if nodata is None or np.isnan(nodata):
            return np.zeros(values.shape, bool)
        mark = np.float32(nodata)
        real, imaginary = np.real(values), np.imag(values)
        return (real == mark) & ((imaginary == mark) | (imaginary == 0))

    def _colours(self, values: np.ndarray) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Grey levels of the colours, and which of them are opaque."""
        colours = self.dataset.colormap(self.number)
        table = np.zeros((max(max(colours), int(values.max(initial=0))) + 1, 4), np.float64)
        table[list(colours)] = list(colours.values())
        grey = np.rint(table[:, :3] @ _LUMA).astype(np.uint8)
        return grey[values], (table[:, 3] > 0)[values]

    def _upright(self, values: np.ndarray) -> np.ndarray:
        """Unsigned integers with black as 0 and, where they have fewer than 8 bits, white as 255."""
        bits = self.dataset.tags(self.number, ns="IMAGE_STRUCTURE").get("NBITS", "")
        largest = 2 ** int(bits) - 1 if bits.isdigit() else np.iinfo(values.dtype).max
        if self.dataset.tags(ns="IMAGE_STRUCTURE").get("MINISWHITE") == "YES":
            values = values.dtype.type(largest) - values
        if values.dtype == np.uint8 and largest < 255:
            values = (values.astype(np.uint16) * 255 // largest).astype(np.uint8)
        return values


def _is_coloured(dataset: rasterio.DatasetReader, number: int) -> bool:
    """Whether the first three bands are one picture in colours, as far as the file says."""
    colours = [ColorInterp.red, ColorInterp.green, ColorInterp.blue]
    # GDAL marks any three bands of 8 bit so; those that have names of their own are images of their own.
    return number == 1 and dataset.count in (3, 4) and list(dataset.colorinterp[:3]) == colours


def _told_complex(
    dataset: rasterio.DatasetReader, number: int
) -> tuple[Literal["iq bands", "packed"], tuple[int, int]]:
    if dataset.count == 1 and dataset.dtypes[0] in _HALVES:
        return "packed", (number, number)
    first = number - (number - 1) % 2
    if first == dataset.count:
        raise InputError(
            f"stored: found 'iq' for band {number} of {dataset.count}, of type {dataset.dtypes[number - 1]}; expected "
            "two bands, or one of 32 or 64-bit integers"
        )
    return "iq bands", (first, first + 1)


def _is_packed(sample: np.ndarray) -> bool:
    """Whether both halves of the numbers swing about zero, as I and Q do, and as no number's halves do otherwise."""
    if not sample.size:
        return False
    halves = np.ascontiguousarray(sample).view(_HALVES[str(sample.dtype)]).reshape(-1, 2).astype(np.float64)
    if not np.isfinite(halves).all():
        return False
    halves = halves[(halves != 0).any(axis=1)]
    if not len(halves):
        return False
    negative = (halves < 0).mean(axis=0)
    spread = np.median(np.abs(halves), axis=0)
    least = _LEAST_SPREAD if sample.dtype.itemsize == 4 else 0
    return bool(
        ((negative > 0.25) & (negative < 0.75)).all() and spread.min() > least and spread.max() < 4 * spread.min()
    )


def _scaling(dataset: rasterio.DatasetReader, number: int) -> tuple[float, float]:
    return dataset.scales[number - 1], dataset.offsets[number - 1]
