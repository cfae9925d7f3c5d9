"""The land cover beneath a chip."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine
from rasterio.windows import Window

from fusargpt.errors import InputError
from fusargpt.geo.geometry import Geometry
from fusargpt.triplets.cover import LandCover


def write_cover(path: Path, values: np.ndarray, transform: Affine, crs: str, nodata: int | None = None) -> str:
    height, width = values.shape
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=width,
        height=height,
        count=1,
        dtype=values.dtype,
        crs=crs,
        transform=transform,
        nodata=nodata,
    ) as file:
        file.write(values, 1)
    return str(path)


def test_land_cover_lies_beneath_the_chip_in_another_projection(tmp_path: Path) -> None:
    """A raster in degrees, north-up, beneath a rotated image in metres: each pixel has the class at its place."""
    image = Geometry.from_affine(
        Affine.translation(400_000, 3_700_000) @ Affine.rotation(30) @ Affine.scale(5, -5), "EPSG:32611", 300, 200
    )
    west, south, east, north = image.bounds()
    middle = (west + east) / 2
    step = (east - west) / 200
    longitudes = west + (np.arange(200) + 0.5) * step
    values = np.tile(np.where(longitudes < middle, 0, 6).astype(np.uint8), (200, 1))
    path = write_cover(tmp_path / "c.tif", values, Affine(step, 0, west, 0, -(north - south) / 200, north), "EPSG:4326")
    window = Window.from_slices((20, 160), (30, 270))
    with LandCover(path) as cover:
        found = cover.beneath(image, window, (70, 120))
    y, x = np.mgrid[0:70, 0:120]
    pixels = np.stack([30 + (x.ravel() + 0.5) * 2, 20 + (y.ravel() + 0.5) * 2], -1)
    expected = np.where(image.to_lonlat(pixels)[:, 0] < middle, 0, 6).reshape(70, 120)
    assert found.dtype == np.int8 and (found != expected).mean() < 0.01


def test_land_cover_that_is_not_known(tmp_path: Path) -> None:
    transform = Affine(10, 0, 400_000, 0, -10, 3_700_000)
    values = np.full((50, 50), 4, np.uint8)
    values[:, 25:] = 255
    path = write_cover(tmp_path / "c.tif", values, transform, "EPSG:32611", nodata=255)
    image = Geometry.from_affine(transform, "EPSG:32611", 60, 50)
    with LandCover(path) as cover:
        found = cover.beneath(image, Window.from_slices((0, 50), (0, 60)), (50, 60))
    assert (found[:, :25] == 4).all() and (found[:, 25:] == -1).all()


def test_land_cover_with_other_classes_or_without_a_place(tmp_path: Path) -> None:
    transform = Affine(10, 0, 400_000, 0, -10, 3_700_000)
    image = Geometry.from_affine(transform, "EPSG:32611", 50, 50)
    path = write_cover(tmp_path / "c.tif", np.full((50, 50), 40, np.uint8), transform, "EPSG:32611")
    with LandCover(path) as cover, pytest.raises(InputError, match=r"c\.tif: found 40; expected Dynamic World classes"):
        cover.beneath(image, Window.from_slices((0, 50), (0, 50)), (50, 50))
    with pytest.raises(InputError, match=r"absent\.tif: no such file"):
        LandCover(str(tmp_path / "absent.tif"))
