"""YOLO and DOTA text, and rotated boxes of VOC: hulls, and the polygons kept."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusargpt.errors import InputError
from fusargpt.triplets.annotations import SceneBoxes, read_boxes
from fusargpt.triplets.boxes import LabelNames, assign

WIDTH, HEIGHT = 400, 300


def read(path: Path, **mapping: str) -> SceneBoxes:
    return read_boxes(str(path), "scene.tif", WIDTH, HEIGHT, None, LabelNames(("ship", "aircraft"), mapping))


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_yolo_boxes_are_shares_of_the_image(tmp_path: Path):
    path = written(tmp_path / "scene.txt", "0 0.5 0.5 0.25 0.1\n1 0.1 0.2 0.05 0.2\n")
    found = read(path, **{"0": "ship", "1": "aircraft"})
    assert [box.label for box in found.boxes] == ["ship", "aircraft"]
    assert found.boxes[0].edges == pytest.approx((150, 135, 250, 165))
    assert found.boxes[1].edges == pytest.approx((30, 30, 50, 90))
    assert found.boxes[0].corners == () and found.boxes[0].fine_label == "0"


@pytest.mark.parametrize("names", ["[aircraft, ship]", "{1: ship, 0: aircraft}"])
def test_data_yaml_names_yolos_numbers(tmp_path: Path, names: str):
    (tmp_path / "labels" / "train").mkdir(parents=True)
    written(tmp_path / "data.yaml", f"train: images/train\nnames: {names}\n")
    path = written(tmp_path / "labels/train/scene.txt", "1 0.5 0.5 0.25 0.1")
    assert read(path).boxes[0].label == "ship"
    with pytest.raises(InputError, match=r"class 2: data\.yaml names 2"):
        read(written(path, "2 0.5 0.5 0.1 0.1"))


@pytest.mark.parametrize("text", ["names: ship", "names: {a: ship}", "names: [1]", "{", "nc: 2"])
def test_a_data_yaml_without_names_is_one_line(tmp_path: Path, text: str):
    written(tmp_path / "data.yaml", text)
    with pytest.raises(InputError, match=r"data\.yaml: (names: found .*; expected the classes|not YAML)") as caught:
        read(written(tmp_path / "scene.txt", "0 0.5 0.5 0.25 0.1"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("folder", [".", ".."])
def test_classes_txt_names_yolos_numbers(tmp_path: Path, folder: str):
    (tmp_path / "labels").mkdir()
    written(tmp_path / "labels" / folder / "classes.txt", "aircraft\nship\n")
    assert read(written(tmp_path / "labels/scene.txt", "1 0.5 0.5 0.25 0.1")).boxes[0].label == "ship"


def test_rotated_boxes_of_yolo_are_their_hulls_with_the_polygon_kept(tmp_path: Path):
    path = written(tmp_path / "scene.txt", "0 0.5 0.25 0.75 0.5 0.5 0.75 0.25 0.5")
    (box,) = read(path, **{"0": "ship"}).boxes
    assert box.edges == (100, 75, 300, 225)
    assert box.corners == ((200, 75), (300, 150), (200, 225), (100, 150))


def test_dota_lines_are_corners_in_pixels(tmp_path: Path):
    lines = (
        "imagesource:GoogleEarth\ngsd:0.5\n10 20 40.5 30 35 60 5 50 ship 0\n100 100 120 100 120 110 100 110 plane 1\n"
    )
    found = read(written(tmp_path / "scene.txt", lines), plane="aircraft").boxes
    assert [box.edges for box in found] == [(5, 20, 40.5, 60), (100, 100, 120, 110)]
    assert found[0].corners == ((10, 20), (40.5, 30), (35, 60), (5, 50)) and found[1].fine_label == "plane"


@pytest.mark.parametrize("content", ["", "\n \n", "imagesource:GoogleEarth\ngsd:null\n"])
def test_a_file_without_lines_says_that_there_are_no_objects(tmp_path: Path, content: str):
    assert read(written(tmp_path / "scene.txt", content)).boxes == ()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("0 0.5 0.5 0.1", "object 1: found '0 0.5 0.5 0.1'; expected a YOLO line"),
        ("0 0.5 0.5 0.1 0.1 0.9", "expected a YOLO line"),
        ("0.5 0.5 0.5 0.1 0.1", "expected a YOLO line"),
        ("0 200 150 40 30", "expected shares of the image"),
        ("0 0.5 0.5 0.1 0.1\n1 2 3 4 5 6 7 8 ship 0", "object 2: .*expected a YOLO line"),
        ("1 2 3 4 5 6 7 8 ship 0\n0 0.5 0.5 0.1 0.1", "object 2: .*expected a DOTA line"),
        ("1 2 3 4 5 6 7 8 ship 7", "difficult: found '7'"),
        ("ships: none", "expected a DOTA line"),
        ("0 0.5 0.5 0 0.1", "no area"),
        ("0 nan 0.5 0.1 0.1", "expected a DOTA line"),
        ("3 0.5 0.5 0.1 0.1", "label '3' is not known"),
    ],
)
def test_what_is_in_neither_form_is_one_line(tmp_path: Path, content: str, said: str):
    with pytest.raises(InputError, match=said) as caught:
        read(written(tmp_path / "scene.txt", content), **{"0": "ship"})
    assert "\n" not in str(caught.value)


def test_a_number_that_classes_txt_does_not_name_is_an_error(tmp_path: Path):
    written(tmp_path / "classes.txt", "ship\n")
    with pytest.raises(InputError, match=r"class 2: classes\.txt names 1"):
        read(written(tmp_path / "scene.txt", "2 0.5 0.5 0.1 0.1"))


def rotated(path: Path, angle: object, beside: str = "", size: tuple[object, object] = (40, 20)) -> Path:
    inside = f"<cx>100</cx><cy>80</cy><w>{size[0]}</w><h>{size[1]}</h><angle>{angle}</angle>"
    head = "<annotation><object><type>robndbox</type><name>ship</name>"
    return written(path, f"{head}<robndbox>{inside}</robndbox>{beside}</object></annotation>")


def test_robndbox_is_its_hull_with_the_polygon_kept(tmp_path: Path):
    (flat,) = read(rotated(tmp_path / "flat.xml", 0)).boxes
    assert flat.edges == (80, 70, 120, 90)
    (upright,) = read(rotated(tmp_path / "upright.xml", math.pi / 2)).boxes
    assert upright.edges == pytest.approx((90, 60, 110, 100))
    # A width of 40 at 45 degrees from x towards y, which points down: half of it is 14.14 right and down.
    (turned,) = read(rotated(tmp_path / "turned.xml", math.pi / 4)).boxes
    reach = 30 * math.sqrt(0.5)
    assert turned.edges == pytest.approx((100 - reach, 80 - reach, 100 + reach, 80 + reach))
    assert turned.corners[1] == pytest.approx((100 + 30 * math.sqrt(0.5), 80 + 10 * math.sqrt(0.5)))


def test_a_bndbox_beside_a_robndbox_is_the_box(tmp_path: Path):
    beside = "<bndbox><xmin>70</xmin><ymin>60</ymin><xmax>130</xmax><ymax>99</ymax></bndbox>"
    (box,) = read(rotated(tmp_path / "both.xml", 0.3, beside)).boxes
    assert box.edges == (70, 60, 130, 99) and len(box.corners) == 4


@pytest.mark.parametrize(
    ("angle", "size", "said"), [(45, (4, 2), "radians"), (0, (0, 2), "above 0"), ("", (4, 2), "number")]
)
def test_a_robndbox_that_is_none_is_one_line(tmp_path: Path, angle: object, size: tuple[int, int], said: str):
    with pytest.raises(InputError, match=said):
        read(rotated(tmp_path / "scene.xml", angle, size=size))


@given(
    st.lists(
        st.tuples(*[st.floats(0.01, 0.99)] * 2, *[st.floats(0.002, 0.5)] * 2).map(lambda box: (0, *box)), max_size=20
    )
)
def test_yolo_lines_survive_the_way_to_pixels_and_back(
    tmp_path_factory: pytest.TempPathFactory, lines: list[tuple[float, ...]]
):
    text = "\n".join(" ".join(map(repr, line)) for line in lines)
    found = read(written(tmp_path_factory.mktemp("yolo") / "scene.txt", text), **{"0": "ship"}).boxes
    for (_, x, y, across, down), box in zip(lines, found, strict=True):
        x1, y1, x2, y2 = np.array(box.edges) / (WIDTH, HEIGHT, WIDTH, HEIGHT)
        assert ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1) == pytest.approx((x, y, across, down), abs=1e-9)


def test_corners_follow_an_object_into_its_chip(tmp_path: Path):
    found = read(written(tmp_path / "scene.txt", "110 120 140 130 135 160 105 150 ship 0"))
    (box,), _ = assign(found.boxes, (100, 100, 200, 200))
    assert box.edges == (5, 20, 40, 60) and box.corners[0] == (10, 20)
