"""Small AlphaEarth fields, written with rasterio alone so that the reader is not tested by the writer beside it."""

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from rasterio.warp import transform as transform_coordinates

from fusargpt.alphaearth.layout import write_index

UTM_13N = "EPSG:32613"
SOUTH_UP = Affine(10, 0, 418080, 0, 10, 4423680)


def random_codes(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    """int8 [rows, columns, 64], all different."""
    return np.random.default_rng(seed).integers(-127, 128, (rows, columns, 64), dtype=np.int8)


def north_up(transform: Affine, rows: int) -> Affine:
    """The transform of the same ground with the rows in reverse order."""
    return Affine(transform.a, 0, transform.c, 0, -transform.e, transform.f + rows * transform.e)


def write_plain_tile(
    path: Path, codes: np.ndarray, crs: str = UTM_13N, transform: Affine = SOUTH_UP, **options: Any
) -> None:
    """A GeoTIFF without overviews, its row 0 being `codes[0]`; `options` are those of GDAL's driver."""
    rows, columns, bands = codes.shape
    path.parent.mkdir(parents=True, exist_ok=True)
    profile: dict[str, Any] = {
        "width": columns,
        "height": rows,
        "count": bands,
        "dtype": "int8",
        "nodata": -128,
    } | options
    with rasterio.open(path, "w", driver="GTiff", crs=crs, transform=transform, **profile) as tile:
        tile.write(np.moveaxis(codes, 2, 0))


def write_field(root: Path, codes: np.ndarray, year: int = 2024, **options: Any) -> Path:
    """A field of one tile in zone 13N; returns the root."""
    write_plain_tile(root / str(year) / "13N" / "tile.tiff", codes, **options)
    write_index(root)
    return root


def lonlat_of(transform: Affine, rows: np.ndarray, columns: np.ndarray, crs: str = UTM_13N) -> np.ndarray:
    """Degrees [N, 2] of continuous pixel coordinates."""
    x = transform.a * columns + transform.b * rows + transform.c
    y = transform.d * columns + transform.e * rows + transform.f
    return np.stack(transform_coordinates(crs, "EPSG:4326", x, y), axis=1)


def metres_of(lonlat: np.ndarray, crs: str = UTM_13N) -> np.ndarray:
    """Coordinates [N, 2] in `crs` of degrees [N, 2]."""
    return np.stack(transform_coordinates("EPSG:4326", crs, *lonlat.T)[:2], axis=1)
