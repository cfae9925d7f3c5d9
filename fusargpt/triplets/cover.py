"""The land cover beneath the pixels of a chip, from a raster of any CRS and resolution."""

import numpy as np
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.windows import Window

from fusargpt.errors import InputError
from fusargpt.geo.geometry import Geometry
from fusargpt.geo.land_classes import LANDCOVER_CLASSES
from fusargpt.geo.remote import environment, open_raster, raster_error

UNKNOWN = -1
# Places are computed at so many nodes a side and interpolated between: over one chip projections are that smooth.
_NODES = 17


class LandCover:
    """A raster of Dynamic World classes 0..8, open for reading; a context manager.

    Args:
        path: a TIFF file or URL with a georeference; its nodata value and what lies outside it are unknown.

    Raises:
        InputError: no such file, not a TIFF, or one without a georeference.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        with environment():
            self._dataset = open_raster(path)
        geometry = Geometry.of(self._dataset)
        if geometry is None:
            raise InputError(f"{path}: land cover without a georeference")
        self._geometry = geometry

    def __enter__(self) -> "LandCover":
        return self

    def __exit__(self, *_: object) -> None:
        self._dataset.close()

    def beneath(self, geometry: Geometry, window: Window, shape: tuple[int, int]) -> NDArray[np.int8]:
        """Classes beneath a window of an image, by the nearest pixel.

        Args:
            geometry: of the image.
            window: of the image, in its pixels.
            shape: rows and columns of the result, which covers the window evenly.

        Returns:
            int8 [rows, columns], 0..8, and -1 where the land cover is not known.

        Raises:
            InputError: values that are no classes, a damaged raster, or a chip that covers too much of it.
        """
        columns, rows = self._pixels(geometry, window, shape)
        inside = (columns >= 0) & (columns < self._dataset.width) & (rows >= 0) & (rows < self._dataset.height)
        cover = np.full(shape, UNKNOWN, np.int8)
        if inside.any():
            left, top = int(columns[inside].min()), int(rows[inside].min())
            values = self._read(left, top, int(columns[inside].max()) + 1, int(rows[inside].max()) + 1)
            cover[inside] = values[rows[inside] - top, columns[inside] - left]
        return cover

    def _pixels(self, geometry: Geometry, window: Window, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Columns and rows of the land cover, int [rows, columns], beneath the pixel centres of the result."""
        steps = np.linspace(0, 1, _NODES)
        x, y = np.meshgrid(window.col_off + steps * window.width, window.row_off + steps * window.height)
        nodes = self._geometry.to_pixel(geometry.to_lonlat(np.stack([x.ravel(), y.ravel()], -1)))
        if not np.isfinite(nodes).all():
            # A part of the chip is far from the land cover: outside of it in any case.
            nodes = np.where(np.isfinite(nodes), nodes, -1e9)
        down, across = (_interpolation(size) for size in shape)
        column, row = (down @ nodes[:, axis].reshape(_NODES, _NODES) @ across.T for axis in (0, 1))
        return np.floor(column).astype(np.int64), np.floor(row).astype(np.int64)

    def _read(self, left: int, top: int, right: int, bottom: int) -> NDArray[np.int8]:
        window = Window.from_slices((top, bottom), (left, right))
        if window.width * window.height > 2**26:
            raise InputError(
                f"{self._path}: {window.width} x {window.height} pixels beneath one chip; use a coarser one"
            )
        try:
            with environment():
                values = self._dataset.read(1, window=window, masked=True)
        except RasterioError as error:
            raise raster_error(self._path, error) from error
        known = values.compressed()
        wrong = ~np.isin(known, np.arange(len(LANDCOVER_CLASSES)))
        if wrong.any():
            raise InputError(f"{self._path}: found {known[wrong][0]}; expected Dynamic World classes, 0 to 8")
        return values.filled(0).astype(np.int8) + np.where(np.ma.getmaskarray(values), UNKNOWN, 0).astype(np.int8)


def _interpolation(size: int) -> NDArray[np.float64]:
    """Weights [size, nodes] of the nodes at the centres of `size` equal cells, linear between neighbours."""
    position = (np.arange(size) + 0.5) / size * (_NODES - 1)
    distance = np.abs(position[:, None] - np.arange(_NODES))
    return np.clip(1 - distance, 0, None)
