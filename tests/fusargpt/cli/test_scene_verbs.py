"""The verbs over a scene, as a user types them, with a tiny model."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from fusargpt.cli.main import main
from fusargpt.inference.counts import CountDistribution
from fusargpt.scenes import ask_scene
from modeling_fusargpt import FusarGptProcessor
from tests.fusargpt.geo.safe_products import packed, write_product
from tests.fusargpt.scenes.polygons import in_crs, write_geojson
from tests.fusargpt.scenes.scenes import BrightBoxes, write_field, write_scene
from tests.pages import commands
from tests.tiny import tiny_model, tiny_processor

VERBS = ("detect", "count", "localize", "describe", "classify")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory):
    path = tmp_path_factory.mktemp("scenes")
    write_scene(path / "harbour.tif", side=100, ships=((20, 30, 32, 36),))
    write_field(path / "aef")
    tiny_model().save_pretrained(path / "model")
    tiny_processor().save_pretrained(path / "model")
    return path


def run(verb: str, folder: Path, *arguments: object) -> int:
    model = ["--model", folder / "model", "--tile", 48]
    if "--max-new-tokens" not in arguments:
        model += ["--max-new-tokens", 3]
    return main([verb, *map(str, (folder / "harbour.tif", *model, *arguments))])


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_writes_a_map_and_a_picture(
    verb: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / f"{verb}.geojson"
    assert run(verb, folder, "--aef", folder / "aef", "--out", out) == 0
    content = json.loads(out.read_text())
    assert content["fusargpt"]["task"] == verb and content["fusargpt"]["prior"] == "AlphaEarth 2023"
    assert content["fusargpt"]["tiles"]["asked"] > 0
    assert bool(content["features"]) == (verb != "detect"), "three random letters are no box"
    assert Path(f"{out}.png").is_file()
    output = capsys.readouterr()
    assert f"{out}\n{out}.png" in output.out and "tiles: " in output.out
    assert ("could not be read" in output.err) == (verb in ("detect", "count", "localize"))


@pytest.mark.parametrize("form", ["zip", "folder"])
def test_a_sentinel1_product_is_one_command_with_the_limits_of_the_models_processor(tmp_path: Path, form: str):
    digital = np.random.default_rng(0).integers(20, 400, (60, 100)).astype(np.uint16)
    product = write_product(tmp_path, {"VV": digital, "VH": digital})
    tiny_model().save_pretrained(tmp_path / "model")
    plain = tiny_processor()
    limits = {"VH": (-35, -5)}
    FusarGptProcessor(plain.image_processor, plain.tokenizer, decibel_limits=limits).save_pretrained(tmp_path / "model")
    scene = packed(product) if form == "zip" else product
    out = tmp_path / "ships.geojson"
    options = ("--no-prior", "--tile", "48", "--max-new-tokens", "3", "--model", str(tmp_path / "model"))
    assert main(["count", str(scene), "--polarization", "VH", "--out", str(out), *options]) == 0
    content = json.loads(out.read_text())
    said, read_as = content["fusargpt"], content["fusargpt"]["read_as"]
    assert read_as["limits_db"] == [-35, -5] and read_as["limits_why"] == "what the model was trained with"
    assert (read_as["stored"], read_as["polarization"], said["sensor"]) == ("power", "VH", "Sentinel-1A")
    assert said["product"]["orbit"] == 49191 and said["acquired"] == "2023-06-28" and said["stretch"] == [-35, -5]
    corner = content["features"][0]["geometry"]["coordinates"][0][0]
    assert corner == pytest.approx([10 - 0.5e-4, 50 + 0.5e-4], abs=1e-6)
    other = tmp_path / "other.geojson"
    assert main(["count", str(scene), "--polarization", "VV", "--out", str(other), *options]) == 0
    assert "percentile" in json.loads(other.read_text())["fusargpt"]["read_as"]["limits_why"]


@pytest.mark.parametrize(
    ("coarsest_m", "named", "side"),
    [
        (5, [], 64),
        (10, [], 128),
        (40, [], 128),
        (0.01, [], 28),
        (5, ["--tile", "128"], 128),
        (5, ["--resolution", "7.5"], 96),
    ],
)
def test_a_scene_coarser_than_the_model_knows_is_cut_smaller_and_that_is_said(
    coarsest_m: float, named: list[str], side: int, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    scene = write_scene(tmp_path / "scene.tif", side=140)  # pixels of 10 m; the model sees tiles in 128 x 128
    tiny_model().save_pretrained(tmp_path / "model")
    plain = tiny_processor()
    known = FusarGptProcessor(plain.image_processor, plain.tokenizer, coarsest_pixel_m=coarsest_m)
    known.save_pretrained(tmp_path / "model")
    out = tmp_path / "ships.geojson"
    model = ["--model", str(tmp_path / "model"), "--max-new-tokens", "1", "--no-prior", *named]
    assert main(["count", str(scene), "--out", str(out), *model]) == 0
    assert json.loads(out.read_text())["fusargpt"]["tile"] == side
    said = (
        f"scene.tif: tiles of {side} pixels, enlarged to 128: model was trained on pixels of {coarsest_m:g} m or less"
    )
    assert (said in capsys.readouterr().err) == (side < 128 and not named)


def test_boxes_that_are_left_out_for_their_scores_are_counted(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    model = BrightBoxes()
    model.sure = 0.4, CountDistribution(((1, 1.0),))
    monkeypatch.setattr(ask_scene, "load", lambda *_: model)
    for name, options, kept in (("all", (), 1), ("none", ("--min-score", "0.5"), 0)):
        out = tmp_path / f"{name}.geojson"
        assert run("detect", folder, "--no-prior", "--out", out, *options) == 0
        content, said = json.loads(out.read_text()), capsys.readouterr().out
        left_out = content["fusargpt"]["boxes_of_lower_scores"]
        assert len(content["features"]) == kept and bool(left_out) != bool(kept)
        nouns = "1 box" if left_out == 1 else f"{left_out} boxes"
        line = f"{nouns} in the answers of tiles left out, of scores below 0.50 (--min-score)\n"
        assert (line in said) == (not kept) and ("left out" in said) == (not kept)


@pytest.mark.parametrize("verb", ["detect", "count", "localize", "classify"])
def test_constrained_answers_are_read(verb: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / f"{verb}.geojson"
    assert run(verb, folder, "--no-prior", "--constrained", "--max-new-tokens", 128, "--out", out) == 0
    assert "could not be read" not in capsys.readouterr().err
    assert json.loads(out.read_text())["fusargpt"]["constrained"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--out", "ships.txt", "--no-prior"], "--out: found ships.txt; expected a name that ends in"),
        (["--out", "ships.geojson"], "found no --aef or --no-prior; type: fusargpt detect"),
        (["--out", "", "--no-prior"], "--out: found ; expected a name that ends in"),
        (["--no-prior"], "found no --out; add where the map is to be written, as: --out detect.geojson"),
        (["--out", "ships.geojson", "--aef", "nowhere"], "nowhere: no AlphaEarth field; expected aef_index.parquet in"),
        (["--out", "ships.geojson", "--no-prior", "--overlap", "48"], "overlap: found 48"),
        (["--out", "ships.geojson", "--no-prior", "--constrained"], "max-new-tokens: found 3; expected 128"),
        (["--out", "ships.geojson", "--no-prior", "--model", "none/here"], "none/here"),
        (["--out", "ships.geojson", "--no-prior", "--aoi", "absent.gpkg"], "--aoi: absent.gpkg: no such file"),
        (["--out", "ships.geojson", "--no-prior", "--bbox", "1", "1", "0", "0"], "bbox: found 1 1 0 0; expected west"),
        (["--out", "ships.geojson", "--no-prior", "--out-crs", "EPSG:3857"], "is in WGS84 longitude and latitude"),
        (["--out", "ships.geojson", "--no-prior", "--engine", "vllm"], "engine: found 'vllm', which is not installed"),
        (["--out", "ships.geojson", "--no-prior", "--engine", "vllm", "--dtype", "float32"], "takes no --dtype; leave"),
        (["--out", "ships.geojson", "--no-prior", "--device", "abacus"], "device: found 'abacus', which torch cannot"),
    ],
)
def test_what_does_not_fit_is_one_line(
    arguments: list[str],
    said: str,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    assert run("detect", folder, *arguments) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("fusargpt detect: error: ") and said in error
    assert not list(tmp_path.glob("ships*"))


def test_a_part_of_a_scene_in_another_crs_without_its_land(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Of nine tiles of 48 pixels four meet the area, one of which is land as a whole."""
    (area,) = in_crs("EPSG:4326", (5, 5, 90, 90))
    land = write_geojson(tmp_path / "land.geojson", in_crs("EPSG:4326", (-9, -9, 49, 49)))
    out = tmp_path / "counts.parquet"
    options = ("--no-prior", "--no-skip", "--out", out, "--out-crs", "EPSG:3857", "--land", land)
    assert run("count", folder, *options, "--bbox", *area.bounds) == 0
    assert "4 tiles: 3 asked, 0 in which nothing stands out, 0 without data, 1 on land, 0 failed" in (
        capsys.readouterr().out
    )
    assert pq.read_schema(out).names[-1] == "geometry" and Path(f"{out}.png").is_file()
    labels = ["--labels", "water,ships", "--bbox", *map(str, area.bounds), "--no-prior", "--out", "classes.geojson"]
    assert main(["classify", str(folder / "harbour.tif"), *labels]) == 2
    assert "--bbox: is not for --labels" in capsys.readouterr().err


def test_a_scene_that_is_not_there_is_told_before_torch_is_imported(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["detect", str(tmp_path / "none.tif"), "--no-prior", "--out", "ships.geojson"]) == 2
    assert "none.tif: no such file" in capsys.readouterr().err


def test_a_missing_prior_and_a_folder_are_told_with_what_to_type(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    scene, chip = tmp_path / "a scene.tif", tmp_path / "chip.jpg"
    scene.touch()
    chip.touch()
    assert main(["detect", str(scene)]) == 2
    assert f"type: fusargpt detect '{scene}' --no-prior --out detect.geojson (from the" in capsys.readouterr().err
    assert main(["detect", str(chip), "--no-prior", "--out", "ships.geojson"]) == 2
    assert f"one chip is asked about by: fusargpt ask {chip} --task detect\n" in capsys.readouterr().err
    assert main(["count", str(tmp_path), "--no-prior", "--out", "ships.geojson"]) == 2
    assert f"fusargpt batch {tmp_path} --task count --out answers.parquet" in capsys.readouterr().err


def test_the_documented_commands_are_understood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    for page in ("README.md", "docs/how-to/scenes.md"):
        lines = [words[1:] for words in commands(page) if words[:2] in (["fusargpt", "detect"], ["fusargpt", "count"])]
        assert lines
        for words in lines:
            # The only thing wrong with them here is that the scene is not there.
            assert main(words) == 2 and ".tif: no such file" in capsys.readouterr().err


def test_tiles_that_fail_are_listed_and_end_with_1(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    from fusargpt.errors import InputError
    from fusargpt.geo.sar_scene import SarScene

    read = SarScene.read

    def broken(self: Any, window: Any = None, band: int = 1):
        if window is not None and (window.col_off, window.row_off, window.width) == (0, 0, 48):
            raise InputError("harbour.tif: the server does not answer")
        return read(self, window, band)

    monkeypatch.setattr(SarScene, "read", broken)
    out = tmp_path / "counts.geojson"
    assert run("count", folder, "--no-prior", "--out", out) == 1
    error = capsys.readouterr().err
    assert "1 tile failed; the same command tries again:\n  tile 0,0: harbour.tif: the server" in error
    before = json.loads(out.read_text())
    monkeypatch.setattr(SarScene, "read", read)
    assert run("count", folder, "--no-prior", "--out", out) == 0
    assert len(json.loads(out.read_text())["features"]) == len(before["features"]) + 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["counts.geojson", "counts.geojson.png"]


def test_another_engine_answers(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from fusargpt.inference.loading import load
    from fusargpt.serving import engines

    asked: list[tuple[str, str]] = []

    def load_engine(engine: str, model: str):
        asked.append((engine, model))
        return load(model, "cpu")

    monkeypatch.setattr(engines, "choose_engine", lambda name: name)
    monkeypatch.setattr(engines, "load_engine", load_engine)
    outs = [tmp_path / f"{name}.geojson" for name in ("own", "other")]
    assert run("count", folder, "--no-prior", "--out", outs[0]) == 0 and not asked
    assert run("count", folder, "--no-prior", "--out", outs[1], "--engine", "vllm") == 0
    assert asked == [("vllm", str(folder / "model"))]
    assert json.loads(outs[0].read_text())["features"] == json.loads(outs[1].read_text())["features"]


def test_what_is_there_is_not_written_over(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for name in ("counts.geojson", "counts.gpkg", "counts.json"):
        assert run("count", folder, "--no-prior", "--out", tmp_path / name) == 0
        assert (tmp_path / f"{name}.png").is_file()
    written = (tmp_path / "counts.json").read_bytes()
    for options in (
        ["--out", tmp_path / "counts.json"],
        ["--out", tmp_path / "a.json", "--quicklook", tmp_path / "counts.json.png"],
    ):
        capsys.readouterr()
        assert run("count", folder, "--no-prior", *options) == 2
        assert f"{options[-1]}: exists already; remove it or choose another place" in capsys.readouterr().err
    assert (tmp_path / "counts.json").read_bytes() == written
