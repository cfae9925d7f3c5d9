"""The curve's cells: what is shown, what is answered, what is kept; and chips beside real ones."""

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from benchmarks import simulated_and_real
from benchmarks.pixel_size import __main__ as command
from benchmarks.pixel_size import readout
from benchmarks.pixel_size.cells import Cell, grid
from benchmarks.pixel_size.report import pooled, read_results, report
from benchmarks.pixel_size.scenes import Scenes, scenes, seeds
from fusargpt.checkpoints import NANO_BACKBONE
from fusargpt.errors import InputError
from fusargpt.simulator.simulated_scene import simulate_scene


def test_places_have_water_and_splits_share_none() -> None:
    train, test = seeds("train", 5), seeds("test", 5)
    assert not set(train) & set(test)
    assert {simulate_scene(seed).kind for seed in (*train, *test)} <= {"sea", "harbour"}


def test_ships_are_counted_where_their_middle_is() -> None:
    middles = np.array([(0.07, 0.07), (0.96, 0.96), (0.04, 0.5)])
    nothing = np.zeros((3, 1, 1), np.uint8), np.zeros((3, 1, 64), np.int8), np.zeros((1, 2), np.float32)
    found = Scenes(*nothing, np.array([1, 0, 2]), middles).ships(6)
    assert found.shape == (3, 36) and found.sum(1).tolist() == [1, 0, 2]
    assert found[0, 0] == 1 and found[2, 35] == 1 and found[2, 3] == 1


def test_cells_pair_all_arms_of_a_seed() -> None:
    cells = grid((5.0, 30.0), ("true", "none"), (0, 1))
    assert len(cells) == 8 and cells[:2] == [Cell(5.0, "true", 0), Cell(5.0, "none", 0)]
    assert cells[0].asked == ("true", "shuffled") and cells[1].asked == ("none",)


def test_a_run_is_kept_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readout, "STEPS", 2)
    arguments = ["--training", "6", "--scenes", "4", "--pixel-sizes", "30", "--seeds", "0"]
    folders = ["--build", str(tmp_path / "build"), "--results", str(tmp_path / "results")]
    assert command.main([*arguments, *folders]) == 0
    path = tmp_path / "results" / "readout" / "30m" / "true-0.json"
    first = path.stat().st_mtime_ns
    answers = json.loads(path.read_text())["answers"]
    assert answers["reference"] == scenes("test", 4, 30.0, tmp_path / "build").counts.tolist()
    assert answers.keys() == {"reference", "true", "shuffled"}
    assert command.main([*arguments, *folders]) == 0 and path.stat().st_mtime_ns == first
    assert (tmp_path / "results" / "counts.png").exists()
    assert set(read_results(tmp_path / "results", "readout")[30.0]) == {"true", "shuffled", "none", "blind"}
    # Other numbers of scenes are other results, and so is another tower, which reads the scenes anew.
    assert command.main([*arguments[2:], "--training", "7", *folders]) == 2
    assert command.main([*arguments, *folders, "--backbone", str(NANO_BACKBONE)]) == 2
    assert command.main([*arguments, *folders, "--backbone", str(tmp_path / "nothing")]) == 2
    folders[-1] += "_of_nano"
    assert command.main([*arguments, *folders, "--backbone", str(NANO_BACKBONE)]) == 0
    assert len(list((tmp_path / "build" / "tokens").iterdir())) == 2


def test_a_report_has_shares_and_paired_differences(tmp_path: Path) -> None:
    for arm, said in (("true", [1, 2, 3, 4]), ("none", [1, 2, 0, 0])):
        path = tmp_path / "readout" / "10m" / f"{arm}-0.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        cell = {"pixel_size": 10.0, "arm": arm, "seed": 0}
        path.write_text(json.dumps({"cell": cell, "answers": {"reference": [1, 2, 3, 4], arm: said}}))
    text = report(tmp_path)
    assert "| 10 | 1 | 100.0 [100.0, 100.0] | 50.0 [" in text and "| +50.0 [" in text
    assert "| 10 | 0.00 | 1.75 |  |  | -1.75 [" in text  # ships
    with pytest.raises(InputError, match="no cell is done"):
        report(tmp_path / "empty")


def test_what_the_readme_says_is_what_the_results_hold() -> None:
    text = report(command.RESULTS)
    assert (command.RESULTS / "tables.md").read_text(encoding="utf-8") == text + "\n"
    said = (command.RESULTS.parents[1] / "README.md").read_text(encoding="utf-8").replace("**", "")
    for size, runs in read_results(command.RESULTS, "readout").items():
        share = {arm: f"{100 * pooled(runs[arm]).value:.1f}" for arm in ("true", "none")}
        gained = next(line for line in text.splitlines() if line.startswith(f"| {size:g} | 3 |")).split(" | ")[6]
        assert f"| {size:g} | {share['true']} | {share['none']} | {gained} |" in said


def test_chips_are_cut_stretched_and_told_apart(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("images", "annotations"):
        (tmp_path / name).mkdir()
    for number in range(3):
        Image.fromarray(rng.integers(0, 60, (120, 200), np.uint8)).save(tmp_path / "images" / f"{number:06d}.jpg")
        root = ElementTree.Element("annotation")
        item = ElementTree.SubElement(root, "object")
        ElementTree.SubElement(item, "name").text = "ship"
        box = ElementTree.SubElement(item, "bndbox")
        for edge, value in zip(("xmin", "ymin", "xmax", "ymax"), (150, 80, 180, 90), strict=True):
            ElementTree.SubElement(box, edge).text = str(value)
        ElementTree.ElementTree(root).write(tmp_path / "annotations" / f"{number:06d}.xml")
    with pytest.raises(InputError, match=r"train_full\.txt: not a file"):
        simulated_and_real.real_crops(tmp_path, 3, rng)
    (tmp_path / "train_full.txt").write_text("000000\n000001\n000002\n")
    crops, chips, medians = simulated_and_real.real_crops(tmp_path, 2, rng)
    assert len(crops) == 2 and len(set(chips)) == 2 and len(medians) == 3
    decibels = rng.normal(-15, 3, (150, 150))
    simulated = [simulated_and_real.as_chip(decibels, (60, 60, 90, 80), 25.0, rng) for _ in range(8)]
    assert {crop.shape for crop in (*crops, *simulated)} == {(simulated_and_real.SIDE, simulated_and_real.SIDE)}
    assert 15 < np.median(simulated[0]) < 35
    assert np.isfinite(simulated_and_real.features(simulated[0])).all()
