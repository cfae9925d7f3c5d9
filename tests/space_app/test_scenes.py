from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from PIL import Image

from fusargpt.errors import InputError
from fusargpt.geo.image import read_image
from fusargpt.geo.reading import Reading
from fusargpt.inference.predict import FusarGpt
from space_app.scenes import read_scene


def test_a_geotiff_brings_its_place_day_and_bands(predictor: FusarGpt, image: str):
    scene = read_scene(predictor, image)
    assert scene.georeferenced and scene.geometry is not None
    west, south, east, north = scene.geometry.bounds()
    assert (west, south) == pytest.approx((8.05, 53.56), abs=0.01) and west < east and south < north
    assert (scene.acquired, scene.bands, scene.sensor) == (date(2024, 6, 15), ("VV",), "simulated")
    assert scene.picture.tobytes() == read_image(image).tobytes()
    assert scene.seen.size == predictor.seen_size(scene.picture)


def test_pixels_of_the_seen_image_lie_where_those_of_the_file_do(predictor: FusarGpt, image: str):
    scene = read_scene(predictor, image)
    width, height = scene.seen.size
    assert scene.geometry is not None and scene.picture.size != scene.seen.size
    corners = scene.lonlat(np.array([[0.0, 0.0], [width, height]]))
    np.testing.assert_allclose(corners, scene.geometry.to_lonlat(np.array([[0.0, 0.0], [168.0, 168.0]])))


@pytest.fixture
def png(tmp_path: Path) -> str:
    Image.fromarray(np.arange(64 * 32, dtype=np.uint8).reshape(32, 64)).save(tmp_path / "chip.png")
    return str(tmp_path / "chip.png")


def test_a_typed_place_stands_in_where_the_file_says_none(predictor: FusarGpt, png: str):
    scene = read_scene(predictor, png, place="8.0, 53.0, 8.2, 53.1")
    assert scene.geometry is not None and not scene.georeferenced
    np.testing.assert_allclose(scene.geometry.bounds(), (8.0, 53.0, 8.2, 53.1))
    assert read_scene(predictor, png).geometry is None


def test_the_file_s_own_place_wins(predictor: FusarGpt, image: str):
    typed, own = read_scene(predictor, image, place="0, 0, 1, 1"), read_scene(predictor, image)
    assert typed.geometry is not None and own.geometry is not None
    assert typed.geometry.bounds() == own.geometry.bounds()


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("somewhere", "Place: found 'somewhere'; expected west, south, east, north"),
        ("1, 2, 3", "Place: found 3 numbers"),
        ("8, 53, 7, 54", "west below east"),
        ("8, 53, 9, nan", "Place: found 4 numbers"),
        ("8, 53, 9, 91", "Place: found 8, 53, 9, 91"),
    ],
)
def test_a_place_that_is_none_is_refused(predictor: FusarGpt, png: str, place: str, message: str):
    with pytest.raises(InputError, match=message):
        read_scene(predictor, png, place=place)


def test_a_georeference_that_is_wrong_leaves_the_image_usable_and_says_so(predictor: FusarGpt, tmp_path: Path):
    path = tmp_path / "lost.tif"
    profile: dict[str, Any] = {
        "width": 40,
        "height": 40,
        "count": 1,
        "dtype": "uint8",
        "transform": Affine(10, 0, 5e5, 0, -10, 6e6),
    }
    with rasterio.open(path, "w", driver="GTiff", **profile) as dataset:
        dataset.write(np.full((1, 40, 40), 7, np.uint8))
    scene = read_scene(predictor, str(path))
    assert scene.geometry is None
    assert scene.problem.startswith("lost.tif: a geotransform without a CRS")
    assert "georeference not used" in scene.read_as
    told = read_scene(predictor, str(path), Reading(crs="EPSG:32632"))
    assert told.geometry is not None and told.georeferenced and "EPSG:32632 (told)" in told.read_as
    assert read_scene(predictor, str(path), place="8, 53, 9, 54").geometry is not None
