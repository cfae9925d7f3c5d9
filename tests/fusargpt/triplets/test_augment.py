"""Copies of annotated pictures: their boxes stay about what they were about, and no edge cuts an object."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fusargpt.triplets.augment import augment, main, turned_box
from fusargpt.triplets.build import build
from fusargpt.triplets.settings import BuildSettings

WIDTH, HEIGHT = 90, 60
SHIPS = ([10, 20, 24, 26], [60, 8, 66, 30])


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """A picture for training and one for validation: ships are bright, the sea is dark."""
    pixels = np.full((HEIGHT, WIDTH), 20, np.uint8)
    for x1, y1, x2, y2 in SHIPS:
        pixels[y1:y2, x1:x2] = 220
    Image.fromarray(pixels).save(tmp_path / "a.png")
    boxes = [{"bbox_2d": box, "label": "ship"} for box in SHIPS]
    rows = [
        {"scene": "a.png", "id": "one", "boxes": boxes, "split": "train", "license": "apache-2.0"},
        {"scene": "a.png", "id": "two", "boxes": boxes, "split": "validation"},
    ]
    path = tmp_path / "manifest.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_boxes_of_copies_hold_their_ships_and_no_other_pixel(manifest: Path, tmp_path: Path) -> None:
    rows = augment(manifest, tmp_path / "out", copies=24, smallest=0.4)
    assert [row["id"] for row in rows if row.get("split") == "validation"] == ["two"]
    copies = [row for row in rows if row["id"].startswith("one-")]
    assert len(copies) == 24 and len(rows) == 26 and {row["license"] for row in copies} == {"apache-2.0"}
    sizes = set()
    for row in copies:
        with Image.open(tmp_path / "out" / row["scene"]) as image:
            pixels = np.asarray(image)
        sizes.add(pixels.shape)
        marked = np.zeros(pixels.shape, bool)
        for entry in row["boxes"]:
            x1, y1, x2, y2 = map(int, entry["bbox_2d"])
            marked[y1:y2, x1:x2] = True
            assert sorted((x2 - x1, y2 - y1)) in ([6, 14], [6, 22])
        assert row["boxes"] and np.array_equal(pixels > 100, marked)
    assert len(sizes) > 12 and any(height > width for height, width in sizes)


def test_the_builder_takes_them_and_the_same_arguments_give_the_same(manifest: Path, tmp_path: Path) -> None:
    first, again = (augment(manifest, tmp_path / name, copies=3) for name in ("out", "again"))
    assert [row["boxes"] for row in first] == [row["boxes"] for row in again]
    assert [row["boxes"] for row in augment(manifest, tmp_path / "other", copies=3, seed=1)] != [
        r["boxes"] for r in first
    ]
    settings = BuildSettings(chip_size=0, missing_prior="empty", image_size=168)
    report = build(tmp_path / "out" / "manifest.jsonl", tmp_path / "built", settings, workers=0)
    assert report.failures == () and report.scenes == {"train": 4, "validation": 1}


@pytest.mark.parametrize("way", range(8))
def test_a_box_turns_with_its_picture(way: int) -> None:
    x1, y1, x2, y2 = map(int, turned_box(SHIPS[0], WIDTH, HEIGHT, way))
    width, height = (WIDTH, HEIGHT) if way % 2 == 0 else (HEIGHT, WIDTH)
    assert 0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height and (x2 - x1) * (y2 - y1) == 14 * 6


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({}, ["--copies", "0"], "copies: found 0; expected at least 1"),
        ({}, ["--smallest", "1.5"], "smallest: found 1.5"),
        ({}, ["--split", "test"], "no row with split 'test'"),
        ({"boxes": None}, [], "row 1: no boxes"),
        ({"caption": "A port."}, [], "row 1: found caption; expected pictures that have boxes alone"),
        ({"scene": "none.png"}, [], "none.png: cannot be read"),
        ({"scene": "deep.png"}, [], "deep.png: pixels of kind I;16"),
    ],
)
def test_what_is_refused(
    manifest: Path,
    tmp_path: Path,
    changes: dict[str, Any],
    options: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint16)).save(tmp_path / "deep.png")
    lines = manifest.read_text().splitlines()
    manifest.write_text("\n".join([json.dumps(json.loads(lines[0]) | changes), lines[1]]))
    assert main([str(manifest), "--out", str(tmp_path / "out"), *options]) == 2
    assert message in capsys.readouterr().err
