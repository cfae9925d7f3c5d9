"""The README's snippets, run as a newcomer would run them."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from fusar_geo.errors import InputError
from fusargpt import ask
from fusargpt.cli import VERBS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
SHELL = "\n".join(re.findall(r"```shell\n(.*?)```", README, re.DOTALL)).replace("\\\n", " ")


def run(command: list[str], tmp_path: Path) -> str:
    """Run in the repository with a new cache and no network; returns stdout."""
    environment = {**os.environ, "HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


@pytest.mark.parametrize("snippet", PYTHON, ids=["automodel", "load_dataset"])
def test_python_snippets_run(snippet: str, tmp_path: Path) -> None:
    output = run([sys.executable, "-c", snippet], tmp_path)
    assert output.strip()


def test_the_training_command_trains(tmp_path: Path) -> None:
    (line,) = [line for line in SHELL.splitlines() if line.startswith("fusargpt train")]
    arguments = shlex.split(line)[1:]
    arguments[arguments.index("--output_dir") + 1] = str(tmp_path / "out")
    run([sys.executable, "-c", "import sys; from fusargpt.cli import main; sys.exit(main())", *arguments], tmp_path)
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_the_evaluation_command_evaluates(tmp_path: Path) -> None:
    (line,) = [line for line in SHELL.splitlines() if line.startswith("fusargpt evaluate")]
    # Two questions of each task, so that it takes seconds and there are priors to exchange.
    arguments = [*shlex.split(line)[1:], "--limit", "2", "--out", str(tmp_path / "out")]
    output = run(
        [sys.executable, "-c", "import sys; from fusargpt.cli import main; sys.exit(main())", *arguments], tmp_path
    )
    assert "fusargpt-nano, prior shuffled" in output
    assert (tmp_path / "out" / "report.html").is_file()


def test_the_ask_commands_are_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [line for line in SHELL.splitlines() if line.startswith("fusargpt ask")]
    assert len(lines) == 2
    for line in lines:
        # The only thing wrong with them here is that scene.tif is not there.
        with pytest.raises(InputError, match=r"scene\.tif"):
            ask.main(shlex.split(line)[2:])


def test_every_command_of_the_readme_exists() -> None:
    targets = {line.split()[1] for line in SHELL.splitlines() if line.startswith("make ")}
    makefile = (ROOT / "Makefile").read_text()
    assert targets and all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)
    verbs = {line.split()[1] for line in SHELL.splitlines() if line.startswith("fusargpt ")}
    assert verbs <= set(VERBS)


def test_every_link_of_the_readme_exists() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)", README)
    assert links and [link for link in links if not (ROOT / link).exists()] == []
