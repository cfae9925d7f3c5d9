"""Writes AlphaEarth fields as they are published: tiles by year and UTM zone, and the index of the tiles.

A tile is a tiled GeoTIFF of 64 int8 bands A00 to A63, each in planes of its own, compressed by Zstandard, nodata -128,
**south-up** (the first row is the southernmost, the y step positive), with overviews of 1/2, 1/4, ... down to one
pixel. An overview pixel is the mean of the full-resolution vectors under it, normalised to unit length again.
"""

import math
import re
from collections.abc import Iterable
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from rasterio.io import MemoryFile
from rasterio.transform import Affine
from rasterio.warp import transform_bounds

from fusargpt.alphaearth.index import INDEX_NAME
from fusargpt.errors import InputError
from fusargpt.files import written_whole
from fusargpt.geo.embeddings import EMBEDDING_SIZE, NODATA, dequantize, quantize
from fusargpt.geo.geometry import crs_name

BLOCK_SIZE = 1024
"""Pixels on a side of one block of a published tile."""


def write_tile(
    path: str | Path,
    codes: NDArray[np.int8],
    *,
    crs: str,
    transform: Affine,
    overviews: bool = True,
    block_size: int = BLOCK_SIZE,
) -> None:
    """Write one tile at `<root>/<year>/<zone>/<name>.tiff`; the folders are made.

    Args:
        path: the file to write.
        codes: int8 [rows, columns, 64] as `fusargpt.geo.embeddings.quantize` gives them, -128 in all bands where
            there is no data. Row 0 is where `transform` puts it.
        crs: of a UTM zone, for example "EPSG:32613".
        transform: from pixel edges (column, row) to metres. Published tiles are south-up: `Affine(10, 0, west, 0, 10,
            south)`; a negative y step writes a north-up tile.
        overviews: whether to add the overviews.
        block_size: side of the square blocks, a multiple of 16; smaller tiles have one smaller block.

    Raises:
        InputError: codes of another type or shape, or with -128 in some bands of a pixel only.
    """
    _check(codes)
    side = min(block_size, 16 * math.ceil(max(codes.shape[:2]) / 16))
    levels = [codes]
    if overviews:
        levels += _overviews(codes)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    memory_files = [_memory_tile(level) for level in levels]
    try:
        with MemoryFile(_vrt(memory_files, levels, crs, transform), ext=".vrt") as vrt:
            # A reader never sees half a tile.
            environment = rasterio.Env(GDAL_TIFF_OVR_BLOCKSIZE=_overview_block_size(codes, block_size))
            with environment, written_whole(path) as partial:
                rasterio.shutil.copy(
                    vrt.name,
                    partial,
                    driver="GTiff",
                    copy_src_overviews=True,
                    tiled=True,
                    blockxsize=side,
                    blockysize=side,
                    interleave="band",
                    compress="zstd",
                    # Embeddings hardly compress: higher levels take several times longer to save a few percent.
                    zstd_level=1,
                    bigtiff="if_safer",
                )
    finally:
        for file in memory_files:
            file.close()


def write_index(root: str | Path) -> Path:
    """Write `<root>/aef_index.parquet` for the tiles at `<root>/<year>/<zone>/<name>.tiff`; returns its path.

    Columns as published: path, year, crs, utm_zone, utm_west, utm_south, utm_east, utm_north, wgs84_west, wgs84_south,
    wgs84_east, wgs84_north. Paths are relative to the root; published ones are absolute, and the reader takes both.

    Raises:
        InputError: no tile below the root, or a tile without a projection.
    """
    root = Path(root)
    rows = [_index_row(root, path) for path in sorted(_tiles(root))]
    if not rows:
        raise InputError(f"{root}: no tile; expected <year>/<zone>/<name>.tiff, for example 2024/13N/tile.tiff")
    index = root / INDEX_NAME
    with written_whole(index) as partial:
        pq.write_table(pa.Table.from_pylist(rows), partial)
    return index


def _overview_block_size(codes: np.ndarray, block_size: int) -> int:
    """By GDAL's rule a power of two from 64; not larger than the largest overview needs, since blocks are padded."""
    needed = 2 ** math.ceil(math.log2(max(codes.shape[:2])) - 1)
    return max(64, min(needed, 2 ** math.floor(math.log2(block_size))))


def _tiles(root: Path) -> Iterable[Path]:
    for path in root.glob("*/*/*.tiff"):
        year, zone = path.parts[-3:-1]
        if re.fullmatch(r"\d{4}", year) and re.fullmatch(r"\d{1,2}[NS]", zone) and not path.name.startswith("."):
            yield path


def _index_row(root: Path, path: Path) -> dict[str, str | int | float]:
    with rasterio.open(path) as tile:
        if tile.crs is None:
            raise InputError(f"{path}: no coordinate reference system; expected that of a UTM zone")
        crs = crs_name(tile.crs)
        # The rows of south-up tiles begin in the south.
        west, east = sorted((tile.bounds.left, tile.bounds.right))
        south, north = sorted((tile.bounds.bottom, tile.bounds.top))
    bounds = transform_bounds(crs, "EPSG:4326", west, south, east, north)
    row: dict[str, str | int | float] = {
        "path": path.relative_to(root).as_posix(),
        "year": int(path.parts[-3]),
        "crs": crs,
        "utm_zone": path.parts[-2],
    }
    row |= {"utm_west": west, "utm_south": south, "utm_east": east, "utm_north": north}
    return row | dict(zip(("wgs84_west", "wgs84_south", "wgs84_east", "wgs84_north"), bounds, strict=True))


def _check(codes: np.ndarray) -> None:
    if codes.dtype != np.int8 or codes.ndim != 3 or codes.shape[2] != EMBEDDING_SIZE or 0 in codes.shape:
        raise InputError(f"codes: found {codes.dtype} {list(codes.shape)}; expected int8 [rows, columns, 64]")
    empty = codes == NODATA
    if (empty.any(axis=2) != empty.all(axis=2)).any():
        raise InputError(f"codes: {NODATA} in some bands of a pixel; a pixel without data has it in all 64")


def _overviews(codes: NDArray[np.int8]) -> list[NDArray[np.int8]]:
    """Levels of half the size each, the last of one pixel."""
    valid = codes[:, :, 0] != NODATA
    sums = np.zeros(codes.shape, np.float32)
    sums[valid] = dequantize(codes[valid])
    levels = []
    while max(sums.shape[:2]) > 1:
        sums = _sum_of_fours(sums)
        lengths = np.linalg.norm(sums, axis=2, keepdims=True)
        known = lengths[:, :, 0] > 0
        level = np.full(sums.shape, NODATA, np.int8)
        level[known] = quantize(sums[known] / lengths[known])
        levels.append(level)
    return levels


def _sum_of_fours(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """[rows, columns, 64] -> [ceil(rows / 2), ceil(columns / 2), 64]."""
    rows, columns = values.shape[:2]
    values = np.pad(values, ((0, rows % 2), (0, columns % 2), (0, 0)))
    return values[0::2, 0::2] + values[1::2, 0::2] + values[0::2, 1::2] + values[1::2, 1::2]


def _memory_tile(codes: NDArray[np.int8]) -> MemoryFile:
    file = MemoryFile(ext=".tiff")
    rows, columns, bands = codes.shape
    # North-up and without meaning: where the pixels lie is said once, by the VRT.
    place = Affine(1, 0, 0, 0, -1, rows)
    with file.open(
        driver="GTiff", width=columns, height=rows, count=bands, dtype="int8", interleave="band", transform=place
    ) as tile:
        tile.write(np.moveaxis(codes, 2, 0))
    return file


def _vrt(files: list[MemoryFile], levels: list[NDArray[np.int8]], crs: str, transform: Affine) -> bytes:
    """All levels as one virtual raster: GDAL averages overviews itself otherwise, without normalising them."""
    rows, columns, bands = levels[0].shape
    names = [escape(file.name) for file in files]
    geotransform = ", ".join(repr(float(value)) for value in transform.to_gdal())
    lines = [
        f'<VRTDataset rasterXSize="{columns}" rasterYSize="{rows}">',
        f"<SRS>{escape(rasterio.CRS.from_user_input(crs_name(crs)).to_wkt())}</SRS>",
        f"<GeoTransform>{geotransform}</GeoTransform>",
    ]
    for band in range(1, bands + 1):
        lines += [
            f'<VRTRasterBand dataType="Int8" band="{band}">',
            f"<Description>A{band - 1:02d}</Description><NoDataValue>{NODATA}</NoDataValue>",
            f"<SimpleSource><SourceFilename>{names[0]}</SourceFilename><SourceBand>{band}</SourceBand></SimpleSource>",
        ]
        lines += [
            f"<Overview><SourceFilename>{name}</SourceFilename><SourceBand>{band}</SourceBand></Overview>"
            for name in names[1:]
        ]
        lines.append("</VRTRasterBand>")
    lines.append("</VRTDataset>")
    return "\n".join(lines).encode()
