import json
from typing import Any

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fusargpt.errors import InputError
from fusargpt.geo.geometry import Geometry
from fusargpt.tasks.answers import LabelledBox
from space_app.boxes_geojson import feature_collection
from space_app.downloads import side_by_side, write_downloads
from space_app.limits import Scratch
from space_app.one_question import GivenAnswer
from space_app.scenes import UploadedScene

SIDE = 90


def scene_at(longitude: float, latitude: float, turn: float = 0.0) -> UploadedScene:
    """90 x 90 pixels of about 100 m, seen at half the size, turned by some degrees."""
    transform = Affine.translation(longitude, latitude) * Affine.rotation(turn) * Affine.scale(0.001, -0.001)
    geometry = Geometry.from_affine(transform, "EPSG:4326", SIDE, SIDE)
    picture = Image.new("RGB", (SIDE, SIDE))
    seen = picture.resize((SIDE // 2, SIDE // 2))
    return UploadedScene("chip.tif", picture, seen, ("VV",), "", None, geometry, True, "")


def detected(*boxes: list[float]) -> GivenAnswer:
    return GivenAnswer(
        "?", "detect", "ship", 64, "whole", "text", boxes=tuple(LabelledBox(box, "ship") for box in boxes)
    )


def area(ring: Any) -> float:
    x, y = np.array(ring[:-1]).T
    return float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y) / 2)


def test_a_box_is_a_polygon_where_it_lies_on_earth():
    collection = feature_collection(scene_at(10.0, 50.0), [detected([9, 0, 18, 9])])
    outline, box = collection["features"]
    assert outline["properties"] == {"kind": "image", "name": "chip.tif"}
    (ring,) = box["geometry"]["coordinates"]
    points = np.array(ring)
    # A seen pixel is two of the file's: 9 to 18 of 45 are 18 to 36 thousandths of a degree.
    np.testing.assert_allclose((points.min(0), points.max(0)), ((10.018, 49.982), (10.036, 50.0)), atol=1e-6)
    assert box["properties"]["label"] == "ship" and box["properties"]["bbox_2d"] == [9, 0, 18, 9]


def test_cells_are_polygons_and_other_answers_stand_with_the_outline():
    cells = GivenAnswer("?", "localize", "ship", None, "whole", "1, 9", cells=(1, 9))
    text = GivenAnswer("?", "describe", "ship", None, "whole", "A harbour.")
    features = feature_collection(scene_at(10.0, 50.0), [cells, text])["features"]
    assert [feature["properties"]["kind"] for feature in features] == ["image", "cell", "cell", "answer"]
    west, north = np.array(features[1]["geometry"]["coordinates"][0]).T
    assert (round(west.max() - west.min(), 4), round(north.max(), 4)) == (0.03, 50.0)
    assert features[3]["properties"]["answer"] == "A harbour."


def test_boxes_without_area_in_the_image_are_left_out():
    collection = feature_collection(scene_at(10.0, 50.0), [detected([50, 0, 60, 9], [5, 5, 5, 9])])
    assert len(collection["features"]) == 1


def test_an_image_over_the_antimeridian_is_cut_there():
    outline = feature_collection(scene_at(179.97, -17.0), [])["features"][0]["geometry"]
    assert outline["type"] == "MultiPolygon"
    west, east = (np.array(polygon[0]) for polygon in outline["coordinates"])
    assert (west[:, 0].min(), west[:, 0].max()) == (179.97, 180)
    np.testing.assert_allclose((east[:, 0].min(), east[:, 0].max()), (-180, -179.94))


@settings(max_examples=40, deadline=None)
@given(
    st.floats(-180, 180),
    st.floats(-80, 80),
    st.floats(0, 360),
    st.tuples(st.floats(0, 20), st.floats(0, 20), st.floats(25, 45), st.floats(25, 45)),
)
def test_rings_are_closed_run_counter_clockwise_and_lie_on_earth(
    longitude: float, latitude: float, turn: float, box: tuple[float, float, float, float]
):
    collection = feature_collection(scene_at(longitude, latitude, turn), [detected(list(box))])
    shape = collection["features"][1]["geometry"]
    polygons = shape["coordinates"] if shape["type"] == "MultiPolygon" else [shape["coordinates"]]
    for (ring,) in polygons:
        assert ring[0] == ring[-1] and len(ring) >= 4
        assert np.abs(ring).max(0)[0] <= 180 and np.abs(ring).max(0)[1] <= 90
    # As large as the box: nothing is lost at a border, and nothing runs the wrong way.
    expected = (box[2] - box[0]) * (box[3] - box[1]) * 0.002**2
    assert sum(area(ring) for (ring,) in polygons) == pytest.approx(expected, rel=1e-2)


def test_without_a_place_there_is_no_geojson():
    scene = scene_at(10, 50)
    homeless = UploadedScene(scene.name, scene.picture, scene.seen, ("",), "", None, None, False, "")
    with pytest.raises(InputError, match=r"chip\.tif: no place is known"):
        feature_collection(homeless, [])
    files = write_downloads(Scratch(), homeless, "tiny", [detected()], [homeless.seen])
    assert files.geojson is None


def test_downloads_are_whole_files():
    scratch = Scratch()
    scene = scene_at(10, 50)
    answers = [detected([9, 0, 18, 9]), detected()]
    files = write_downloads(scratch, scene, "tiny", answers, [scene.seen, scene.seen])
    assert [Image.open(path).size for path in files.pictures] == [scene.seen.size] * 2
    with open(files.json, encoding="utf-8") as file:
        report = json.load(file)
    assert report["seen_size"] == [45, 45] and report["model"] == "tiny" and len(report["answers"]) == 2
    assert files.geojson is not None
    with open(files.geojson, encoding="utf-8") as file:
        assert json.load(file)["type"] == "FeatureCollection"


def test_a_comparison_is_one_picture():
    first, second = Image.new("RGB", (40, 30), "red"), Image.new("RGB", (40, 30), "blue")
    joined = side_by_side([first, second])
    assert joined.getpixel((0, 0)) == (255, 0, 0) and joined.getpixel((joined.width - 1, 0)) == (0, 0, 255)
    assert side_by_side([first]).tobytes() == first.tobytes()
