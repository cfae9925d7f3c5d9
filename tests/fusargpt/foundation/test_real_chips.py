"""Chips in folders as SAR-ACD and SSDD are published, generated."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fusargpt.errors import InputError
from fusargpt.foundation.chip_folders import FOLDS, class_folders, fold_of_chips, ssdd
from fusargpt.foundation.entries import enter
from fusargpt.foundation.load import load_tower
from fusargpt.foundation.store import Store
from fusargpt.foundation.subject import Subject
from fusargpt.foundation.tasks.real_chips import SarAcdProbe, SsddProbe
from tests.fusargpt.foundation.known_places import known


def hand(folder: Path) -> Subject:
    (entry, _) = enter("hand", [], ["none"])
    return Subject(entry, lambda: load_tower(entry, "cpu"), Store(folder, {}, "hand", 16), known, 0)


def write_classes(folder: Path, chips: int) -> Path:
    """A bright and a dark class, a number and its copy after each other."""
    for name, level in (("A220", 60), ("Boeing787", 180)):
        (folder / name).mkdir(parents=True)
        for number in range(chips):
            pixels = np.random.default_rng(number // 2).normal(level, 20, (40, 60)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{name}_{number}.jpg")
    return folder


def write_ssdd(folder: Path, chips: int) -> Path:
    (folder / "images").mkdir(parents=True)
    (folder / "annotations").mkdir()
    for number in range(1, chips + 1):
        rng = np.random.default_rng(number)
        pixels = rng.normal(60, 10, (200, 300)).clip(0, 255)
        x, y = int(rng.integers(10, 240)), int(rng.integers(10, 160))
        pixels[y : y + 20, x : x + 40] = 240
        Image.fromarray(pixels.astype(np.uint8)).convert("RGB").save(folder / "images" / f"{number:06d}.jpg")
        (folder / "annotations" / f"{number:06d}.xml").write_text(
            f"<annotation><size><width>300</width><height>200</height></size><object><name>ship</name><bndbox>"
            f"<xmin>{x}</xmin><ymin>{y}</ymin><xmax>{x + 40}</xmax><ymax>{y + 20}</ymax></bndbox></object></annotation>"
        )
    names = [f"{number:06d}" for number in range(1, chips + 1)]
    (folder / "train.txt").write_text("\n".join(names[: -chips // 4]))
    (folder / "validation.txt").write_text("\n".join(names[-chips // 4 :]))
    return folder


def test_classes_are_told_in_blocks_of_neighbouring_numbers(tmp_path: Path) -> None:
    folder = write_classes(tmp_path / "chips", 20)
    names, chips = class_folders(folder)
    assert names == ["A220", "Boeing787"]
    # By number, not by name: 2 before 10.
    assert [chip.path.stem for chip in chips[:3]] == ["A220_0", "A220_1", "A220_2"]
    found = SarAcdProbe(folder).tallies(hand(tmp_path / "features"))
    assert found is not None
    assert found["accuracy"].score().n == 40
    assert found["accuracy"].score().value > 0.95
    blocks = fold_of_chips(23)
    assert (np.diff(blocks) >= 0).all()
    assert np.unique(blocks).tolist() == list(range(FOLDS))


def test_ships_of_real_chips_are_looked_for_as_simulated_ones(tmp_path: Path) -> None:
    folder = write_ssdd(tmp_path / "ssdd", 80)
    chips = ssdd(folder)
    assert [len(chips[split]) for split in ("train", "validation", "test")] == [48, 12, 20]
    # 300 x 200 pixels become 168 x 168.
    x1, y1, x2, y2 = chips["train"][0].targets[0].box
    assert (x2 - x1, y2 - y1) == pytest.approx((40 * 168 / 300, 20 * 168 / 200))
    found = SsddProbe(folder).tallies(hand(tmp_path / "features"))
    assert found is not None
    assert found["f1@0.25"].score().n == 20
    assert found["f1@0.25"].score().value > 0.5


def test_wrong_folders_are_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder; expected one with a folder of chips for each class"):
        class_folders(tmp_path / "absent")
    folder = write_classes(tmp_path / "few", 9)
    with pytest.raises(InputError, match="A220: found 9 pictures; expected at least 10"):
        class_folders(folder)
    Image.new("L", (40, 40)).save(folder / "A220" / "plane.jpg")
    with pytest.raises(InputError, match=r"plane\.jpg: no number in its name"):
        class_folders(folder)
    with pytest.raises(InputError, match=r"no train_full\.txt or train\.txt"):
        ssdd(folder)
    boxed = write_ssdd(tmp_path / "boxed", 60)
    (boxed / "images" / "000003.jpg").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"000003\.jpg"):
        ssdd(boxed)
