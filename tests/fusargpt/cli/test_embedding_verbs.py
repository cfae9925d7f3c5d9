"""`embed`, `search` and `classify --labels` as a user types them, with tiny models."""

import json
from pathlib import Path

import pytest

from fusargpt.cli.main import main
from fusargpt.embedding.features import read_features
from tests.fusargpt.scenes.scenes import write_field, write_scene
from tests.modeling_fusarklip.tiny_klip import tiny_klip, tiny_klip_processor
from tests.pages import commands
from tests.tiny_clip import save_tiny_clip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scenes")
    write_scene(path / "harbour.tif", side=100, ships=((20, 30, 32, 36),))
    write_field(path / "aef")
    tiny_klip().save_pretrained(path / "klip")
    tiny_klip_processor().save_pretrained(path / "klip")
    save_tiny_clip(path / "clip")
    options = ("--aef", path / "aef", "--tile", 30, "--model", path / "klip", "--out", path / "harbour.parquet")
    assert main(words("embed", path / "harbour.tif", *options)) == 0
    return path


def words(*arguments: object) -> list[str]:
    return [str(argument) for argument in arguments]


def test_embed_says_what_it_made(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "alone.parquet"
    options = ("--no-prior", "--tile", 30, "--model", folder / "clip", "--out", out)
    assert main(words("embed", folder / "harbour.tif", *options)) == 0
    output = capsys.readouterr()
    assert (
        "12 vectors of 16 numbers by" in output.out
        and "4 tiles without data have none" in output.out
        and output.out.endswith(f"{out}\n")
    )
    assert "read as decibels" in output.err
    features = read_features(folder / "harbour.parquet")
    assert min(features.table["anchors"].to_pylist()) > 0


def test_search_prints_a_ranked_table(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert main(words("search", "two ships", "--in", folder / "harbour.parquet", "--top", 3)) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split() == ["rank", "score", "place", "id"] and len(rows) == 3
    assert rows[0].startswith("1") and "-118.0" in rows[0]
    assert main(words("search", "ships zebra", "--in", folder / "harbour.parquet", "--top", 2, "--rerank", 2)) == 0
    output = capsys.readouterr()
    assert output.out.splitlines()[0].split() == ["rank", "score", "match", "place", "id"]
    assert "The model does not know zebra" in output.err


def test_search_leaves_a_folder(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "found"
    options = ("--no-prior", "--tile", 30, "--model", folder / "klip", "--out", out)
    assert main(words("search", "water", "--in", folder / "harbour.tif", *options)) == 0
    assert f"{out / 'heat_map.png'}\n" in capsys.readouterr().out
    assert json.loads((out / "found.geojson").read_text())["fusargpt"]["tile"] == 30


def test_labels_make_a_map_a_picture_and_counts(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "classes.geojson"
    options = ("--no-prior", "--tile", 30, "--model", folder / "klip", "--prompt", "the {label}", "--out", out)
    assert main(words("classify", folder / "harbour.tif", "--labels", "water,forest", *options)) == 0
    output = capsys.readouterr().out
    assert "by 'the {label}'" in output and output.endswith(f"{out}\n{out}.png\n")
    assert len(json.loads(out.read_text())["features"]) == 12, "the lowest tiles hold no data"


SCENE = ("DIR/harbour.tif", "--no-prior")
VECTORS = ("--in", "DIR/harbour.parquet")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["search", "water", *VECTORS, "--model", "DIR/clip"], "cannot be compared with those"),
        (["search", "", *VECTORS], "WORDS: found none; expected what to search for"),
        (["search", *VECTORS], "WORDS and --image: expected one of them"),
        (["search", "water " * 40, *VECTORS], "tokens, but the model reads 32 at most"),
        (["search", "water", "--in", "DIR/none.tif", "--no-prior"], "none.tif: no such file"),
        (["search", "water", "--in", "DIR/harbour.tif"], "--aef and --no-prior: found neither"),
        (["embed", SCENE[0], "--aef", "DIR/aef", "--model", "DIR/clip", "--out", "x.parquet"], "take no_prior"),
        (["embed", *SCENE, "--out", "x.csv"], "--out: found x.csv"),
        (["classify", *SCENE, "--labels", "a,b", "--out", "x.txt"], "--out: found x.txt"),
        (["classify", *SCENE, "--labels", "a,b", "--constrained", "--out", "x.csv"], "--constrained: is of questions"),
        (["classify", *SCENE, "--prompt", "{label}", "--out", "x.csv"], "--prompt: makes captions"),
        (["ask", SCENE[0], "What?", "--model", "DIR/klip"], "a model of type fusarklip (it embeds:"),
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
    assert main([argument.replace("DIR", str(folder)) for argument in arguments]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"fusargpt {arguments[0]}: error: ") and said in error
    assert not list(tmp_path.iterdir())


def test_the_documented_commands_are_understood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    every = [line for page in ("README.md", "docs/how-to/search.md") for line in commands(page)]
    ours = ("embed", "search")
    lines = [line[1:] for line in every if line[0] == "fusargpt" and (line[1] in ours or "--labels" in line)]
    assert len(lines) > 5
    for line in lines:
        # The only thing wrong with them here is that the input is not there.
        assert main(line) == 2
        error = capsys.readouterr().err
        assert "no such file" in error or "there is no such folder" in error, line
