"""The README's commands that train and score, run as a newcomer would run them; `test_documentation` has the rest."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fusargpt.cli import ask
from fusargpt.cli.main import VERBS
from fusargpt.errors import InputError
from tests.pages import commands
from tests.paths import ROOT

COMMANDS = commands("README.md")
PROGRAM = "import sys; from fusargpt.cli.main import main; sys.exit(main())"


def run(arguments: list[str], tmp_path: Path) -> str:
    """Run the command in the repository with a new cache and no network; returns stdout."""
    environment = {**os.environ, "HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


def command(verb: str) -> list[str]:
    (words,) = [words[1:] for words in COMMANDS if words[:2] == ["fusargpt", verb]]
    return words


@pytest.mark.slow
def test_the_training_command_trains(tmp_path: Path) -> None:
    arguments = command("train")
    arguments[arguments.index("--output_dir") + 1] = str(tmp_path / "out")
    run(arguments, tmp_path)
    assert (tmp_path / "out" / "model.safetensors").is_file()


@pytest.mark.slow
def test_the_evaluation_command_evaluates(tmp_path: Path) -> None:
    # Two questions of each task, so that it takes seconds and there are priors to exchange.
    output = run([*command("evaluate"), "--limit", "2", "--out", str(tmp_path / "out")], tmp_path)
    assert "fusargpt-mini, prior shuffled" in output
    assert (tmp_path / "out" / "report.html").is_file()


def test_the_ask_commands_are_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    asked = [words[2:] for words in COMMANDS if words[:2] == ["fusargpt", "ask"]]
    assert len(asked) == 4
    for arguments in asked:
        # The only thing wrong with them here is that scene.tif is not there.
        with pytest.raises(InputError, match=r"scene\.tif"):
            ask.main(arguments)


def test_every_verb_of_the_readme_exists() -> None:
    verbs = {words[1] for words in COMMANDS if words[0] == "fusargpt"}
    assert verbs and verbs <= set(VERBS)
