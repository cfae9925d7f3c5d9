"""A SAR scene of any size: where it lies, when and how it was acquired, and chips of it as the model sees them."""

from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from pathlib import Path
from types import TracebackType

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.windows import Window

from fusargpt.errors import InputError, NoDataError, naming
from fusargpt.geo.acquisition import acquired_on, file_stem, polarizations_of, sensor_of, tags_of, told_polarizations
from fusargpt.geo.bands import check_band, read_band
from fusargpt.geo.geometry import Geometry
from fusargpt.geo.radiometry import Stored, Stretch, check_stored, choose_stretch, to_8bit
from fusargpt.geo.remote import environment, is_remote, open_raster, raster_error, shown
from fusargpt.geo.sampling import sample_windows

MAX_WINDOW_PIXELS = 8192 * 8192
"""Of one read; larger scenes are read in windows."""

_ENOUGH_PIXELS = 2**16


@dataclass(eq=False)
class SarScene:
    """An open SAR image. Made by `SarScene.open`; a context manager; not to be shared by threads.

    Attributes:
        path: file or URL, as given.
        width: pixels.
        height: pixels.
        polarizations: one a band, as ("VV", "VH"); "" where unknown.
        geometry: None where the file has no georeference.
        acquired: day of acquisition; None where unknown.
        sensor: as "Sentinel-1A"; "" where unknown.
    """

    path: str
    width: int
    height: int
    polarizations: tuple[str, ...]
    geometry: Geometry | None
    acquired: date | None
    sensor: str
    _dataset: rasterio.DatasetReader = field(repr=False)
    _nodata: float | None = field(repr=False)
    _told: Stored | None = field(repr=False)

    @staticmethod
    def open(
        path_or_url: str | Path,
        *,
        polarization: str | None = None,
        acquired: date | None = None,
        sensor: str | None = None,
        stored: Stored | None = None,
        crs: str | None = None,
        nodata: float | None = None,
        height_m: float | None = None,
    ) -> "SarScene":
        """Open a scene; of the pixels nothing is read yet. What is given here wins over what the file says.

        Args:
            path_or_url: a GeoTIFF, COG or plain TIFF of 8 or 16-bit, float or complex values, one band or more; a local
                file or an http(s), s3 or gs URL.
            polarization: one a band, as "VV" or "VV+VH". None looks at band descriptions and tags, file tags and name.
            acquired: day. None looks at acquisition tags, the file name, then the TIFF's own date.
            sensor: None looks at tags and the file name.
            stored: what the values are. None detects it, see `fusargpt.geo.radiometry`.
            crs: of the transform or the control points, as "EPSG:32611". None takes the file's.
            nodata: the value that marks pixels without data. None takes the file's nodata, mask or alpha band.
            height_m: of the ground above the ellipsoid, for RPCs.

        Raises:
            InputError: not found, no TIFF, a damaged one, a server that does not answer in time, a georeference that
                is not on Earth, or an argument that does not fit the file.
        """
        if stored is not None:
            check_stored(stored)
        with _environment(path_or_url):
            dataset = open_raster(path_or_url)
            try:
                with naming(shown(path_or_url)):
                    _check_blocks(dataset)
                    tags, stem = tags_of(dataset), file_stem(str(path_or_url))
                    return SarScene(
                        path=str(path_or_url),
                        width=dataset.width,
                        height=dataset.height,
                        polarizations=polarizations_of(dataset, tags, stem)
                        if polarization is None
                        else told_polarizations(polarization, dataset.count),
                        geometry=Geometry.of(dataset, crs=crs, height_m=height_m),
                        acquired=acquired_on(tags, stem) if acquired is None else acquired,
                        sensor=sensor_of(tags, stem) if sensor is None else sensor,
                        _dataset=dataset,
                        _nodata=nodata,
                        _told=stored,
                    )
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

    @cached_property
    def stored(self) -> Stored:
        """What the values are: told, or detected in the sample of band 1 that `stretch` takes."""
        if self._told is not None:
            return self._told
        stretch = self.stretch()
        return "grey" if stretch is None else stretch.stored

    def band_of(self, polarization: str) -> int:
        """The band, from 1, of a polarization.

        Raises:
            InputError: the scene does not have it, or does not say.
        """
        if polarization not in self.polarizations:
            found = ", ".join(name or "unknown" for name in self.polarizations)
            raise InputError(f"{shown(self.path)}: no band is {polarization!r}; found {found}")
        return self.polarizations.index(polarization) + 1

    def read(self, window: Window | None = None, band: int = 1) -> tuple[np.ndarray, NDArray[np.bool_]]:
        """Stored values of a window, and where they hold data.

        Args:
            window: whole pixels; may reach over the edge. None reads the whole scene, if it is small enough.
            band: from 1.

        Returns:
            values [h, w], of the stored type (float32 for float64 and scaled ones, complex64 for complex ones), 0
            outside the scene; and bool [h, w], False on nodata, NaN and outside the scene.

        Raises:
            InputError: no such band, a window of fractional pixels, of more than 67 million or wholly outside, damaged
                data, or a server that does not answer in time.
        """
        with naming(shown(self.path)):
            check_band(self._dataset, band)
            left, top, width, height = self._whole_pixels(window)
        columns = max(left, 0), min(left + width, self.width)
        rows = max(top, 0), min(top + height, self.height)
        try:
            with _environment(self.path):
                values, valid = read_band(self._dataset, band, Window.from_slices(rows, columns), self._nodata)
        except RasterioError as error:
            raise raster_error(self.path, error) from error
        margins = ((rows[0] - top, top + height - rows[1]), (columns[0] - left, left + width - columns[1]))
        if any(sum(margins, ())):
            values, valid = np.pad(values, margins), np.pad(valid, margins)
        return values, valid

    def stretch(self, band: int = 1) -> Stretch | None:
        """Limits for the whole scene, by the rule of `fusargpt.geo.radiometry`; None for 8-bit grey levels.

        The same file always gives the same limits. They are percentiles of about 4 million pixels (of all up to that
        number), at full resolution, because overviews are averages with less speckle. The pixels come from blocks of
        the file evenly spread over the scene, 16 million pixels of them or 36 blocks if these are more; only where
        these hold next to no data more are read. Blocks of a local file that are damaged are passed over, unless all
        are.

        Raises:
            NoDataError: no pixel holds data.
            InputError: values that cannot be stretched, or what `read` raises.
        """
        with naming(shown(self.path)):
            check_band(self._dataset, band)
        if self._dataset.dtypes[band - 1] == "uint8" and self._told in (None, "grey"):
            return None
        sample = self._sample(band)
        with naming(shown(self.path)):
            return choose_stretch(sample, stored=self._told)

    def chip(self, window: Window, band: int = 1, stretch: Stretch | None = None) -> NDArray[np.uint8]:
        """Grey levels uint8 [h, w] of a window, as the model sees them; nodata and what lies outside are 0.

        Args:
            window: whole pixels; may reach over the edge.
            band: from 1.
            stretch: of the whole scene, from `stretch`, or of another one. None takes the window's own limits.

        Raises:
            NoDataError: no pixel of the window holds data.
            InputError: what `read` and `to_8bit` raise.
        """
        values, valid = self.read(window, band)
        with naming(f"{shown(self.path)}: {_described(window)}"):
            if not valid.any():
                raise NoDataError("no pixel holds data: all are NaN or nodata")
            return to_8bit(values, valid, stretch, self._told if stretch is None else stretch.stored)[0]

    def _sample(self, band: int) -> np.ndarray:
        """Values that hold data, [N]; amplitudes of complex ones."""
        block_height, block_width = self._dataset.block_shapes[band - 1]
        sample = np.empty(0)
        for windows, step in sample_windows(self.width, self.height, block_width, block_height):
            parts, damaged = [], None
            for window in windows:
                try:
                    values, valid = (array[::step, ::step] for array in self.read(window, band))
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
            if len(sample) >= _ENOUGH_PIXELS:
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
