"""Lengths, areas and headings of boxes on the ground, at places where they are known."""

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st

from fusargpt.geo.geometry import Geometry
from fusargpt.geo.measures import measures

EQUATOR_M = 6378137 * np.pi / 180
"""Of a degree of longitude on the equator."""


def of(geometry: Geometry, *box: float):
    return measures(geometry.to_lonlat, [box])[0]


def test_on_the_equator_a_degree_is_known():
    degrees = Geometry.from_affine(Affine(1e-4, 0, 10, 0, -1e-4, 0.005), "EPSG:4326", 100, 100)
    found = of(degrees, 10, 45, 50, 55)
    # A degree of latitude there is a (1 - e^2) of one of longitude.
    north = EQUATOR_M * (1 - 0.0066943799901413165)
    assert found.length_m == pytest.approx(40e-4 * EQUATOR_M, rel=1e-7)
    assert found.width_m == pytest.approx(10e-4 * north, rel=1e-7)
    assert found.area_m2 == pytest.approx(400e-8 * EQUATOR_M * north, rel=1e-6)
    assert found.heading_deg == pytest.approx(90, abs=1e-6)
    assert found.heading_within_deg == pytest.approx(np.degrees(np.arctan(found.width_m / found.length_m)))
    upright = of(degrees, 45, 10, 55, 50)
    assert upright.as_json()["heading_deg"] == 0


def test_metres_are_those_of_the_ground_and_not_of_the_grid():
    """UTM shrinks by 0.9996 on its meridian; Web Mercator stretches by one over the cosine of latitude, and more."""
    utm = Geometry.from_affine(Affine(10, 0, 500_000 - 500, 0, -10, 3_700_000), "EPSG:32611", 100, 100)
    assert of(utm, 30, 48, 70, 52).length_m == pytest.approx(400 / 0.9996, rel=1e-6)
    web = Geometry.from_affine(Affine(10, 0, 0, 0, -10, 8_399_737.89), "EPSG:3857", 100, 100)  # 60 degrees north
    assert of(web, 30, 48, 70, 52).length_m == pytest.approx(400 * 0.5, rel=5e-3)


@pytest.mark.parametrize("turn", [0, 20, 75, 110, 160])
def test_the_heading_is_that_of_the_longer_side_on_earth(turn: int):
    """Rows of the image run `turn` degrees clockwise from east."""
    cosine, sine = 10 * np.cos(np.radians(turn)), 10 * np.sin(np.radians(turn))
    place = Affine(cosine, -sine, 500_000, -sine, -cosine, 3_700_000)
    geometry = Geometry.from_affine(place, "EPSG:32611", 100, 100)
    assert of(geometry, 0, 0, 40, 10).heading_deg == pytest.approx((90 + turn) % 180, abs=0.01)
    upright = of(geometry, 0, 0, 10, 40).heading_deg
    assert upright is not None and (upright - turn + 90) % 180 - 90 == pytest.approx(0, abs=0.01)


def test_no_heading_is_made_up_for_what_is_not_elongated():
    utm = Geometry.from_affine(Affine(10, 0, 500_000, 0, -10, 3_700_000), "EPSG:32611", 100, 100)
    for box in ((0, 0, 10, 10), (0, 0, 19, 10), (0, 0, 10, 19)):
        assert of(utm, *box).heading_deg is None and of(utm, *box).heading_within_deg is None
    told = of(utm, 0, 0, 20.1, 10).as_json()
    assert told["heading_deg"] is not None and told["heading_within_deg"] == pytest.approx(26.5, abs=0.1)
    assert measures(utm.to_lonlat, []) == []


@given(length=st.floats(20, 400), share=st.floats(0.05, 1), angle=st.floats(0, 180, exclude_max=True))
def test_a_target_that_fills_its_box_lies_within_what_is_told(length: float, share: float, angle: float):
    """A rectangle that is turned: where its box has a heading, that of the rectangle is within the told angle of it."""
    width = length * share
    cosine, sine = abs(np.cos(np.radians(angle))), abs(np.sin(np.radians(angle)))
    across, down = length * sine + width * cosine, length * cosine + width * sine
    metres = Geometry.from_affine(Affine(1, 0, 500_000, 0, -1, 3_700_000), "EPSG:32611", 1000, 1000)
    found = of(metres, 500 - across / 2, 500 - down / 2, 500 + across / 2, 500 + down / 2)
    if found.heading_deg is not None and found.heading_within_deg is not None:
        apart = abs((angle - found.heading_deg + 90) % 180 - 90)
        assert apart <= found.heading_within_deg + 0.01
