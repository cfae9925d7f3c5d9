"""What real files look like after scaling: the regions are known from the map."""

import numpy as np

from fusar_geo.image import read_image
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
