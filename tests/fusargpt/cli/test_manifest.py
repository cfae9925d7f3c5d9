"""`fusargpt manifest`: what it prints, and what it refuses."""

from pathlib import Path

import pytest

from fusargpt.cli.main import main
from fusargpt.triplets.manifest import read_manifest
from tests.fusargpt.triplets.annotated_sets import write_dota, write_voc


def test_it_prints_what_is_in_the_manifest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_dota(tmp_path / "set")
    out = tmp_path / "m.csv"
    assert main(["manifest", "dota", str(tmp_path / "set"), "--out", str(out), "--sensor", "GF-3"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line.split(maxsplit=1) for line in printed[:4]] == [
        ["2", "pictures in train"],
        ["2", "pictures in validation"],
        ["2", "bridge"],
        ["2", "oil-tank"],
    ]
    assert "4 of the objects are rotated" in printed[4]
    assert f"4 rows in {out}; next: fusargpt triplets build {out}" in printed[5]
    assert {row.sensor for row in read_manifest(out)} == {"GF-3"}


def test_pictures_that_fail_are_listed_and_exit_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_voc(tmp_path)
    (tmp_path / "Annotations/val_a.xml").write_text("<html/>")
    places = ["--images", "JPEGImages", "--annotations", "Annotations"]
    lists = ["--split", "train=ImageSets/Main/train.txt", "--split", "test=ImageSets/Main/val.txt"]
    assert main(["manifest", "voc", str(tmp_path), *places, *lists, "--out", str(tmp_path / "m.jsonl")]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert errors[-2] == "The manifest is without 1 picture that failed:" and "the root is <html>" in errors[-1]
    assert [row.split for row in read_manifest(tmp_path / "m.jsonl")] == ["train", "train", "test"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--split", "train"], "found 'train', expected a split and its list"),
        (["--split", "train=a", "--split", "train=b"], "--split: found train twice"),
        (["--split", "val=a"], "split: found 'val'; expected one of train, validation, test"),
        (["--images", "absent"], "absent: no such folder"),
    ],
)
def test_what_is_refused_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    write_voc(tmp_path)
    try:
        code = main(["manifest", "voc", str(tmp_path), *more, "--out", str(tmp_path / "m.csv")])
    except SystemExit as error:
        code = error.code
    captured = capsys.readouterr()
    assert code == 2 and message in captured.err and captured.err.count("\n") == 1
