"""Simulated worlds for tests, and their files read with rasterio alone."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.transform import rowcol
from rasterio.warp import transform

from fusargpt.geo.embeddings import NODATA
from fusargpt.simulator.world import write_world
from fusargpt.simulator.world_plan import Place, plan_places


@dataclass(frozen=True)
class World:
    folder: Path
    places: tuple[Place, ...]
    rows: list[dict[str, Any]]

    def scene(self, place: Place) -> Path:
        return self.folder / "scenes" / f"{place.name}.tif"

    def tiles(self, place: Place, year: int) -> list[Path]:
        return sorted((self.folder / "aef" / str(year)).glob(f"*/{place.name}-*.tiff"))


def make_world(folder: Path, *, places: int, years: Sequence[int], seed: int, sides: Sequence[int]) -> World:
    manifest = write_world(folder, places=places, years=years, seed=seed, sides=sides)
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    return World(folder, plan_places(places, years, seed, sides), rows)


def sample(path: Path, lonlat: np.ndarray) -> np.ndarray:
    """Values [N, bands] of a raster's pixels at places, by rasterio alone; nodata outside."""
    with rasterio.open(path) as raster:
        x, y = transform("EPSG:4326", raster.crs, lonlat[:, 0], lonlat[:, 1])[:2]
        rows, columns = (np.asarray(pixels) for pixels in rowcol(raster.transform, x, y))
        values = np.moveaxis(raster.read(), 0, -1)
        found = np.full((len(lonlat), raster.count), raster.nodata, values.dtype)
        inside = (rows >= 0) & (rows < raster.height) & (columns >= 0) & (columns < raster.width)
        found[inside] = values[rows[inside], columns[inside]]
        return found


def vector_codes(world: World, place: Place, year: int, lonlat: np.ndarray) -> np.ndarray:
    """Codes [N, 64] at places from whichever tile has them."""
    codes = np.full((len(lonlat), 64), NODATA, np.int8)
    for tile in world.tiles(place, year):
        found = sample(tile, lonlat)
        missing = (codes == NODATA).all(1)
        codes[missing] = found[missing]
    return codes
