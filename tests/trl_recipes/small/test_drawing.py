"""Pictures are drawn from chips and scenes: all their objects inside, the same ones for the same number."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fusargpt.errors import InputError
from fusargpt.tasks.questions import box_order
from trl_recipes.small.dense import COVERS, dense_targets
from trl_recipes.small.drawing import Chips, Drawing, read_chips
from trl_recipes.small.pictures import UNKNOWN

BOXES = ([(30, 40, 60, 50), (120, 90, 128, 110)], [(5, 5, 25, 45)], [(1, 1, 99, 60)])


def made_chips(folder: Path) -> Path:
    """Chips in the layout of SSDD: a bright box for each ship on dark water."""
    (folder / "images").mkdir(parents=True)
    (folder / "annotations").mkdir()
    for number, boxes in enumerate(BOXES):
        pixels = np.full((120, 160), 20, np.uint8)
        objects = ""
        for x1, y1, x2, y2 in boxes:
            pixels[y1:y2, x1:x2] = 230
            edges = f"<xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
            objects += f"<object><name>ship</name><bndbox>{edges}</bndbox></object>"
        Image.fromarray(pixels).save(folder / "images" / f"{number:06d}.jpg", quality=95)
        (folder / "annotations" / f"{number:06d}.xml").write_text(f"<annotation>{objects}</annotation>")
    (folder / "train_full.txt").write_text("000000\n000001\n")
    (folder / "validation.txt").write_text("000002\n")
    return folder


@pytest.fixture(scope="module")
def chips(tmp_path_factory: pytest.TempPathFactory) -> Chips:
    return read_chips(made_chips(tmp_path_factory.mktemp("ssdd") / "set"))


def test_only_the_chips_of_the_list_are_read(chips: Chips) -> None:
    assert list(chips.names) == ["000000", "000001"]
    assert chips.picture(0).boxes.tolist() == [list(map(float, box)) for box in BOXES[0]]
    assert (chips.picture(0).cover == UNKNOWN).all()


def test_drawn_pictures_show_their_objects_and_no_others(chips: Chips) -> None:
    drawing = Drawing([chips], [1.0], 336, 12, seed=0)
    counts = set()
    for number in range(80):
        which, picture = drawing.draw(number)
        counts.add(len(picture.labels))
        assert which == 0 and picture.pixels.shape == picture.cover.shape == (336, 336)
        boxes = picture.boxes.astype(int).tolist()
        assert boxes == sorted(boxes, key=box_order)
        water = float(np.median(picture.pixels))
        for x1, y1, x2, y2 in boxes:
            assert 0 <= x1 < x2 <= 336 and 0 <= y1 < y2 <= 336
            middle = picture.pixels[(y1 + y2) // 2, (x1 + x2) // 2]
            # A ship may fill the picture: then the water is not what is most of it.
            assert middle > water or (picture.pixels > 150).mean() > 0.4
    assert 0 in counts and max(counts) > 2 and max(counts) <= 12


def test_a_number_always_gives_the_same_picture(chips: Chips) -> None:
    first, again, other = (Drawing([chips], [1.0], 336, 12, seed=seed).draw(3)[1] for seed in (0, 0, 1))
    assert (first.pixels == again.pixels).all() and (first.boxes == again.boxes).all()
    assert not np.array_equal(first.pixels, other.pixels)


def test_where_no_cover_is_known_none_is_asked_for(chips: Chips) -> None:
    _, picture = Drawing([chips], [1.0], 336, 12, seed=0).draw(0)
    targets = dense_targets(picture)
    assert targets.cover.shape == (144, COVERS) and not targets.cover.any()
    assert targets.present.sum() <= len(picture.labels)


def test_what_is_no_folder_of_chips_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"train_full\.txt: not a file; expected the folder of SSDD"):
        read_chips(tmp_path)
    (tmp_path / "train_full.txt").write_text("")
    with pytest.raises(InputError, match="names no chip"):
        read_chips(tmp_path)
    (tmp_path / "train_full.txt").write_text("000009\n")
    with pytest.raises(InputError, match=r"000009\.jpg: cannot be read"):
        read_chips(tmp_path)
