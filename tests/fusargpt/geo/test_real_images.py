"""What real files look like after scaling: the regions are known from the map."""

from datetime import date

import numpy as np
import pytest
from rasterio.windows import Window

from fusargpt.geo.image import read_image
from fusargpt.geo.sar_scene import SarScene
from tests.real_data import REAL_DATA, needs_real_data

pytestmark = needs_real_data


def read_grey(name: str) -> np.ndarray:
    return np.asarray(read_image(REAL_DATA / name))[..., 0]


def test_port_of_los_angeles_has_dark_sea_bright_ships_and_a_black_border():
    grey = read_grey("georef_sar/sentinel1_vv_port_of_la_2021-01-05.tif")
    assert grey.shape == (550, 756)
    assert (grey[:100, 745:] == 0).all()  # outside the swath
    sea, city = grey[400:500, 50:250], grey[40:80, 430:550]
    assert np.median(sea) < 60 < 100 < np.median(city)
    assert grey[375:440, 500:680].max() == 255  # ships at anchor
    assert (grey == 255).mean() < 0.02


def test_camargue_uses_the_whole_range():
    grey = read_grey("georef_sar/S1A__IW___A_20150309T173017_VV_grd_mli_geo_norm_db.tif")
    assert grey.shape == (217, 268)
    assert grey.std() > 30
    assert 0.005 < (grey == 0).mean() < 0.02
    assert 0.002 < (grey == 255).mean() < 0.01


def test_every_ship_chip_is_read_as_it_is():
    paths = sorted((REAL_DATA / "ssdd" / "images").glob("*.jpg"))[:20]
    assert len(paths) == 20
    for path in paths:
        image = read_image(path)
        assert image.mode == "RGB"
        assert np.asarray(image).max() > 150


def test_scenes_know_when_where_and_how_they_were_taken():
    with SarScene.open(REAL_DATA / "georef_sar/sentinel1_vv_port_of_la_2021-01-05.tif") as scene:
        assert (scene.acquired, scene.sensor, scene.polarizations) == (date(2021, 1, 5), "Sentinel-1", ("VV",))
        assert scene.geometry is not None
        assert scene.geometry.crs == "EPSG:32611"
        assert scene.geometry.resolution_m() == pytest.approx(30, rel=0.001)
    with SarScene.open(REAL_DATA / "georef_sar/S1A__IW___A_20150309T173017_VV_grd_mli_geo_norm_db.tif") as scene:
        assert (scene.acquired, scene.sensor, scene.polarizations) == (date(2015, 3, 9), "Sentinel-1A", ("VV",))
        assert scene.geometry is not None
        assert scene.geometry.bounds() == pytest.approx((4.4868, 43.5744, 4.5541, 43.6143), abs=1e-4)


@pytest.mark.parametrize(
    "name", ["sentinel1_vv_port_of_la_2021-01-05.tif", "S1A__IW___A_20150309T173017_VV_grd_mli_geo_norm_db.tif"]
)
def test_a_scene_and_the_single_image_look_the_same(name: str):
    grey = read_grey(f"georef_sar/{name}")
    with SarScene.open(REAL_DATA / "georef_sar" / name) as scene:
        whole = Window.from_slices((0, scene.height), (0, scene.width))
        np.testing.assert_array_equal(scene.chip(whole, stretch=scene.stretch()), grey)


def test_the_lighthouse_at_angels_gate_shines_where_the_map_has_it():
    with SarScene.open(REAL_DATA / "georef_sar/sentinel1_vv_port_of_la_2021-01-05.tif") as scene:
        assert scene.geometry is not None
        x, y = scene.geometry.to_pixel(np.array([[-118.2515, 33.7086]]))[0]
        around = Window.from_slices((int(y) - 6, int(y) + 7), (int(x) - 6, int(x) + 7))
        chip = scene.chip(around, stretch=scene.stretch())
    row, column = np.unravel_index(chip.argmax(), chip.shape)
    assert abs(row - 6) <= 1 and abs(column - 6) <= 1
    assert chip.max() > 2 * np.median(chip)
