"""Small georeferenced scenes with boxes, land cover and an AlphaEarth field, for the tests of the builder."""

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import Affine

from fusargpt.alphaearth.layout import write_index, write_tile
from fusargpt.geo.embeddings import quantize

CRS = "EPSG:32611"
# Corners (easting, northing) of places that lie far apart, and by their position in train, validation and test.
CORNERS = ((400_000.0, 3_700_000.0), (550_000.0, 3_700_000.0), (350_000.0, 3_700_000.0))
HEIGHT, WIDTH = 200, 300
PIXEL_M = 5.0
YEAR = 2021
CHIP = 112


def decibels(seed: int, height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.float32]:
    """Speckle about -15 dB."""
    return np.random.default_rng(seed).normal(-15, 3, (height, width)).astype(np.float32)


def write_raster(
    path: Path,
    values: np.ndarray,
    corner: tuple[float, float] | None,
    nodata: float | None = None,
    pixel_m: float = PIXEL_M,
    **tags: str,
) -> Path:
    """A north-up GeoTIFF, or one without georeference where `corner` is None."""
    place = {} if corner is None else place_of(corner, pixel_m)
    height, width = values.shape
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(
            path, "w", driver="GTiff", width=width, height=height, count=1, dtype=values.dtype, nodata=nodata, **place
        ) as file:
            file.write(values, 1)
            file.update_tags(**tags)
    return path


def place_of(corner: tuple[float, float], pixel_m: float = PIXEL_M) -> dict[str, Any]:
    """What rasterio is told of a north-up raster with its upper left corner at (easting, northing)."""
    return {"crs": CRS, "transform": Affine(pixel_m, 0, corner[0], 0, -pixel_m, corner[1])}


def write_field(root: Path, corners: tuple[tuple[float, float], ...] = CORNERS, year: int = YEAR) -> Path:
    """An AlphaEarth field with a tile beneath each place; left of the middle one vector, right of it another."""
    left, right = np.eye(64)[[0, 1]]
    for number, (easting, northing) in enumerate(corners):
        vectors = np.broadcast_to(left, (110, 160, 64)).copy()
        vectors[:, 80:] = right
        transform = Affine(10, 0, easting - 50, 0, 10, northing - 1050)
        path = root / str(year) / "11N" / f"tile{number}.tiff"
        write_tile(path, quantize(vectors), crs=CRS, transform=transform, overviews=False)
    write_index(root)
    return root


def write_manifest(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_places(folder: Path, boxes: bool = True, count: int = len(CORNERS)) -> Path:
    """Three scenes with two ships, land cover and an AlphaEarth field in `folder`; returns the manifest's path."""
    folder.mkdir(parents=True, exist_ok=True)
    write_field(folder / "aef")
    rows = []
    for number, corner in enumerate(CORNERS[:count]):
        values = decibels(number)
        values[20:30, 40:60] = values[150:170, 240:250] = 5
        write_raster(folder / f"scene{number}.tif", values, corner, ACQUISITION_DATE=f"{YEAR}-06-0{number + 1}")
        cover = np.full((100, 150), 0, np.uint8)
        cover[:, 75:] = 6
        write_raster(folder / f"cover{number}.tif", cover, corner, pixel_m=10.0)
        row: dict[str, Any] = {"scene": f"scene{number}.tif", "polarization": "VV", "sensor": "Sentinel-1A"}
        row |= {"land_cover": f"cover{number}.tif", "license": "cc-by-4.0"}
        if boxes:
            row["boxes"] = [
                {"bbox_2d": [40, 20, 60, 30], "label": "ship"},
                {"bbox_2d": [240, 150, 250, 170], "label": "ship", "fine_label": "tanker"},
            ]
        rows.append(row)
    return write_manifest(folder / "manifest.jsonl", rows)
