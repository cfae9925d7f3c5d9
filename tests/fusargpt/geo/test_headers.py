"""Small files that keep decoders busy, and pictures that are stored turned, are known by their headers everywhere."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from fusargpt.errors import InputError
from fusargpt.geo.headers import check_header
from fusargpt.geo.image import read_image, to_rgb, upright_size
from fusargpt.inference.questions import Item
from fusargpt.inference.rows import read_picture
from fusargpt.serving.batch_inputs import ImageFolder
from fusargpt.triplets.augment import augment
from fusargpt.triplets.manifest import SceneRow
from fusargpt.triplets.scene_files import open_scene
from tests.bombs import (
    jpeg_of_exif,
    jpeg_of_nested_exif,
    jpeg_of_scans,
    png_of_nested_exif,
    png_of_raw_exif,
    tiff_of_items,
)
from tests.tiny import tiny_processor
from trl_recipes.data.row_checks import image_size

BOMBS = {
    "exif.jpg": jpeg_of_exif,
    "nested.jpg": jpeg_of_nested_exif,
    "nested.png": png_of_nested_exif,
    "raw.png": png_of_raw_exif,
    "scans.jpg": jpeg_of_scans,
    "items.tif": tiff_of_items,
}
MUCH = r"Exif within Exif|more than 16 segments of Exif|more than 200 scans|with 40,000 metadata items"
TURNED = (("JPEG", 6), ("PNG", 6), ("JPEG", 3))


@pytest.fixture(params=BOMBS)
def bomb(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return BOMBS[request.param](tmp_path / request.param)


def row(path: Path) -> dict[str, Any]:
    return {"image": {"bytes": path.read_bytes(), "path": None}}


def augmented(path: Path) -> Image.Image:
    manifest = path.with_name("manifest.jsonl")
    boxes = [{"label": "ship", "bbox_2d": [1, 1, 3, 3]}]
    manifest.write_text(json.dumps({"id": "a", "scene": path.name, "boxes": boxes, "split": "train"}) + "\n")
    rows = augment(manifest, path.parent / "out", copies=1)
    return Image.open(path.parent / "out" / rows[0]["scene"])


READERS: dict[str, Callable[[Path], Any]] = {
    "ask": read_image,
    "folders of batch": lambda path: ImageFolder(path.parent, "?").read(Item("", "", "", path.name, 0))[0],
    "builder": lambda path: open_scene(SceneRow("scenes.csv, row 2", 2, "a", str(path))),
    "rows of batch and evaluate": lambda path: read_picture(row(path)),
    "rows of training": lambda path: image_size(path.read_bytes()),
    "augment": augmented,
}


@pytest.mark.parametrize("door", READERS)
def test_what_costs_far_more_than_its_size_is_one_line_at_once(door: str, bomb: Path) -> None:
    start = time.process_time()
    with pytest.raises(InputError, match=MUCH) as caught:
        READERS[door](bomb)
    assert time.process_time() - start < 2
    assert "\n" not in str(caught.value) and "save it again as a plain GeoTIFF, PNG or JPEG" in str(caught.value)


def test_a_folder_that_holds_such_files_is_listed_at_once(bomb: Path) -> None:
    start = time.process_time()
    items, failures = ImageFolder(bomb.parent, "What is there?").items()
    assert time.process_time() - start < 2
    assert len(items) == 1 and not failures


@pytest.mark.parametrize("scans", [1, 150])
def test_files_as_cameras_and_products_are_pass(tmp_path: Path, scans: int) -> None:
    check_header(jpeg_of_scans(tmp_path / "a.jpg", scans))
    check_header(jpeg_of_exif(tmp_path / "b.jpg", 2))
    check_header(tiff_of_items(tmp_path / "c.tif", 600))


@pytest.mark.parametrize("name", BOMBS)
def test_a_header_that_is_cut_off_anywhere_passes_or_is_refused(tmp_path: Path, name: str) -> None:
    content = BOMBS[name](tmp_path / name, 20).read_bytes()
    for size in [*range(64), *range(64, len(content), max(1, len(content) // 50))]:
        try:
            check_header(content[:size])
        except InputError as error:
            assert "Exif" in str(error)


def stored_turned(path: Path, kind: str, orientation: int) -> Path:
    values = np.zeros((32, 48), np.uint8)
    values[:16, :16] = 200
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(values).save(path, kind, exif=exif, **({"quality": 100} if kind == "JPEG" else {}))
    return path


def bright_corner(picture: Image.Image) -> tuple[tuple[int, int], bool, bool]:
    """Size, and whether the bright corner is at the bottom and at the right."""
    bright = np.argwhere(np.asarray(picture.convert("L")) > 100).mean(0)
    return picture.size, bool(bright[0] > picture.height / 2), bool(bright[1] > picture.width / 2)


@pytest.mark.parametrize(("kind", "orientation"), TURNED)
def test_a_turned_picture_is_turned_at_every_door(tmp_path: Path, kind: str, orientation: int) -> None:
    path = stored_turned(tmp_path / f"turned.{kind.lower()}", kind, orientation)
    from datasets import Dataset, Features
    from datasets import Image as ImageFeature

    rows = Dataset.from_list([row(path)], features=Features({"image": ImageFeature()}))
    expected = bright_corner(rows[0]["image"])
    assert expected == {6: ((32, 48), False, True), 3: ((48, 32), True, True)}[orientation]
    for door in ("ask", "folders of batch", "rows of batch and evaluate"):
        assert bright_corner(READERS[door](path)) == expected, door
    assert bright_corner(to_rgb(Image.open(path))) == expected
    scene = open_scene(SceneRow("scenes.csv, row 2", 2, "a", str(path)))
    assert (scene.width, scene.height) == expected[0]
    assert READERS["rows of training"](path) == expected[0][::-1]
    assert upright_size(path.read_bytes()) == expected[0]


@pytest.mark.parametrize("by", ["picture", "path"])
def test_the_processor_turns_it_too(tmp_path: Path, by: str) -> None:
    path = stored_turned(tmp_path / "turned.png", "PNG", 6)
    processor = tiny_processor()
    images: Any = [Image.open(path) if by == "picture" else str(path)]
    turned = processor(images=images, return_tensors="np")
    upright = processor(images=[read_image(path)], return_tensors="np")
    assert np.array_equal(turned["pixel_values"], upright["pixel_values"])


def test_a_tiff_that_is_stored_turned_is_refused_as_a_file_and_turned_as_a_row(tmp_path: Path) -> None:
    path = tmp_path / "turned.tif"
    values = np.zeros((32, 48), np.uint8)
    values[:16, :16] = 200
    Image.fromarray(values).save(path, tiffinfo={int(ExifTags.Base.Orientation): 6})
    with pytest.raises(InputError, match=r"turned\.tif: a TIFF whose tag Orientation is 6: its rows are not those"):
        read_image(path)
    assert bright_corner(read_picture(row(path))) == ((32, 48), False, True)
    assert READERS["rows of training"](path) == (48, 32)
    assert upright_size(path.read_bytes()) == (32, 48)


def test_rows_hold_png_jpeg_or_tiff(tmp_path: Path) -> None:
    path = tmp_path / "chip.gif"
    Image.new("L", (32, 32)).save(path)
    for door in ("rows of batch and evaluate", "rows of training"):
        with pytest.raises(InputError, match=r"^image: not a PNG, JPEG or TIFF image \(it starts with b'GIF8"):
            READERS[door](path)
