"""Which chip an object belongs to, and how annotations are read."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.transform import Affine

from fusargpt.errors import InputError
from fusargpt.geo.geometry import Geometry
from fusargpt.triplets.annotations import labels_of, read_boxes
from fusargpt.triplets.boxes import Box, LabelNames, PlacedBoxes, assign, scale

CHIP = (100.0, 200.0, 200.0, 300.0)
NAMES = LabelNames(("ship", "aircraft"), {"Boat": "ship", "bridge": "ignore"})
# Rotated by 20 degrees, 10 m pixels.
GEOMETRY = Geometry.from_affine(
    Affine.translation(400_000, 3_700_000) @ Affine.rotation(20) @ Affine.scale(10, -10), "EPSG:32611", 400, 300
)

corners = st.tuples(st.floats(0, 400), st.floats(0, 400), st.floats(2, 90), st.floats(2, 90))
boxes = corners.map(lambda box: Box((box[0], box[1], box[0] + box[2], box[1] + box[3]), "ship"))


def one(box: tuple[float, float, float, float], min_visible: float = 0.5) -> str:
    """What becomes of one box in CHIP."""
    objects, cut = assign([Box(box, "ship")], CHIP, min_visible)
    return "kept" if objects else "cut" if cut else "absent"


@pytest.mark.parametrize(
    ("box", "fate"),
    [
        ((110, 210, 130, 230), "kept"),
        ((90, 210, 110, 230), "kept"),  # exactly half
        ((89, 210, 109, 230), "cut"),  # 9 of 20 columns
        ((190, 290, 210, 310), "cut"),  # a quarter, in the corner
        ((80, 210, 100.5, 230), "absent"),  # half a pixel shows
        ((80, 210, 100, 230), "absent"),  # touches
        ((300, 210, 320, 230), "absent"),
        ((50, 150, 250, 350), "cut"),  # larger than the chip on all sides
    ],
)
def test_an_object_belongs_to_a_chip_that_holds_half_of_it(box: Any, fate: str) -> None:
    assert one(box) == fate


def test_the_share_can_be_chosen() -> None:
    box = (90, 210, 110, 230)
    assert (one(box, 0.51), one(box, 0.5), one((85, 210, 105, 230), 0.2)) == ("cut", "kept", "kept")


def test_kept_objects_are_clipped_and_counted_from_the_chips_corner() -> None:
    (kept,), cut = assign([Box((95, 250, 120, 310), "ship", "tanker")], CHIP)
    assert kept == Box((0, 50, 20, 100), "ship", "tanker") and cut == ()


@settings(max_examples=60, deadline=None)
@given(st.lists(boxes, max_size=6), st.floats(0.05, 1))
def test_what_a_chip_gets_lies_inside_it_and_is_large_enough(found: list[Box], min_visible: float) -> None:
    objects, cut = assign(found, CHIP, min_visible)
    for box in objects:
        x1, y1, x2, y2 = box.edges
        assert 0 <= x1 < x2 <= 100 and 0 <= y1 < y2 <= 100
    assert len(objects) <= len(found) and set(cut) <= {"ship"}
    # What is wholly inside is there as it was.
    inside = [box for box in found if box.edges[0] >= 100 and box.edges[1] >= 200 and max(box.edges[2:]) <= 200]
    for box in inside:
        x1, y1, x2, y2 = box.edges
        assert Box((x1 - 100, y1 - 200, x2 - 100, y2 - 200), "ship") in objects


@settings(max_examples=60, deadline=None)
@given(st.lists(boxes, max_size=12), st.tuples(st.integers(0, 400), st.integers(0, 400)), st.integers(1, 120))
def test_boxes_that_are_found_by_place_are_all_that_a_chip_shows(
    found: list[Box], corner: tuple[int, int], side: int
) -> None:
    chip = (*corner, corner[0] + side, corner[1] + side)
    assert assign(PlacedBoxes(found).near(chip), chip) == assign(found, chip)


@settings(max_examples=60, deadline=None)
@given(boxes, st.integers(20, 120))
def test_chips_that_tile_an_image_hold_each_object_at_most_once(box: Box, side: int) -> None:
    chips = [(x, y, x + side, y + side) for x in range(0, 500, side) for y in range(0, 500, side)]
    # With more than half needed no two disjoint chips can both have it; and a chip either has it or knows it is cut.
    owners = [assign([box], chip, 0.501) for chip in chips]
    assert sum(len(objects) for objects, _ in owners) <= 1
    assert all(not (objects and cut) for objects, cut in owners)
    if sum(len(objects) for objects, _ in owners) == 0:
        assert any(cut for _, cut in owners)


@settings(max_examples=60, deadline=None)
@given(corners, st.integers(28, 200), st.integers(28, 200))
def test_scaled_boxes_are_whole_pixels_of_the_resized_chip(box: Any, width: int, height: int) -> None:
    x, y, w, h = box
    edges = (min(x, 99), min(y, 99), min(x + w, 100), min(y + h, 100))
    x1, y1, x2, y2 = scale(Box(edges, "ship"), width / 100, height / 100, width, height)
    assert 0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height
    assert abs(x1 - edges[0] * width / 100) <= 1 and abs(y2 - edges[3] * height / 100) <= 1


def read(source: Any, geometry: Geometry | None = None, scene: str = "/data/scene.tif") -> list[Box]:
    return list(read_boxes(source, scene, 400, 300, geometry, NAMES).boxes)


def voc(path: Path, objects: str, width: int = 400) -> str:
    path.write_text(
        f"<annotation><size><width>{width}</width><height>300</height></size>{objects}</annotation>", encoding="utf-8"
    )
    return str(path)


def voc_object(name: str, *edges: object) -> str:
    tags = "".join(f"<{tag}>{edge}</{tag}>" for tag, edge in zip(("xmin", "ymin", "xmax", "ymax"), edges, strict=True))
    return f"<object><name>{name}</name><bndbox>{tags}</bndbox></object>"


def coco(path: Path, **changes: Any) -> str:
    content: dict[str, Any] = {
        "images": [
            {"id": 7, "file_name": "train/scene.tif", "width": 400, "height": 300},
            {"id": 8, "file_name": "other.tif"},
        ],
        "categories": [{"id": 3, "name": "Boat"}, {"id": 4, "name": "bridge"}],
        "annotations": [
            {"image_id": 7, "category_id": 3, "bbox": [10, 20, 30, 40]},
            {"image_id": 8, "category_id": 3, "bbox": [1, 2, 3, 4]},
            {"image_id": 7, "category_id": 4, "bbox": [50, 60, 10, 10]},
        ],
    }
    path.write_text(json.dumps(content | changes))
    return str(path)


def polygons(path: Path, *pixels: list[list[float]], label: str = "ship") -> str:
    """A GeoJSON file of polygons that are given in pixels of GEOMETRY."""
    features = []
    for ring in pixels:
        lonlat = GEOMETRY.to_lonlat(np.array(ring, np.float64)).tolist()
        shape = {"type": "Polygon", "coordinates": [[*lonlat, lonlat[0]]]}
        features.append({"type": "Feature", "geometry": shape, "properties": {"label": label, "name": "x"}})
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return str(path)


def test_voc(tmp_path: Path) -> None:
    source = voc(tmp_path / "a.xml", voc_object("ship", 1, 2, 30, 40.5) + voc_object("bridge", 5, 5, 9, 9))
    assert read(source) == [Box((1, 2, 30, 40.5), "ship")]
    assert read(voc(tmp_path / "b.xml", "")) == []


def test_coco(tmp_path: Path) -> None:
    assert read(coco(tmp_path / "a.json")) == [Box((10, 20, 40, 60), "ship", "Boat")]


def test_polygons_become_boxes_by_the_true_geometry(tmp_path: Path) -> None:
    source = polygons(tmp_path / "a.geojson", [[50, 60], [80, 65], [70, 90]], [[-50, -50], [-40, -50], [-40, -40]])
    found = read_boxes(source, "scene.tif", 400, 300, GEOMETRY, NAMES)
    np.testing.assert_allclose(found.boxes[0].edges, (50, 60, 80, 90), atol=1e-5)
    # One of a file that other scenes share may lie outside; it is counted.
    assert len(found.boxes) == 1 and found.outside == 1


def test_polygons_far_away_are_outside_and_not_looked_at(tmp_path: Path) -> None:
    ring = [[-70.0, 40.0], [-70.0, 40.1], [-69.9, 40.0]]
    shape = {"type": "MultiPolygon", "coordinates": [[ring], [ring]]}
    feature = {"type": "Feature", "geometry": shape, "properties": {"label": "ship"}}
    path = tmp_path / "a.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    assert read_boxes(str(path), "scene.tif", 400, 300, GEOMETRY, NAMES).outside == 1


def test_entries_of_the_manifest() -> None:
    lonlat = GEOMETRY.to_lonlat(np.array([[10.0, 10], [20, 10], [20, 20]])).tolist()
    found = read(
        [
            {"bbox_2d": [1, 2, 3, 4], "label": "aircraft", "fine_label": "Boeing 737"},
            {"polygon": lonlat, "label": "Boat"},
        ],
        GEOMETRY,
    )
    assert found[0] == Box((1, 2, 3, 4), "aircraft", "Boeing 737")
    assert (found[1].label, found[1].fine_label) == ("ship", "Boat")


def test_labels_are_known_before_anything_is_cut(tmp_path: Path) -> None:
    assert labels_of(coco(tmp_path / "a.json"), "scene.tif", 400, 300, NAMES) == {"ship"}


def inline(**entry: Any) -> list[dict[str, Any]]:
    return [{"bbox_2d": [1, 2, 3, 4], "label": "ship"}, entry]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            inline(bbox_2d=[500, 20, 510, 30], label="ship"),
            r"box \[500, 20, 510, 30\] lies outside the image of 400 x 300",
        ),
        (inline(bbox_2d=[30, 20, 10, 30], label="ship"), r"box \[30, 20, 10, 30\] has no area"),
        (inline(bbox_2d=[1, 2, 3], label="ship"), r"bbox_2d: found \[1, 2, 3\]"),
        (inline(bbox_2d=[1, 2, 3, "x"], label="ship"), "found 'x'; expected a number"),
        (inline(bbox_2d=[1, 2, 3, True], label="ship"), "found True; expected a number"),
        (inline(bbox_2d=[1, 2, 3, 1e300], label="ship"), "expected a number"),
        (inline(bbox_2d=[1, 2, 3, 4]), "label: found None"),
        (inline(bbox_2d=[1, 2, 3, 4], label="tower"), "label 'tower' is not known; say what it is with --label tower="),
        (inline(bbox_2d=[1, 2, 3, 4], label="ship", score=1), "unknown key 'score'"),
        (inline(label="ship"), "expected either bbox_2d or polygon"),
        (inline(polygon=[[1, 2], [3, 4], [5, 6]], label="ship"), "the scene has no georeference"),
        (inline(polygon=[[1, 95], [3, 4], [5, 6]], label="ship"), "a corner that is not on Earth"),
        (inline(polygon=[[1, 2]], label="ship"), "three and more"),
        ([{"bbox_2d": [1, 2, 3, 4], "label": "ship"}, 3], "found 3; expected an object"),
    ],
)
def test_what_is_wrong_is_named_with_its_number(source: Any, message: str) -> None:
    with pytest.raises(InputError, match=f"boxes, object 2: .*{message}") as caught:
        read(source)
    assert len(str(caught.value).splitlines()) == 1


def test_an_inline_polygon_outside_is_an_error() -> None:
    far = [[10.0, 50.0], [10.1, 50.0], [10.1, 50.1]]
    with pytest.raises(InputError, match="object 1: polygon about 10, 50: far outside the image"):
        read([{"polygon": far, "label": "ship"}], GEOMETRY)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.xml", "<annotation><size>", "not XML"),
        ("a.xml", "<boxes/>", "the root is <boxes>; VOC has <annotation>"),
        (
            "a.xml",
            f"<annotation>{voc_object('ship', 1, 2, '', 4)}</annotation>",
            "object 1: found ''",
        ),
        ("a.xml", "<annotation><object><name>ship</name></object></annotation>", "object 1: found none for its place"),
        ("a.json", "{", "not JSON"),
        ("a.json", "[]", "neither COCO .* nor a GeoJSON"),
        ("a.json", '{"images": [], "categories": [], "annotations": []}', "0 images are called 'scene.tif'"),
        ("a.json", '{"images": [{"id": 1}], "categories": []}', "not COCO as it should be"),
        ("a.geojson", '{"type": "FeatureCollection", "features": [{"type": "Feature"}]}', "object 1: expected either"),
        ("a.geojson", '{"type": "FeatureCollection", "crs": {"name": "EPSG:32611"}, "features": []}', "crs .*32611"),
        ("a.csv", "", "boxes come from a VOC .xml, a COCO .json, a .geojson, or a YOLO or DOTA .txt file"),
    ],
)
def test_files_that_are_not_as_they_should_be(name: str, text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=f"{name}.*{message}"):
        read(str(tmp_path / name), GEOMETRY)
    with pytest.raises(InputError, match="No such file"):
        read(str(tmp_path / f"absent{Path(name).suffix}") if name != "a.csv" else str(tmp_path / "absent.xml"))


def test_annotations_of_an_image_of_another_size(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="says that the image has 800 x 300 pixels; the scene has 400 x 300"):
        read(voc(tmp_path / "a.xml", "", width=800))


def test_a_label_is_mapped_to_a_class_of_ours() -> None:
    with pytest.raises(InputError, match="label Boat=vessel: expected one of ship, aircraft, ignore"):
        LabelNames(("ship", "aircraft"), {"Boat": "vessel"})


json_values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["bbox_2d", "polygon", "label", "fine_label", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=50, deadline=None)
@given(st.lists(json_values, max_size=3))
def test_garbage_is_refused_in_one_line_or_read(entries: list[Any]) -> None:
    try:
        found = read(entries, GEOMETRY)
    except InputError as error:
        assert str(error).startswith("boxes, object ") and len(str(error).splitlines()) == 1
    else:
        assert len(found) <= len(entries)
