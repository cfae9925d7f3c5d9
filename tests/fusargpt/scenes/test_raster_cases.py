"""Rasters as people have them, from file to answers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from PIL import Image

from fusargpt.errors import InputError
from fusargpt.scenes import count, describe, detect
from tests.fusargpt.scenes.scenes import BrightBoxes, write_scene
from tests.paths import CASES

GEO = CASES / "geo"
PLAIN: dict[str, Any] = {"no_prior": True}


def test_tiles_of_zeros_are_without_data_and_do_not_fail():
    result = describe(GEO / "grd_zero_margin.tif", predictor=BrightBoxes(), tile=56, **PLAIN)
    tiles: Any = result.provenance["tiles"]
    assert (tiles["asked"], tiles["no data"], tiles["failed"]) == (2, 2, 0)
    by_tile = describe(GEO / "grd_zero_margin.tif", predictor=BrightBoxes(), tile=56, stretch="tile", **PLAIN)
    assert by_tile.provenance["tiles"] == tiles


def test_a_strip_of_zeros_does_not_cost_the_picture(tmp_path: Path):
    path = GEO / "grd_zero_rows.tif"
    result = count(path, predictor=BrightBoxes(), tile=2300, quicklook=tmp_path / "counts.png", **PLAIN)
    assert not result.failures
    picture = np.asarray(Image.open(tmp_path / "counts.png"))
    assert picture[-100:, :, 0].any() and not picture[100:1000, 500:, 0].max() > 100


def test_a_tile_of_one_value_takes_the_limits_of_the_scene(tmp_path: Path):
    path = write_scene(tmp_path / "flat.tif", ships=((0, 0, 96, 96),))
    result = describe(path, predictor=BrightBoxes(), tile=96, stretch="tile", **PLAIN)
    assert not result.failures


def test_a_geotransform_without_a_crs_gives_pixels_and_says_what_to_type(tmp_path: Path):
    path = GEO / "geotransform_no_crs.tif"
    detect(path, predictor=BrightBoxes(), out=tmp_path / "boxes.json", **PLAIN)
    content = json.loads((tmp_path / "boxes.json").read_text())
    assert content["info"]["read_as"]["place"] == "georeference not used"
    assert content["images"][0]["width"] == 112
    with pytest.raises(
        InputError, match=r"geotransform_no_crs\.tif: a geotransform without a CRS; .*--crs.*boxes\.json"
    ):
        detect(path, predictor=BrightBoxes(), out=tmp_path / "boxes.geojson", **PLAIN)
    detect(path, predictor=BrightBoxes(), out=tmp_path / "boxes.geojson", crs="EPSG:32611", **PLAIN)
    content = json.loads((tmp_path / "boxes.geojson").read_text())
    assert "(told)" in content["fusargpt"]["read_as"]["place"]


def test_what_is_told_of_a_scene_is_kept(tmp_path: Path):
    path = GEO / "iq_two_band_int16.tif"
    with pytest.raises(InputError, match=r"--stored\): iq"):
        detect(path, predictor=BrightBoxes(), **PLAIN)
    result = detect(path, predictor=BrightBoxes(), stored="iq", polarization="HH", **PLAIN)
    read_as: Any = result.provenance["read_as"]
    assert read_as["stored"] == "amplitude" and "told" in read_as["stored_why"] and read_as["polarization"] == "HH"
    assert read_as["limits_db"] == pytest.approx([26.632960541008043, 57.92191972205104], abs=1e-3)


def test_absolute_limits_see_power_as_power():
    model = BrightBoxes()
    detect(GEO / "rtc_power.tif", predictor=model, decibels=(-25, 0), tile=112, no_skip=True, **PLAIN)
    with rasterio.open(GEO / "rtc_power.tif") as dataset:
        held = dataset.read(1) > 0
    assert np.median(model.asked[0][0][..., 0][held]) == pytest.approx(68.27555847167969, abs=0.5)


@pytest.mark.parametrize("crs", ["EPSG:3413", "EPSG:3031"])
def test_a_scene_about_a_pole_is_on_the_map(tmp_path: Path, crs: str):
    path = write_scene(tmp_path / "pole.tif", ships=((95, 95, 106, 106),))
    with rasterio.open(path, "r+") as dataset:
        dataset.crs, dataset.transform = rasterio.CRS.from_string(crs), Affine(10, 0, -1000, 0, -10, 1000)
    result = detect(path, predictor=BrightBoxes(), tile=200, overlap=0, **PLAIN)
    features: Any = result.feature_collection()["features"]
    (feature,) = features
    (ring,) = feature["geometry"]["coordinates"]
    longitudes, latitudes = np.array(ring).T
    assert (longitudes.min(), longitudes.max()) == (-180, 180) and np.abs(latitudes).max() == 90
    # Counter-clockwise.
    assert np.sum(longitudes[:-1] * latitudes[1:] - longitudes[1:] * latitudes[:-1]) > 0
    layer = count(path, predictor=BrightBoxes(), tile=200, **PLAIN)
    tiles: Any = layer.feature_collection()["features"]
    assert [tile["properties"]["count"] for tile in tiles] == [1]
