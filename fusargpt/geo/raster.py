"""The bands of an open raster as what they are: told, or found out once in a sample that stands for all of it."""

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.windows import Window

from fusargpt.errors import InputError, naming
from fusargpt.geo.acquisition import file_stem, polarizations_of, tags_of
from fusargpt.geo.bands import Band
from fusargpt.geo.calibration import WHY, Calibration
from fusargpt.geo.evidence import Words, words_about
from fusargpt.geo.reading import Reading
from fusargpt.geo.remote import environment, is_remote, raster_error, shown
from fusargpt.geo.sampling import sample_windows
from fusargpt.geo.stored import Kind, fill_of, kind_of, signal

MAX_WINDOW_PIXELS = 8192 * 8192
"""Of one read; larger scenes are read in windows."""

_ENOUGH_PIXELS = 2**16


@dataclass(frozen=True, eq=False)
class KnownBand:
    """What is known of a band once it was looked at, as far as that is needed.

    Attributes:
        band: how it is read.
        kind: what its values are.
        fill: values that fill it without being named.
    """

    band: Band
    kind: Kind
    fill: tuple[float, ...] = ()

    def held(self, values: np.ndarray) -> NDArray[np.bool_]:
        """Which values hold data, as what they are."""
        named = signal(values, self.kind.stored)
        return named & ~np.isin(values, np.array(self.fill, values.dtype)) if self.fill else named


@dataclass(frozen=True, eq=False)
class Raster:
    """An open raster, and how the user wants it read.

    Attributes:
        path: file or URL, as given.
        dataset: open.
        reading: what was told.
        calibration: that makes backscatter of the digital numbers of the only band; None leaves values as they are.
    """

    path: str
    dataset: rasterio.DatasetReader
    reading: Reading
    calibration: Calibration | None = None
    _known: dict[int, KnownBand] = field(default_factory=dict[int, KnownBand], repr=False)
    _samples: dict[int, np.ndarray] = field(default_factory=dict[int, np.ndarray], repr=False)

    def band(self, number: int) -> Band:
        """A band, from 1, of which nothing is read yet.

        Raises:
            InputError: no such band, or one that cannot hold what it is told to.
        """
        with naming(shown(self.path)):
            told = self.reading
            return Band.of(
                self.dataset, number, told.stored, told.nodata, whole_colours(self.dataset, told, self._names)
            )

    def look(self, number: int) -> KnownBand:
        """What is known of a band; looked for once.

        Raises:
            InputError: as `band`, values that fit two kinds or none, or damaged data.
        """
        if number not in self._known:
            self._known[number] = self._looked(self.band(number))
        return self._known[number]

    def sample(self, number: int) -> np.ndarray:
        """Values of a band that hold data, [N], evenly spread over it; amplitudes of complex ones. Read once.

        Raises:
            InputError: as `look`.
        """
        known = self.look(number)
        if number not in self._samples:
            self._samples[number] = self._sample(known.band)
        values = self._samples[number]
        return values[known.held(values)]

    def read(self, number: int, window: Window | None = None) -> tuple[np.ndarray, NDArray[np.bool_]]:
        """Values of a window, and where they hold data, see `fusargpt.geo.sar_scene.SarScene.read`."""
        with naming(shown(self.path)):
            self._whole_pixels(window)
        known = self.look(number)
        values, valid = self._stored(known.band, window)
        return values, valid & known.held(values)

    def _looked(self, band: Band) -> KnownBand:
        if self.calibration is not None:
            return KnownBand(band, Kind("power", WHY))
        told, nodata = self.reading.stored, self.reading.nodata
        if (kind := self._kind_without_a_look(band)) is not None:
            return KnownBand(band, kind)
        if told is not None and nodata is not None:
            return KnownBand(band, Kind(told, "told"))
        sample = self._samples[band.number] = self._sample(band)
        with naming(shown(self.path)):
            if band.form == "may be packed" and (packed := band.packed_or_plain(sample)).form == "packed":
                del self._samples[band.number]
                return KnownBand(packed, Kind("amplitude", "of I and Q as halves of each number"))
            kind = Kind(told, "told") if told is not None else kind_of(sample, self._words(band), self._alike())
            return KnownBand(band, kind, fill_of(sample, kind.stored) if nodata is None else ())

    def _kind_without_a_look(self, band: Band) -> Kind | None:
        """What the type of the values says for itself."""
        told = self.reading.stored
        if band.is_grey and told in (None, "grey"):
            why = {"palette": "colours of a palette", "colours": "the luma of red, green and blue"}.get(band.form)
            return Kind("grey", why or ("told" if told else "8-bit values"))
        if band.is_complex:
            held = {
                "iq bands": f"I and Q in bands {band.parts[0]} and {band.parts[1]}",
                "packed": "I and Q as halves of each number",
            }.get(band.form, "complex values")
            return Kind("amplitude", f"of {held}" + (", told" if told else ""))
        # Nothing marks nodata among them but 0, which is no signal.
        if told is None and band.is_plain_uint16 and self._words(band).kind is None:
            return Kind("amplitude", "16-bit integers, as products are delivered")
        return None

    def _alike(self) -> int:
        """Bands that may be parts of one image: those of different polarizations are not."""
        return 1 if len(set(self._names)) > 1 else self.dataset.count

    @property
    def _names(self) -> tuple[str, ...]:
        return polarizations_of(self.dataset, tags_of(self.dataset), file_stem(self.path))

    def _words(self, band: Band) -> Words:
        return words_about(self.dataset, band.number, file_stem(self.path), tags_of(self.dataset))

    def _stored(self, band: Band, window: Window | None) -> tuple[np.ndarray, NDArray[np.bool_]]:
        """Values of a window and which of them the file says hold data."""
        with naming(shown(self.path)):
            left, top, width, height = self._whole_pixels(window)
        columns = max(left, 0), min(left + width, self.dataset.width)
        rows = max(top, 0), min(top + height, self.dataset.height)
        try:
            with gdal_settings(self.path):
                values, valid = band.read(Window.from_slices(rows, columns))
        except RasterioError as error:
            raise raster_error(self.path, error) from error
        if self.calibration is not None:
            values, valid = self.calibration.sigma0(values, valid, rows[0], columns[0])
        margins = ((rows[0] - top, top + height - rows[1]), (columns[0] - left, left + width - columns[1]))
        if any(sum(margins, ())):
            values, valid = np.pad(values, margins), np.pad(valid, margins)
        return values, valid

    def _sample(self, band: Band) -> np.ndarray:
        """Values that hold data by what the file says, [N]; amplitudes of complex ones."""
        block_height, block_width = self.dataset.block_shapes[band.number - 1]
        sample = np.empty(0)
        for windows, step in sample_windows(self.dataset.width, self.dataset.height, block_width, block_height):
            parts: list[np.ndarray] = []
            damaged = None
            for window in windows:
                try:
                    parts.append(self._taken(band, window, step))
                except InputError as error:
                    # A server may answer the next time, and the limits would be others.
                    if is_remote(self.path):
                        raise
                    damaged = error
                    parts += self._taken_by_blocks(band, window, step, block_height)
            if damaged is not None and not parts:
                raise damaged
            sample = np.concatenate(parts)
            if np.count_nonzero(sample) >= _ENOUGH_PIXELS:
                break
        return sample

    def _taken(self, band: Band, window: Window, step: int) -> np.ndarray:
        """Every `step`th value of every `step`th row that holds data, [N]."""
        values, valid = (array[::step, ::step] for array in self._stored(band, window))
        return np.abs(values[valid]) if values.dtype.kind == "c" else values[valid]

    def _taken_by_blocks(self, band: Band, window: Window, step: int, block_height: int) -> list[np.ndarray]:
        """Of a window that cannot be read in one piece, what can be."""
        parts: list[np.ndarray] = []
        columns = (window.col_off, window.col_off + window.width)
        tops = range(window.row_off, window.row_off + window.height, block_height)
        for top in tops if len(tops) > 1 else ():
            rows = (top, min(top + block_height, window.row_off + window.height))
            with suppress(InputError):
                parts.append(self._taken(band, Window.from_slices(rows, columns), step))
        return parts

    def _whole_pixels(self, window: Window | None) -> tuple[int, int, int, int]:
        """Left, top, width, height."""
        if window is None:
            window = Window.from_slices((0, self.dataset.height), (0, self.dataset.width))
        exact = window.col_off, window.row_off, window.width, window.height
        left, top, width, height = (int(number) for number in exact)
        if (left, top, width, height) != exact or min(width, height) < 1:
            raise InputError(f"{described(window)}: expected whole pixels, at least one on each side")
        if width * height > MAX_WINDOW_PIXELS:
            raise InputError(f"{described(window)}: more than {MAX_WINDOW_PIXELS:,} in one read; use smaller windows")
        if left >= self.dataset.width or top >= self.dataset.height or left + width <= 0 or top + height <= 0:
            raise InputError(
                f"{described(window)}: outside the scene of {self.dataset.width} x {self.dataset.height} pixels"
            )
        return left, top, width, height


def described(window: Window) -> str:
    """For messages."""
    return f"window of {window.width:g} x {window.height:g} pixels at ({window.col_off:g}, {window.row_off:g})"


def whole_colours(dataset: rasterio.DatasetReader, reading: Reading, polarizations: tuple[str, ...]) -> bool:
    """Whether colours are to be read as one picture: nobody chose a band, and none has a name of its own."""
    named = any(polarizations) or any(dataset.descriptions[:3])
    return reading.band is None and reading.polarization is None and not named


def check_blocks(dataset: rasterio.DatasetReader) -> None:
    """Raise InputError for a raster of which too much must be read for any part."""
    for height, width in dataset.block_shapes:
        if height * width > MAX_WINDOW_PIXELS:
            raise InputError(
                f"stored in blocks of {width:,} x {height:,} pixels, of which one must be read for any part; "
                "rewrite it in tiles, for example with gdal_translate -co TILED=YES -co COMPRESS=DEFLATE"
            )


def gdal_settings(path_or_url: str | Path) -> rasterio.Env:
    """Under which a raster is opened and read; a context manager."""
    # Beside local files lie others that count, such as RPCs and masks, which the settings for remote ones leave out.
    return environment() if is_remote(path_or_url) else rasterio.Env()
