"""`fusargpt scio`: what it refuses before anything long begins, and a whole run with given judges."""

from pathlib import Path

import pytest

from fusargpt.cli.main import main
from fusargpt.scio.judge import Judge
from tests.fusargpt.scio.cleaning import Oracle, write_captions_with_errors


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main(["scio", *map(str, arguments)]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("fusargpt scio: error: ")
    return line.removeprefix("fusargpt scio: error: ")


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ([], "found none of them; expected one of --recipe"),
        (["--recipe", "r.yaml", "--only-halves"], "found --recipe and --only-halves; expected one of --recipe"),
        (["--model-a", "x"], "--model-a, --model-b: found one of them; expected both"),
        (["--model-a", "x", "--model-b", "y", "--start", "z"], "--start: is what a recipe starts from"),
        (["--only-halves", "--rounds", "2"], "--rounds: halves do not depend on it"),
        (["--only-halves", "--captioner", "none"], "--captioner: halves do not depend on it"),
        (["--recipe", "r.yaml"], "--recipe: r.yaml: no such recipe; expected a YAML file"),
        (["--model-a", "x", "--model-b", "y", "--precision", "2"], "precision: found 2; expected a share above 0"),
        (["--model-a", "x", "--model-b", "y"], "nowhere: there is no such folder"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    given: list[str],
    problem: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert refused(capsys, "nowhere", "--out", "out", *given).startswith(problem)
    assert not (tmp_path / "out").exists()


def test_captions_are_cleaned_by_given_judges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Judge, "load", staticmethod(lambda folder, device=None: Oracle()))
    write_captions_with_errors(tmp_path / "data")
    assert "nope: no such model folder" in refused(
        capsys, tmp_path / "data", "--out", tmp_path / "new", "--model-a", "nope", "--model-b", "fusarklip-nano"
    )
    monkeypatch.setattr("fusargpt.scio.models.check_model", lambda name: None)
    monkeypatch.setattr("fusargpt.scio.models.fingerprint", lambda name: "0" * 16)
    judges = ["--model-a", str(tmp_path), "--model-b", str(tmp_path), "--captioner", "none"]
    assert main(["scio", str(tmp_path / "data"), "--out", str(tmp_path / "out"), *judges]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Round 1: AUROC of planted errors 0.9") and "96 rows" in out
    assert (tmp_path / "out" / "report.html").is_file()
    assert "rounds: found 2 with models that are given, expected 1" in refused(
        capsys, tmp_path / "data", "--out", tmp_path / "new", *judges, "--rounds", 2
    )
