"""Boxes about a pole and along it, as polygons on Earth."""

import numpy as np
import pytest
from affine import Affine
from shapely.geometry import Point, shape

from fusargpt.geo.geojson import box_polygon
from fusargpt.geo.geometry import Geometry

SIDE, METRES = 64, 1000.0


def polar(crs: str) -> Geometry:
    """A stereographic image whose middle pixel corner is the pole."""
    origin = -SIDE / 2 * METRES
    return Geometry.from_affine(Affine(METRES, 0, origin, 0, -METRES, -origin), crs, SIDE, SIDE)


# The middle of a side on the pole, a corner on it, its side through it off the middle, and the pole inside.
BOXES = {
    "left": (32, 20, 50, 44),
    "right": (10, 20, 32, 44),
    "top": (20, 32, 44, 60),
    "bottom": (20, 2, 44, 32),
    "corner": (32, 32, 50, 50),
    "off the middle": (32, 25, 50, 47.3),
    "inside": (20, 20, 44, 40),
}


@pytest.mark.parametrize("crs", ["EPSG:3413", "EPSG:3031"])
@pytest.mark.parametrize("name", BOXES)
@pytest.mark.parametrize("points_per_edge", [1, 8])
def test_a_box_about_a_pole_or_along_it_holds_what_is_in_it(crs: str, name: str, points_per_edge: int) -> None:
    geometry, box = polar(crs), BOXES[name]
    if points_per_edge == 1 and name == "inside":
        pytest.skip("corners alone are too few to go around")
    polygon = shape(box_polygon(geometry.to_lonlat, box, points_per_edge))
    assert polygon.is_valid
    left, top, right, bottom = box
    rng = np.random.default_rng(0)
    pixels = rng.uniform(0, SIDE, (400, 2))
    # Straight in the image is bent on Earth: by less than this between the points of an edge.
    margin = 6.0 if points_per_edge == 1 else 1.0
    x, y = pixels.T
    inside = (x > left) & (x < right) & (y > top) & (y < bottom)
    # The edge through the pole follows meridians, which are straight.
    from_edge = np.min([abs(x - left), abs(x - right), abs(y - top), abs(y - bottom)], axis=0)
    for point, is_inside, distance in zip(geometry.to_lonlat(pixels), inside, from_edge, strict=True):
        if distance > margin:
            assert polygon.contains(Point(point)) == is_inside, (point, is_inside)
