import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fusargpt.cli.main import VERBS, main
from tests.paths import ROOT


def test_help_names_the_verbs(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    output = capsys.readouterr().out
    assert all(f"\n  {verb} " in output for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]):
    try:
        code = main([verb, "--help"])
    except SystemExit as ended:  # argparse ends by itself
        code = ended.code
    assert code == 0 and capsys.readouterr().out.startswith("usage: ")


def test_help_imports_nothing_heavy():
    program = """
import sys
from fusargpt.cli.main import main
try:
    main(["ask", "--help"])
except SystemExit:
    pass
print(sorted({"torch", "transformers", "rasterio", "numpy", "PIL"} & set(sys.modules)))
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "arguments",
    [["no-such-verb"], ["ask"], ["ask", "image.png", "--task", "guess"], ["detect", "a.tif", "line\nbreak", "\u2028"]],
)
def test_wrong_usage_is_told_in_one_line(arguments: Any, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("fusargpt") and ": error: " in line and line.endswith(" --help")


def test_without_a_word_the_verbs_are_listed(capsys: pytest.CaptureFixture[str]):
    assert main([]) == 2
    listed = capsys.readouterr().err
    assert all(f"\n  {verb} " in listed for verb in VERBS)


@pytest.mark.parametrize("verb", ["ask", "batch", "detect", "evaluate", "merge", "plan"])
def test_examples_can_be_copied_whole(verb: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit, match="0"):
        main([verb, "--help"])
    examples = capsys.readouterr().out.partition("\nexamples:\n")[2].splitlines()
    assert examples and all(line.startswith(f"  fusargpt {verb} ") for line in examples)


def test_an_interrupt_exits_with_130(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    def interrupt(*_arguments: Any):
        raise KeyboardInterrupt

    monkeypatch.setattr("fusargpt.geo.image.read_image_as", interrupt)
    (tmp_path / "image.png").touch()
    assert main(["ask", str(tmp_path / "image.png"), "What is this?"]) == 130
    assert capsys.readouterr().err == ""


def test_the_command_exits_with_2_without_a_traceback(tmp_path: Path):
    command = [sys.executable, "-c", "import sys; from fusargpt.cli.main import main; sys.exit(main())"]
    result = subprocess.run([*command, "ask", tmp_path / "absent.tif", "?"], capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr == f"fusargpt ask: error: {tmp_path / 'absent.tif'}: no such file\n"


@pytest.mark.parametrize("argument", ["chip\x00.png", "chip\ud800.png"])
def test_an_argument_that_is_no_text_is_refused(argument: str, capsys: pytest.CaptureFixture[str]):
    assert main(["ask", argument, "How many?"]) == 2
    assert capsys.readouterr().err == f"fusargpt ask: error: found the argument {argument!a}; expected text\n"


def test_a_name_that_is_no_utf_8_is_shown(tmp_path: Path):
    """On a terminal, which knows UTF-8 alone."""
    program = "import sys; from fusargpt.cli.main import main; sys.exit(main(sys.argv[1:]))"
    name = os.fsencode(tmp_path) + b"/caf\xe9.png"
    result = subprocess.run([sys.executable, "-c", program, "ask", name, "How many?"], capture_output=True)
    assert result.returncode == 2
    assert result.stderr.decode() == f"fusargpt ask: error: {tmp_path}/caf\\udce9.png: no such file\n"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "stage/log"), "stage/log: No space left on device"),
        (OSError(errno.EROFS, "Read-only file system"), "Read-only file system"),
    ],
)
def test_what_the_system_refuses_is_one_line(
    error: OSError, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def refused(_: object) -> None:
        raise error

    monkeypatch.setattr("fusargpt.cli.merge.main", refused)
    assert main(["merge"]) == 2
    assert capsys.readouterr().err == f"fusargpt merge: error: {line}\n"


def test_other_errors_are_ours_and_stay_as_they_are(monkeypatch: pytest.MonkeyPatch):
    def stumble(_: object) -> None:
        raise OSError("not of the system")

    monkeypatch.setattr("fusargpt.cli.merge.main", stumble)
    with pytest.raises(OSError, match="not of the system"):
        main(["merge"])


def test_a_reader_that_has_seen_enough_is_no_error():
    program = "import sys; from fusargpt.cli import main, merge\nmerge.main = lambda _: print('x\\n' * 10**6)\n"
    program += "sys.exit(main.main(['merge']))"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == b"x\n"
        process.stdout.close()
        assert process.stderr.read() == b"" and process.wait() == 141


def test_python_runs_the_package():
    result = subprocess.run([sys.executable, "-m", "fusargpt", "--version"], capture_output=True, text=True)
    assert result.returncode == 0 and result.stdout.startswith("fusargpt ")


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["detct", "scene.tif"], "did you mean detect?"),
        (["ask", "chip.png", "--task", "cuont"], "did you mean count?"),
        (["ask", "chip.png", "--taks", "count"], "did you mean --task?"),
        (["detect", "scene.tif", "--no-piror", "--out", "a.json"], "did you mean --no-prior?"),
    ],
)
def test_what_was_meant_is_said(arguments: Any, meant: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert meant in capsys.readouterr().err


def test_models_and_recipes_are_meant_by_name(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    (tmp_path / "chip.png").touch()
    assert main(["ask", str(tmp_path / "chip.png"), "Why?", "--model", "fusargpt-nnao"]) == 2
    assert "did you mean fusargpt-nano?" in capsys.readouterr().err
    assert main(["train", "nano/stage22.yaml"]) == 2
    assert "did you mean nano/stage2.yaml?" in capsys.readouterr().err


def test_cheap_mistakes_are_told_before_what_takes_seconds(tmp_path: Path):
    """In one process, so that the first that imports torch shows."""
    (tmp_path / "scene.tif").touch()
    out = ["--out", "out"]
    mistakes = [
        ["train"],
        ["train", "nope.yaml"],
        ["plan", "nope.yaml"],
        ["ask", "scene.tif", "Why?", "--model", "nope"],
        ["batch", "nope", "--task", "detect", "--out", "a.parquet"],
        ["caption", "nope", *out],
        ["classify", "scene.tif", "--no-prior"],
        ["convert", "nope", "--base", "nope", *out],
        ["count", "scene.tif"],
        ["demo", "--model", "nope"],
        ["embed", "nope", "--out", "a.parquet"],
        ["evaluate", "nope", "dataset_card"],
        ["evaluate", "fusargpt-nano", "nope"],
        ["merge", "nope", *out],
        ["prior", "scene.tif"],
        ["search", "ships", "--in", "nope", *out],
    ]
    program = """
import json, sys
from fusargpt.cli.main import main
for mistake in json.load(sys.stdin):
    code = main(mistake)
    print(code, sorted({"torch", "transformers", "datasets", "rasterio", "numpy"} & set(sys.modules)), *mistake)
"""
    result = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(mistakes),
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    found = [line for line in result.stdout.splitlines() if not line.startswith("2 [] ")]
    assert found == [] and len(result.stdout.splitlines()) == len(mistakes)
