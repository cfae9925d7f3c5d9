"""The prior of one image: `fusargpt prior`, and `--aef` of `ask` and `batch`."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fusargpt
from fusargpt.cli.main import main
from fusargpt.geo.prior import load_prior
from tests.fusargpt.scenes.scenes import write_field, write_scene
from tests.tiny import random_image, stir_tlm, tiny_model, tiny_processor


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("chips")
    (path / "chips").mkdir()
    write_scene(path / "chips" / "harbour.tif", side=100, ships=((20, 30, 32, 36),))
    write_scene(path / "chips" / "nowhere.tif", side=100, georeferenced=False)
    write_field(path / "aef")
    model = tiny_model()
    stir_tlm(model)
    model.save_pretrained(path / "model")
    tiny_processor().save_pretrained(path / "model")
    return path


def run(verb: str, *arguments: object) -> int:
    return main([verb, *map(str, arguments)])


def ask(folder: Path, *arguments: object) -> int:
    asked = (folder / "chips" / "harbour.tif", "How many ships?", "--model", folder / "model")
    return run("ask", *asked, "--max-new-tokens", 12, *arguments)


def test_it_is_written_as_the_demo_writes_it(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    scene, out = folder / "chips" / "harbour.tif", tmp_path / "harbour.npz"
    assert run("prior", scene, "--aef", folder / "aef", "--out", out) == 0
    assert capsys.readouterr().out.startswith(f"{out}: 64 anchors of AlphaEarth 2023. ")
    prior = load_prior(out)
    assert len(prior.embeddings) == 64 and prior.lonlat is not None
    fetched = fusargpt.fetch_prior(scene, aef=folder / "aef")
    assert fetched.lonlat is not None
    np.testing.assert_allclose(prior.embeddings, fetched.embeddings, atol=1e-6)
    np.testing.assert_array_equal(prior.positions, fetched.positions)
    np.testing.assert_array_equal(prior.lonlat, fetched.lonlat)


def test_its_grid_is_chosen(folder: Path, tmp_path: Path):
    scene = folder / "chips" / "harbour.tif"
    for options, count in ((["--anchors", 3], 9), (["--anchor-spacing", 250], 16)):
        out = tmp_path / f"{count}.npz"
        assert run("prior", scene, "--aef", folder / "aef", "--out", out, *options) == 0
        assert len(load_prior(out).embeddings) == count


def test_ask_with_a_field_is_ask_with_the_file_from_it(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "harbour.npz"
    assert run("prior", folder / "chips" / "harbour.tif", "--aef", folder / "aef", "--out", out) == 0
    capsys.readouterr()
    answers = []
    for options in (["--aef", folder / "aef"], ["--prior", out], []):
        assert ask(folder, *options) == 0
        output = capsys.readouterr()
        assert ("64 anchors of AlphaEarth 2023" in output.err) == ("--aef" in options)
        answers.append(output.out)
    assert answers[0] == answers[1] != answers[2]


def test_batch_asks_each_image_with_the_anchors_of_its_place(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "answers.jsonl"
    options = ("--model", folder / "model", "--engine", "transformers", "--max-new-tokens", 6, "--out", out)
    assert run("batch", folder / "chips", "--task", "count", "--aef", folder / "aef", "--anchors", 4, *options) == 1
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(row["id"], row["anchors"]) for row in rows] == [("harbour.tif", 16)]
    error = capsys.readouterr().err
    assert "no georeference, so that no place is known for anchors; leave --aef out" in error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "found no --aef and --out; type: fusargpt prior "),
        (["--out", "a.npz"], "found no --aef; type: fusargpt prior "),
        (["--aef", "AEF"], "found no --out; type: fusargpt prior "),
        (["--out", "a.npz", "--year", "2023"], "--year: of the field that --aef names; add --aef ROOT"),
        (["--aef", "AEF", "--out", "a.npy"], "--out: found a.npy; expected a name that ends in .npz"),
        (["--aef", "AEF", "--out", "there.npz"], "there.npz: exists already"),
        (["--aef", "AEF", "--out", "a.npz", "--year", "1999"], "year 1999: not in the AlphaEarth field"),
        (["--aef", "nowhere", "--out", "a.npz"], "nowhere: no AlphaEarth field"),
        (["--aef", "AEF", "--out", "a.npz", "--anchors", "0"], "anchors: found 0; expected 1 to 128 a side"),
    ],
)
def test_what_is_missing_is_one_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any, options: Any, message: str
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.npz").write_bytes(b"kept")
    given = [folder / "aef" if option == "AEF" else option for option in options]
    assert run("prior", folder / "chips" / "harbour.tif", *given) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "a.npz").exists() and (tmp_path / "there.npz").read_bytes() == b"kept"


def test_an_image_without_a_place_has_none(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    random_image(32, 32).save(tmp_path / "chip.png")
    for scene, message in (
        (tmp_path / "chip.png", "a picture (PNG) without a place; expected a GeoTIFF"),
        (folder / "chips" / "nowhere.tif", "no georeference, so that no place is known for anchors"),
    ):
        assert run("prior", scene, "--aef", folder / "aef", "--out", tmp_path / "chip.npz") == 2
        assert message in capsys.readouterr().err


def test_ask_takes_one_prior_and_options_of_a_field_with_a_field(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    for options, message in (
        (["--aef", folder / "aef", "--prior", tmp_path / "a.npz"], "--prior and --aef: expected one of them"),
        (["--anchor-spacing", 100], "--anchor-spacing: of the field that --aef names"),
    ):
        assert ask(folder, *options) == 2
        assert message in capsys.readouterr().err
