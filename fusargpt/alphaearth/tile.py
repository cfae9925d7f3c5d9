"""One tile of an AlphaEarth field: a GeoTIFF of 64 int8 bands, of which single blocks are read."""

import logging
import math
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
import tifffile
from affine import Affine
from numpy.typing import NDArray
from rasterio.transform import array_bounds

from fusargpt.alphaearth.byte_ranges import CONNECTIONS, ByteRanges, open_file
from fusargpt.errors import InputError, one_line
from fusargpt.geo.embeddings import EMBEDDING_SIZE, NODATA

# What tifffile logs about damaged files, our errors say in one line; who sets up logging gets it all the same.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

_MAX_BLOCK_PIXELS = 2048 * 2048  # 256 MiB of codes, and as much again for each step of unpacking them
# None, LZW, Deflate by two numbers, PackBits, LZMA, Zstandard by two numbers: unpacked to a size that is known before.
_COMPRESSIONS = (1, 5, 8, 32946, 32773, 34925, 34926, 50000)
_SLACK_BYTES = 2**16  # by which compressed blocks may be larger than their pixels
_MAX_IMAGES = 64  # the full resolution, its overviews, masks; directories that lead in a circle have no end


@dataclass(frozen=True, eq=False)
class Level:
    """The full resolution, or an overview of the same ground.

    Attributes:
        number: 0 for the full resolution; overview pixels are 2^number pixels wide.
        transform: from pixel edges (column, row) to metres. South-up tiles have a positive y step.
        block_shape: rows and columns of a block.
    """

    number: int
    page: tifffile.TiffPage
    transform: Affine
    block_shape: tuple[int, int]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.page.imagelength, self.page.imagewidth

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """West, south, east, north in metres."""
        left, bottom, right, top = array_bounds(*self.shape, self.transform)
        return min(left, right), min(bottom, top), max(left, right), max(bottom, top)

    @property
    def pixel_m(self) -> float:
        """Metres on a side of one pixel; the longer side where they differ."""
        return max(math.hypot(self.transform.a, self.transform.d), math.hypot(self.transform.b, self.transform.e))

    def pixels(self, places: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Rows and columns of the pixels beneath `places` [N, 2], metres inside the tile.

        A point on an edge belongs to the pixel east or north of it, whichever way the rows run.
        """
        x, y = places.T
        to_pixel = ~self.transform
        columns = to_pixel.a * x + to_pixel.b * y + to_pixel.c
        rows = to_pixel.d * x + to_pixel.e * y + to_pixel.f
        rows = np.floor(rows) if self.transform.e > 0 else np.ceil(rows) - 1
        height, width = self.shape
        # Rounding can lead a hair's breadth beyond the edge.
        return rows.astype(int).clip(0, height - 1), np.floor(columns).astype(int).clip(0, width - 1)


class AlphaEarthTile:
    """An open tile. Several threads may read from it.

    Attributes:
        version: another text whenever the file is another one.
        epsg: code of the projection, 0 where the tile does not say.
        levels: from the full resolution to the coarsest overview.

    Raises:
        InputError: not a TIFF of 64 int8 bands, or one that does not say where it lies.
    """

    def __init__(self, ranges: ByteRanges) -> None:
        self._ranges = ranges
        self.version = ranges.version
        try:
            with tifffile.TiffFile(open_file(ranges)) as tiff:
                images = list(islice(tiff.pages, _MAX_IMAGES + 1))
                if len(images) > _MAX_IMAGES:
                    raise InputError(f"{ranges.name}: more than {_MAX_IMAGES} images; expected one and its overviews")
                pages = [page for page in images if isinstance(page, tifffile.TiffPage) and not page.is_mask]
                self._check(pages)
                transform, self.epsg = self._georeference(pages[0])
                self.levels = tuple(self._levels(pages, transform))
                for level in self.levels:
                    self._check_blocks(level)
        except InputError:
            raise
        # tifffile raises whatever comes of a header that is damaged or ends too early.
        except Exception as error:
            raise InputError(f"{ranges.name}: not a TIFF file, or a damaged one ({one_line(error)})") from error

    def level_for(self, spacing_m: float | None) -> Level:
        """The coarsest whose pixels are not coarser than `spacing_m`; the full resolution when None or when all are."""
        fine_enough = [level for level in self.levels if spacing_m is not None and level.pixel_m <= spacing_m]
        return fine_enough[-1] if fine_enough else self.levels[0]

    def read_block(self, level: Level, row: int, column: int) -> NDArray[np.int8]:
        """The codes int8 [64, rows, columns] of one block: -128 where there is no data, anything beyond the edge.

        Raises:
            InputError: the file cannot be read, ends too early, or is damaged.
        """
        page = level.page
        codes = np.full((EMBEDDING_SIZE, *level.block_shape), NODATA, np.int8)
        across = math.ceil(page.imagewidth / level.block_shape[1])
        in_planes = page.planarconfig == tifffile.PLANARCONFIG.SEPARATE
        per_plane = across * math.ceil(page.imagelength / level.block_shape[0])
        segments = [band * per_plane + row * across + column for band in range(EMBEDDING_SIZE if in_planes else 1)]
        pixels = level.block_shape[0] * level.block_shape[1]
        largest = 2 * pixels * (1 if in_planes else EMBEDDING_SIZE) + _SLACK_BYTES

        def read(band: int) -> None:
            segment = segments[band]
            offset, length = page.dataoffsets[segment], page.databytecounts[segment]
            if not length:  # a block that was never written
                return
            if length > largest:
                raise InputError(
                    f"{self._ranges.name}: block {(row, column)} of {length:,} bytes; expected at most {largest:,}. "
                    "Fetch the file again"
                )
            values = self._decode(page, segment, self._read(offset, length), (row, column))
            if in_planes:
                codes[band, : values.shape[0], : values.shape[1]] = values[:, :, 0]
            else:
                codes[:, : values.shape[0], : values.shape[1]] = np.moveaxis(values, 2, 0)

        with ThreadPoolExecutor(CONNECTIONS) as threads:
            list(threads.map(read, range(len(segments))))
        return codes

    def _read(self, offset: int, length: int) -> bytes:
        data = self._ranges.read(offset, length) if 0 <= offset < self._ranges.size else b""
        if len(data) != length:
            raise InputError(
                f"{self._ranges.name}: the file ends at byte {self._ranges.size:,}, inside a block of {length:,} bytes "
                f"at {offset:,}; fetch it again"
            )
        return data

    def _decode(self, page: tifffile.TiffPage, segment: int, data: bytes, block: tuple[int, int]) -> NDArray[np.int8]:
        """[rows, columns, bands of the segment]; of tiles with what pads them, of the last strip without."""
        try:
            values, _, _ = page.decode(data, segment)
            assert values is not None  # None stands for segments without bytes
            return values[0]
        # Each codec has errors of its own.
        except Exception as error:
            raise InputError(
                f"{self._ranges.name}: block {block} is damaged ({one_line(error)}); fetch the file again"
            ) from error

    def _check(self, pages: list[tifffile.TiffPage]) -> None:
        name = self._ranges.name
        if not pages:
            raise InputError(f"{name}: no image in the file")
        page = pages[0]
        # tifffile passes over tags that point beyond the end of the file.
        if not page.dataoffsets:
            raise InputError(f"{name}: the file ends at byte {self._ranges.size:,}, inside its header; fetch it again")
        if page.samplesperpixel != EMBEDDING_SIZE or page.dtype != np.int8:
            raise InputError(f"{name}: found {page.samplesperpixel} bands of {page.dtype}; expected 64 of int8")
        if not (page.imagelength > 0 and page.imagewidth > 0):
            raise InputError(f"{name}: {page.imagewidth} x {page.imagelength} pixels; expected at least one")
        if page.imagedepth != 1 or page.is_subsampled:
            raise InputError(f"{name}: found an image of another kind; expected rows and columns of pixels")

    def _check_blocks(self, level: Level) -> None:
        """Also reads what tifffile reads from the file only when it is asked for."""
        page, (rows, columns) = level.page, level.block_shape
        if not 0 < rows * columns <= _MAX_BLOCK_PIXELS:
            raise InputError(f"{self._ranges.name}: blocks of {columns} x {rows} pixels; write smaller ones")
        if page.compression not in _COMPRESSIONS:
            raise InputError(f"{self._ranges.name}: compression {int(page.compression)}; expected Zstandard or Deflate")
        _ = page.decode
        expected = math.ceil(page.imagelength / rows) * math.ceil(page.imagewidth / columns)
        if page.planarconfig == tifffile.PLANARCONFIG.SEPARATE:
            expected *= EMBEDDING_SIZE
        if not len(page.dataoffsets) == len(page.databytecounts) == expected:
            raise InputError(f"{self._ranges.name}: found {len(page.dataoffsets)} blocks; expected {expected}")

    def _georeference(self, page: tifffile.TiffPage) -> tuple[Affine, int]:
        tags = page.geotiff_tags or {}
        if matrix := tags.get("ModelTransformation"):
            (a, b, _, c), (d, e, _, f) = (list(map(float, row)) for row in list(matrix)[:2])
            transform = Affine(a, b, c, d, e, f)
        elif (scale := tags.get("ModelPixelScale")) and (tie := tags.get("ModelTiepoint")):
            step_x, step_y = float(scale[0]), float(scale[1])
            # GeoTIFF counts the scale downwards, so that south-up tiles have a negative one.
            transform = Affine(step_x, 0, tie[3] - tie[0] * step_x, 0, -step_y, tie[4] + tie[1] * step_y)
        else:
            raise InputError(f"{self._ranges.name}: no geotransform; expected that of a UTM zone")
        if int(tags.get("GTRasterTypeGeoKey", 1)) == 2:  # the transform leads to pixel centres
            a, b, c, d, e, f = transform[:6]
            transform = Affine(a, b, c - (a + b) / 2, d, e, f - (d + e) / 2)
        if transform.is_degenerate:
            raise InputError(
                f"{self._ranges.name}: geotransform {tuple(transform)[:6]}; expected one that spans an area"
            )
        return transform, int(tags.get("ProjectedCSTypeGeoKey", 0))

    def _levels(self, pages: list[tifffile.TiffPage], transform: Affine) -> Iterable[Level]:
        full = pages[0]
        a, b, c, d, e, f = transform[:6]
        yield Level(0, full, transform, _block_shape(full))
        for page in pages[1:]:
            number = _halvings(full, page)
            if number and page.is_reduced and page.dtype == np.int8 and page.samplesperpixel == EMBEDDING_SIZE:
                side = 2**number
                coarse = Affine(a * side, b * side, c, d * side, e * side, f)
                yield Level(number, page, coarse, _block_shape(page))


def _block_shape(page: tifffile.TiffPage) -> tuple[int, int]:
    if page.is_tiled:
        return page.tilelength, page.tilewidth
    return min(page.rowsperstrip, page.imagelength), page.imagewidth


def _halvings(full: tifffile.TiffPage, overview: tifffile.TiffPage) -> int:
    """How often `full` was halved, rounding up, to give `overview`; 0 where it was not."""
    rows, columns, number = full.imagelength, full.imagewidth, 0
    while max(rows, columns) > 1:
        rows, columns, number = math.ceil(rows / 2), math.ceil(columns / 2), number + 1
        if (rows, columns) == (overview.imagelength, overview.imagewidth):
            return number
    return 0
