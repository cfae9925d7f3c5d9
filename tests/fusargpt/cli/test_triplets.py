"""`fusargpt triplets` as it is typed."""

import json
import subprocess
import sys
from dataclasses import MISSING, fields
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from datasets import load_dataset
from huggingface_hub import HfApi

from fusargpt.cli import triplets
from fusargpt.cli.main import main
from fusargpt.triplets.settings import BuildSettings
from tests.fusargpt.cli.hub_server import REPO, serve_hub
from tests.fusargpt.triplets.places import CORNERS, decibels, write_field, write_manifest, write_raster
from tests.paths import ROOT
from tests.tiny import tiny_processor
from trl_recipes.data.collator import TripletCollator


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One scene with a ship and an AlphaEarth field."""
    write_field(tmp_path / "aef", CORNERS[:1])
    write_raster(tmp_path / "a.tif", decibels(1, 112, 224), CORNERS[0], ACQUISITION_DATE="2021-06-01")
    boxes = [{"bbox_2d": [10, 20, 40, 30], "label": "Boat"}]
    write_manifest(tmp_path / "m.jsonl", [{"scene": "a.tif", "boxes": boxes, "sensor": "S1"}])
    return tmp_path


def command(folder: Path, *more: str) -> list[str]:
    build = ["triplets", "build", str(folder / "m.jsonl"), "--aef", str(folder / "aef"), "--out", str(folder / "out")]
    return [*build, "--workers", "0", "--chip-size", "112", *more]


def test_from_the_command_to_the_collator(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(folder, "--label", "Boat=ship", "--anchors", "3", "--split-shares", "1,0,0")) == 0
    printed = capsys.readouterr()
    assert "2 chips" in printed.out and "1 scenes in train" in printed.out and "8 rows in" in printed.out
    assert "No scene is in validation, test" in printed.err
    rows: list[Any] = list(
        load_dataset(str(folder / "out"), "instructions", split="train", cache_dir=str(folder / "cache"))
    )
    processor = tiny_processor()
    batch = TripletCollator(processor)(rows[:3])
    assert batch["prior_embeddings"].shape == (3, 9, 64) and batch["prior_mask"].all()
    # What the model sees is the chip, so that boxes are in its pixels.
    assert (batch["image_grid_thw"][0] * processor.image_processor.patch_size).tolist()[1:] == [112, 112]
    assert rows[0]["objects"] == [{"bbox_2d": [10, 20, 40, 30], "label": "ship", "fine_label": "Boat"}]


def test_failed_scenes_exit_with_1(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(folder, "--targets", "ship")) == 1
    errors = capsys.readouterr().err
    assert "without 1 scene that failed" in errors and "m.jsonl, row 1: " in errors and "--label Boat=NAME" in errors
    assert json.loads((folder / "out" / "failures.jsonl").read_text())["row"] == 1
    assert not (folder / "out" / "README.md").exists()
    assert main(["triplets", "push", str(folder / "out"), REPO]) == 2
    assert "scenes that failed: 1; build again" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--overlap", "200"], "overlap: found 200"),
        (["--label", "Boat=vessel", "--targets", "ship"], "label Boat=vessel"),
        (["--anchor-spacing", "50", "--anchors", "4"], "anchors and anchor-spacing: expected one of them"),
        (["--workers", "-1"], "--workers: found -1"),
        (["--ray"], "--workers: with --ray, where the cluster decides"),
    ],
)
def test_wrong_arguments_exit_with_2(
    folder: Path, more: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(folder, *more)) == 2
    assert f"fusargpt triplets: error: {message}" in capsys.readouterr().err
    assert not (folder / "out").exists()


@pytest.mark.parametrize(
    "more", [["--label", "Boat"], ["--split-shares", "1,2"], ["--resolution", "fine"], ["--chip-size", "big"]]
)
def test_wrong_usage_is_explained(folder: Path, more: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(command(folder, *more))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("fusargpt triplets build: error: argument --")


def test_a_manifest_that_is_wrong_exits_with_2(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "m.jsonl").write_text('{"scene": "a.tif", "captions": "Sea."}\n')
    assert main(command(folder)) == 2
    assert "m.jsonl, row 1: unknown column 'captions'" in capsys.readouterr().err


def test_help_tells_the_true_defaults() -> None:
    """They are repeated in the help, so that it comes at once."""
    helps = {action.dest: action.help or "" for action in _build_parser()._actions}
    for item in fields(BuildSettings):
        assert item.name in helps, item.name
        default = item.default
        if default not in (None, MISSING, ()):
            text = (
                ",".join(map(str, default))
                if isinstance(default, tuple)
                else f"{default:g}"
                if isinstance(default, float)
                else str(default)
            )
            assert f"(default: {text})" in helps[item.name], item.name


def _build_parser():
    (verbs,) = (action for action in triplets._parser()._actions if action.choices and "build" in action.choices)  # pyright: ignore[reportPrivateUsage]  # has no other way in
    assert isinstance(verbs.choices, dict)
    return verbs.choices["build"]


def test_help_imports_nothing_heavy() -> None:
    program = """
import sys
from fusargpt.cli.main import main
try:
    main(["triplets", "build", "--help"])
except SystemExit:
    pass
print(sorted({"torch", "datasets", "pyarrow", "rasterio", "numpy"} & set(sys.modules)))
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"


def test_a_missing_extra_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "fusargpt.triplets.ray_build", raising=False)
    without_workers = [argument for argument in command(folder, "--ray") if argument not in ("--workers", "0")]
    assert main(without_workers) == 2
    assert (
        f"triplets need ray; this brings it: {sys.executable} -m pip install --editable '{ROOT}[ray]'"
        in capsys.readouterr().err
    )


def test_push(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(folder, "--label", "Boat=ship")) == 0
    capsys.readouterr()
    with serve_hub() as hub:
        monkeypatch.setattr("fusargpt.triplets.publish.HfApi", partial(HfApi, endpoint=hub.address, token="hf_test"))
        assert main(["triplets", "push", str(folder / "out"), REPO, "--private"]) == 0
    assert capsys.readouterr().out == f"{hub.address}/datasets/{REPO}/commit/1\n"
    assert "README.md" in hub.files and any(name.endswith(".parquet") for name in hub.files)
