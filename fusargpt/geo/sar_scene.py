"""A SAR scene of any size: where it lies, when and how it was acquired, and chips of it as the model sees them."""

from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from types import TracebackType

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.windows import Window

from fusargpt.errors import InputError, NoDataError, naming
from fusargpt.geo.acquisition import acquired_on, file_stem, polarizations_of, sensor_of, tags_of, told_polarizations
from fusargpt.geo.bands import Band
from fusargpt.geo.evidence import words_about
from fusargpt.geo.geometry import Geometry
from fusargpt.geo.radiometry import Stored, Stretch, choose_stretch, signal, to_8bit
from fusargpt.geo.reading import ReadAs, Reading, choose_band
from fusargpt.geo.remote import environment, is_remote, open_raster, raster_error, shown
from fusargpt.geo.sampling import sample_windows
from fusargpt.geo.stored import Kind, fill_of, kind_of

MAX_WINDOW_PIXELS = 8192 * 8192
"""Of one read; larger scenes are read in windows."""

_ENOUGH_PIXELS = 2**16
_PERCENTILES = "1st and 99.5th percentile of the scene"


@dataclass(frozen=True, eq=False)
class _Known:
    """What is known of a band once it was looked at: how it is read, what its values are, what fills it, a sample."""

    band: Band
    kind: Kind
    fill: tuple[float, ...]
    sample: NDArray


@dataclass(eq=False)
class SarScene:
    """An open SAR image. Made by `SarScene.open`; a context manager; not to be shared by threads.

    Attributes:
        path: file or URL, as given.
        width: pixels.
        height: pixels.
        polarizations: one a band, as ("VV", "VH"); "" where unknown.
        band: that is read where no other is named, from 1.
        polarization: of that band; "" where unknown.
        geometry: None where the file has no georeference, or none that can be used.
        problem: why the file's georeference cannot be used, in one line; "" where it is, or where there is none.
        acquired: day of acquisition; None where unknown.
        sensor: as "Sentinel-1A"; "" where unknown.
        reading: what was told.
    """

    path: str
    width: int
    height: int
    polarizations: tuple[str, ...]
    band: int
    polarization: str
    geometry: Geometry | None
    problem: str
    acquired: date | None
    sensor: str
    reading: Reading
    _dataset: rasterio.DatasetReader = field(repr=False)
    _known: dict[int, _Known] = field(default_factory=dict, repr=False)

    @staticmethod
    def open(
        path_or_url: str | Path,
        reading: Reading | None = None,
        *,
        polarizations: str | None = None,
        acquired: date | None = None,
        sensor: str | None = None,
    ) -> "SarScene":
        """Open a scene; of the pixels nothing is read yet. What is given here wins over what the file says.

        Args:
            path_or_url: a GeoTIFF, COG or plain TIFF of 8 or 16-bit, float or complex values, one band or more; a local
                file or an http(s), s3 or gs URL.
            reading: how it is to be read; None leaves all to the file.
            polarizations: one a band, as "VV" or "VV+VH". None looks at band descriptions and tags, file tags and name.
            acquired: day. None looks at acquisition tags, then the file name. The date of the file's writing is not
                looked at.
            sensor: None looks at tags and the file name.

        Raises:
            InputError: not found, no TIFF, a damaged one, a server that does not answer in time, or an argument that
                does not fit the file. A georeference of the file's own that is not on Earth is told in `problem`.
        """
        reading = reading or Reading()
        with _environment(path_or_url):
            dataset = open_raster(path_or_url)
            try:
                with naming(shown(path_or_url)):
                    _check_blocks(dataset)
                    tags, stem = tags_of(dataset), file_stem(str(path_or_url))
                    names = (
                        polarizations_of(dataset, tags, stem)
                        if polarizations is None
                        else told_polarizations(polarizations, dataset.count)
                    )
                    band, polarization = choose_band(names, reading)
                    geometry, problem = _placed(dataset, reading)
                    scene = SarScene(
                        path=str(path_or_url),
                        width=dataset.width,
                        height=dataset.height,
                        polarizations=names,
                        band=band,
                        polarization=polarization,
                        geometry=geometry,
                        problem=problem and f"{shown(path_or_url)}: {problem}",
                        acquired=acquired_on(tags, stem) if acquired is None else acquired,
                        sensor=sensor_of(tags, stem) if sensor is None else sensor,
                        reading=reading,
                        _dataset=dataset,
                    )
                    scene._band(band)
                    return scene
            except InputError:
                dataset.close()
                raise

    def __enter__(self) -> "SarScene":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._dataset.close()

    @property
    def stored(self) -> Stored:
        """What the values of `band` are; see `read_as`."""
        return self._look(self.band).kind.stored

    def band_of(self, polarization: str) -> int:
        """The band, from 1, of a polarization.

        Raises:
            InputError: the scene does not have it, or does not say.
        """
        if polarization not in self.polarizations:
            found = ", ".join(name or "unknown" for name in self.polarizations)
            raise InputError(f"{shown(self.path)}: no band is {polarization!r}; found {found}")
        return self.polarizations.index(polarization) + 1

    def read(self, window: Window | None = None, band: int | None = None) -> tuple[NDArray, NDArray[np.bool_]]:
        """Stored values of a window, and where they hold data.

        Args:
            window: whole pixels; may reach over the edge. None reads the whole scene, if it is small enough.
            band: from 1; None takes the scene's `band`.

        Returns:
            values [h, w], of the stored type (float32 for float64 and scaled ones, complex64 for complex ones, grey
            levels for palettes), 0 outside the scene; and bool [h, w], False on nodata, on what fills the raster
            without being named, on zeros that are no signal, on NaN and outside the scene.

        Raises:
            InputError: no such band, a window of fractional pixels, of more than 67 million or wholly outside, damaged
                data, values that fit two kinds, or a server that does not answer in time.
        """
        band = self.band if band is None else band
        with naming(shown(self.path)):
            self._whole_pixels(window)
        known = self._look(band)
        values, valid = self._stored(known.band, window)
        if known.fill:
            valid &= ~np.isin(values, np.array(known.fill, values.dtype))
        return values, valid & signal(values, known.kind.stored)

    def stretch(self, band: int | None = None, decibels: tuple[float, float] | None = None) -> Stretch | None:
        """Limits for the whole scene, by the rule of `fusargpt.geo.radiometry`; None for 8-bit grey levels.

        The same file always gives the same limits. They are percentiles of about 4 million pixels (of all up to that
        number), at full resolution, because overviews are averages with less speckle. The pixels come from blocks of
        the file evenly spread over the scene, 16 million pixels of them or 36 blocks if these are more; only where
        these hold next to no data more are read. Blocks of a local file that are damaged are passed over, unless all
        are.

        Args:
            band: from 1; None takes the scene's `band`.
            decibels: (low, high) instead of percentiles.

        Raises:
            NoDataError: no pixel holds data.
            InputError: values that cannot be stretched, what `read` raises, or limits in decibels for grey levels, for
                values that may be amplitude or power, or beyond all values of the scene.
        """
        known = self._look(self.band if band is None else band)
        with naming(shown(self.path)):
            if known.kind.stored == "grey":
                if decibels is not None:
                    raise InputError("decibels: the file holds 8-bit grey levels, which are not scaled; leave it out")
                return None
            stretch = choose_stretch(known.sample, stored=known.kind.stored)
            if decibels is None or stretch is None:
                return stretch
            return _told_limits(decibels, stretch, known.kind)

    def read_as(
        self, band: int | None = None, stretch: Stretch | None = None, limits_why: str = _PERCENTILES
    ) -> ReadAs:
        """What a band is read as, and why.

        Args:
            band: from 1; None takes the scene's `band`.
            stretch: what grey levels are made by.
            limits_why: where its limits come from.

        Raises:
            InputError: what `read` raises.
        """
        band = self.band if band is None else band
        known, told = self._look(band), self.reading
        flags = [flag.name for flag in self._dataset.mask_flag_enums[band - 1]]
        named = self._dataset.nodatavals[band - 1]
        if told.nodata is not None:
            nodata, why = (told.nodata,), "told"
        elif known.fill:
            also = () if named is None or "nodata" not in flags else (float(named),)
            nodata, why = (*also, *known.fill), "found among the values; the file does not name all of it"
        elif "nodata" in flags and named is not None:
            nodata, why = (float(named),), "named by the file"
        else:
            nodata, why = (), "none named" if "all_valid" in flags else "by the mask of the file"
        return ReadAs(
            band=band,
            polarization=self.polarization if band == self.band else self.polarizations[band - 1],
            stored=known.kind.stored,
            stored_why=known.kind.why,
            nodata=nodata,
            nodata_why=why,
            limits=None if stretch is None else (stretch.low, stretch.high),
            limits_why="taken as they are" if stretch is None else limits_why,
            place=self._place(),
        )

    def placed(self) -> Geometry:
        """The georeference, where one is needed.

        Raises:
            InputError: there is none, or none that can be used; says why and what to do.
        """
        if self.geometry is None:
            raise InputError(self.problem or f"{shown(self.path)}: no georeference")
        return self.geometry

    def chip(
        self, window: Window, band: int | None = None, stretch: Stretch | None = None
    ) -> NDArray[np.uint8]:
        """Grey levels uint8 [h, w] of a window, as the model sees them; nodata and what lies outside are 0.

        Args:
            window: whole pixels; may reach over the edge.
            band: from 1; None takes the scene's `band`.
            stretch: of the whole scene, from `stretch`, or of another one. None takes the window's own limits.

        Raises:
            NoDataError: no pixel of the window holds data.
            InputError: what `read` and `to_8bit` raise.
        """
        values, valid = self.read(window, band)
        with naming(f"{shown(self.path)}: {_described(window)}"):
            if not valid.any():
                raise NoDataError("no pixel holds data: all are nodata, NaN or, where they are linear, 0")
            stored = self._look(self.band if band is None else band).kind.stored
            return to_8bit(values, valid, stretch, stored if stretch is None else stretch.stored)[0]

    def _band(self, number: int) -> Band:
        with naming(shown(self.path)):
            return Band.of(self._dataset, number, self.reading.stored, self.reading.nodata)

    def _look(self, number: int) -> _Known:
        """What is known of a band; looked for once."""
        if number not in self._known:
            self._known[number] = self._looked(self._band(number))
        return self._known[number]

    def _looked(self, band: Band) -> _Known:
        told = self.reading.stored
        if band.is_grey and told in (None, "grey"):
            why = "told" if told else "colours of a palette" if band.form == "palette" else "8-bit values"
            return _Known(band, Kind("grey", why), (), np.empty(0))
        sample = self._sample(band)
        with naming(shown(self.path)):
            if band.form == "may be packed":
                band = band.packed_or_plain(sample)
                if band.form == "packed":
                    sample = self._sample(band)
            kind = self._kind(band, sample)
            fill: tuple[float, ...] = ()
            if self.reading.nodata is None and not band.is_complex:
                fill = fill_of(sample, kind.stored)
                sample = sample[~np.isin(sample, np.array(fill, sample.dtype))] if fill else sample
        return _Known(band, kind, fill, sample[signal(sample, kind.stored)])

    def _kind(self, band: Band, sample: NDArray) -> Kind:
        told = self.reading.stored
        if band.is_complex:
            held = {
                "iq bands": f"I and Q in bands {band.parts[0]} and {band.parts[1]}",
                "packed": "I and Q as halves of each number",
            }.get(band.form, "complex values")
            return Kind("amplitude", f"of {held}" + (", told" if told else ""))
        if told is not None:
            return Kind(told, "told")
        words = words_about(self._dataset, band.number, file_stem(self.path), tags_of(self._dataset))
        return kind_of(sample, words, len(self._dataset.dtypes))

    def _place(self) -> str:
        told = self.reading
        if self.geometry is None:
            return "no georeference" if not self.problem else "georeference not used"
        crs = self.geometry.crs if self.geometry.crs.startswith(("EPSG:", "OGC:", "ESRI:")) else "the file's own CRS"
        height = f" at {told.height_m:g} m, told" if told.height_m is not None else " at their middle height"
        kind = {"affine": "", "gcps": " by ground control points", "rpcs": f" by RPCs{height}"}[self.geometry.kind]
        return f"in {crs}{' (told)' if told.crs else ''}{kind}"

    def _stored(self, band: Band, window: Window | None) -> tuple[NDArray, NDArray[np.bool_]]:
        """Values of a window and which of them the file says hold data."""
        with naming(shown(self.path)):
            left, top, width, height = self._whole_pixels(window)
        columns = max(left, 0), min(left + width, self.width)
        rows = max(top, 0), min(top + height, self.height)
        try:
            with _environment(self.path):
                values, valid = band.read(Window.from_slices(rows, columns))
        except RasterioError as error:
            raise raster_error(self.path, error) from error
        margins = ((rows[0] - top, top + height - rows[1]), (columns[0] - left, left + width - columns[1]))
        if any(sum(margins, ())):
            values, valid = np.pad(values, margins), np.pad(valid, margins)
        return values, valid

    def _sample(self, band: Band) -> NDArray:
        """Values that hold data by what the file says, [N]; amplitudes of complex ones."""
        block_height, block_width = self._dataset.block_shapes[band.number - 1]
        sample = np.empty(0)
        for windows, step in sample_windows(self.width, self.height, block_width, block_height):
            parts, damaged = [], None
            for window in windows:
                try:
                    values, valid = (array[::step, ::step] for array in self._stored(band, window))
                except InputError as error:
                    # A server may answer the next time, and the limits would be others.
                    if is_remote(self.path):
                        raise
                    damaged = error
                    continue
                parts.append(np.abs(values[valid]) if values.dtype.kind == "c" else values[valid])
            if damaged is not None and not parts:
                raise damaged
            sample = np.concatenate(parts)
            if np.count_nonzero(sample) >= _ENOUGH_PIXELS:
                break
        return sample

    def _whole_pixels(self, window: Window | None) -> tuple[int, int, int, int]:
        """Left, top, width, height."""
        if window is None:
            window = Window.from_slices((0, self.height), (0, self.width))
        exact = window.col_off, window.row_off, window.width, window.height
        left, top, width, height = (int(number) for number in exact)
        if (left, top, width, height) != exact or min(width, height) < 1:
            raise InputError(f"{_described(window)}: expected whole pixels, at least one on each side")
        if width * height > MAX_WINDOW_PIXELS:
            raise InputError(f"{_described(window)}: more than {MAX_WINDOW_PIXELS:,} in one read; use smaller windows")
        if left >= self.width or top >= self.height or left + width <= 0 or top + height <= 0:
            raise InputError(f"{_described(window)}: outside the scene of {self.width} x {self.height} pixels")
        return left, top, width, height


def _described(window: Window) -> str:
    return f"window of {window.width:g} x {window.height:g} pixels at ({window.col_off:g}, {window.row_off:g})"


def _placed(dataset: rasterio.DatasetReader, reading: Reading) -> tuple[Geometry | None, str]:
    """The georeference, or why it cannot be used; what the user says of it has to fit."""
    try:
        return Geometry.of(dataset, crs=reading.crs, height_m=reading.height_m), ""
    except InputError as error:
        if reading.crs is not None or reading.height_m is not None:
            raise
        return None, str(error)


def _told_limits(decibels: tuple[float, float], own: Stretch, kind: Kind) -> Stretch:
    low, high = decibels
    if not kind.sure:
        raise InputError(
            "decibels: the values fit amplitude and power alike, whose decibels differ by a factor of two; say which "
            "they are with stored (--stored)"
        )
    if own.high <= low or own.low >= high:
        colour = "black" if own.high <= low else "white"
        raise InputError(
            f"decibels: found {low:g} to {high:g}, but the values, read as {own.stored} ({kind.why}), lie at {own.low:.1f} "
            f"to {own.high:.1f} dB, so that all would be {colour}; give other limits, or say what the values are with "
            "stored (--stored)"
        )
    return Stretch(low, high, own.stored)


def _check_blocks(dataset: rasterio.DatasetReader) -> None:
    for height, width in dataset.block_shapes:
        if height * width > MAX_WINDOW_PIXELS:
            raise InputError(
                f"stored in blocks of {width:,} x {height:,} pixels, of which one must be read for any part; "
                "rewrite it in tiles, for example with gdal_translate -co TILED=YES -co COMPRESS=DEFLATE"
            )


def _environment(path_or_url: str | Path) -> rasterio.Env:
    # Beside local files lie others that count, such as RPCs and masks, which the settings for remote ones leave out.
    return environment() if is_remote(path_or_url) else rasterio.Env()
