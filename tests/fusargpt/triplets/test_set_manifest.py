"""Sets in the layouts in which they are published, and the manifests that are made of them."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from fusargpt.cli.manifest import FORMATS as NAMED_FORMATS
from fusargpt.errors import InputError
from fusargpt.triplets.annotations import read_boxes
from fusargpt.triplets.layouts import FORMATS
from fusargpt.triplets.manifest import read_manifest
from fusargpt.triplets.set_manifest import set_manifest
from tests.fusargpt.triplets.annotated_sets import BOXES, SETS, SIZE, coco, picture, write_voc, write_yolo

SPLITS = {
    "coco": {"train", "validation"},
    "dota": {"train", "validation"},
    "hrsid": {"train", "test"},
    "sardet": {"train", "validation", "test"},
    "voc": {"train", "validation"},
    "yolo": {"train", "validation"},
}


def test_every_format_is_tried_and_named_by_the_command() -> None:
    assert set(SETS) == set(FORMATS) == set(NAMED_FORMATS)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
@pytest.mark.parametrize("kind", SETS)
def test_a_set_becomes_a_manifest_in_which_all_boxes_are_found(kind: str, suffix: str, tmp_path: Path) -> None:
    SETS[kind](tmp_path / "set")
    made = set_manifest(kind, tmp_path / "set", tmp_path / f"m{suffix}", columns={"license": "cc-by-4.0"})
    rows = read_manifest(tmp_path / f"m{suffix}")
    assert {row.split for row in rows} == set(made.splits) == SPLITS[kind]
    assert made.rows == len(rows) == 2 * len(SPLITS[kind]) and not made.failures
    labels = {label.replace(" ", "-") if kind == "dota" else label: box for label, box in BOXES}
    assert made.objects == dict.fromkeys(labels, len(SPLITS[kind]))
    assert made.rotated == (2 * len(SPLITS[kind]) if kind == "dota" else 0)
    for row in rows:
        assert Path(row.scene).is_file() and row.license == "cc-by-4.0" and row.boxes is not None
        found = read_boxes(row.boxes, row.scene, *SIZE, None, None).boxes
        if row.id.endswith("b"):
            assert found == ()
        else:
            assert {box.label: pytest.approx(box.edges) for box in found} == labels


def test_pictures_of_one_name_in_two_splits_have_ids_of_their_own(tmp_path: Path) -> None:
    write_yolo(tmp_path / "set")
    set_manifest("yolo", tmp_path / "set", tmp_path / "m.csv")
    names = [row.id for row in read_manifest(tmp_path / "m.csv")]
    assert names == ["train-a", "train-b", "validation-a", "validation-b"]


def test_one_coco_file_with_pictures_of_one_name_in_two_folders(tmp_path: Path) -> None:
    names = [f"{folder}/{picture(tmp_path / 'set' / folder / 'x.png')}" for folder in ("north", "south")]
    coco(tmp_path / "set/b.json", names)
    made = set_manifest("coco", tmp_path / "set", tmp_path / "m.csv", annotations="b.json")
    north, south = read_manifest(tmp_path / "m.csv")
    assert (north.id, south.id) == ("north-x", "south-x") and made.objects == {"bridge": 1, "oil tank": 1}
    assert isinstance(south.boxes, str) and read_boxes(south.boxes, south.scene, *SIZE, None, None).boxes == ()


def test_coco_files_of_splits_are_named(tmp_path: Path) -> None:
    for split in ("a", "b"):
        coco(tmp_path / f"{split}.json", [picture(tmp_path / "all" / f"{split}{number}.png") for number in range(2)])
    splits = {"train": "a.json", "test": "b.json"}
    made = set_manifest("coco", tmp_path, tmp_path / "m.csv", images="all", splits=splits)
    assert made.splits == {"train": 2, "test": 2}


def test_a_picture_with_damaged_annotations_costs_no_other(tmp_path: Path) -> None:
    write_voc(tmp_path / "set")
    (tmp_path / "set/Annotations/train_a.xml").write_text("<annotation><object>")
    (tmp_path / "set/JPEGImages/val_b.png").write_bytes(b"no picture")
    made = set_manifest("voc", tmp_path / "set", tmp_path / "m.csv")
    assert [row.id for row in read_manifest(tmp_path / "m.csv")] == ["train_b", "val_a"]
    first, second = made.failures
    assert "train_a.xml: not XML" in first.reason and "val_b.png" in second.reason
    assert not any("\n" in failure.reason for failure in made.failures)


def test_a_set_of_which_nothing_can_be_read_leaves_no_manifest(tmp_path: Path) -> None:
    write_voc(tmp_path / "set")
    for path in (tmp_path / "set/Annotations").iterdir():
        path.write_text("[]")
    with pytest.raises(InputError, match=r"not XML .*\(and so 3 more\)"):
        set_manifest("voc", tmp_path / "set", tmp_path / "m.csv")
    assert not (tmp_path / "m.csv").exists()


@pytest.mark.parametrize("kind", SETS)
def test_a_folder_in_another_layout_is_one_line_that_says_the_layout(kind: str, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    with pytest.raises(InputError, match=rf"not as a set of {kind} lies: expected .* with .*--annotations") as caught:
        set_manifest(kind, tmp_path, tmp_path / "m.csv")
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="no such folder; expected the folder of a set"):
        set_manifest(kind, tmp_path / "absent", tmp_path / "m.csv")


def test_what_is_named_and_wrong_is_one_line(tmp_path: Path) -> None:
    coco(tmp_path / "b.json", ["a.png", "b.png"])
    (tmp_path / "c.json").write_text('{"type": "FeatureCollection", "features": []}')
    (tmp_path / "d.json").write_text("{")
    picture(tmp_path / "images/a.png")
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"images": "images", "annotations": "b.json"}, r"b\.json: b\.png not in .*images; expected the pictures"),
        ({"images": "images", "annotations": "c.json"}, r"c\.json: polygons in GeoJSON; expected COCO"),
        ({"images": "images", "annotations": "d.json"}, r"d\.json: not JSON"),
        ({"images": "images", "annotations": "absent.json"}, r"absent\.json: cannot be read"),
        ({"images": "photos", "annotations": "b.json"}, r"photos: no such folder; name that of the pictures"),
        ({"images": "images"}, "expected either --annotations FILE.json, or the COCO file of each split"),
    )
    for options, message in cases:
        with pytest.raises(InputError, match=message):
            set_manifest("coco", tmp_path, tmp_path / "m.csv", **options)
    with pytest.raises(InputError, match="format: found 'kitti'; expected one of coco, dota"):
        set_manifest("kitti", tmp_path, tmp_path / "m.csv")
    with pytest.raises(InputError, match=r"found m\.txt; expected a name that ends in \.csv or \.jsonl"):
        set_manifest("coco", tmp_path, tmp_path / "m.txt")
    (tmp_path / "m.csv").touch()
    with pytest.raises(InputError, match="exists already"):
        set_manifest("coco", tmp_path, tmp_path / "m.csv", annotations="b.json")


def test_a_label_file_without_picture_is_told(tmp_path: Path) -> None:
    write_yolo(tmp_path / "set")
    shutil.copy(tmp_path / "set/labels/val/a.txt", tmp_path / "set/labels/val/z.txt")
    with pytest.raises(InputError, match=r"z\.txt without a picture in"):
        set_manifest("yolo", tmp_path / "set", tmp_path / "m.csv")
