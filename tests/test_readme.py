"""The README's snippets, run as a newcomer would run them."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from fusargpt.cli import ask
from fusargpt.cli.main import VERBS
from fusargpt.errors import InputError
from tests.modeling_fusargpt.chain import write_backbone, write_stage1, write_stage2
from tests.paths import ROOT

README = (ROOT / "README.md").read_text()
# The client of a vLLM server is run where there is one, by tests/serving.
PYTHON = [code for code in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "OpenAI" not in code]
SHELL = "\n".join(re.findall(r"```shell\n(.*?)```", README, re.DOTALL)).replace("\\\n", " ")


def run(command: list[str], tmp_path: Path, folder: Path = ROOT) -> str:
    """Run in the repository, or another folder, with a new cache and no network; returns stdout."""
    environment = {**os.environ, "HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


@pytest.mark.slow
@pytest.mark.parametrize("snippet", PYTHON[:2], ids=["automodel", "load_dataset"])
def test_python_snippets_run(snippet: str, tmp_path: Path) -> None:
    output = run([sys.executable, "-c", snippet], tmp_path)
    assert output.strip()


@pytest.mark.slow
def test_what_the_stages_leave_loads(tmp_path: Path) -> None:
    (snippet,) = PYTHON[2:]
    write_backbone(tmp_path / "qwen")
    write_stage1(tmp_path / "build" / "7b" / "stage1", tmp_path / "qwen")
    write_stage2(tmp_path / "build" / "7b" / "stage2", tmp_path / "build" / "7b" / "stage1")
    described = "print(type(model).__name__, type(base).__name__)"
    output = run([sys.executable, "-c", f"{snippet}\n{described}"], tmp_path, tmp_path)
    assert output == "PeftModelForCausalLM FusarGptForConditionalGeneration\n"


@pytest.mark.slow
def test_the_training_command_trains(tmp_path: Path) -> None:
    (line,) = [line for line in SHELL.splitlines() if line.startswith("fusargpt train")]
    arguments = shlex.split(line)[1:]
    arguments[arguments.index("--output_dir") + 1] = str(tmp_path / "out")
    run(
        [sys.executable, "-c", "import sys; from fusargpt.cli.main import main; sys.exit(main())", *arguments], tmp_path
    )
    assert (tmp_path / "out" / "model.safetensors").is_file()


@pytest.mark.slow
def test_the_evaluation_command_evaluates(tmp_path: Path) -> None:
    (line,) = [line for line in SHELL.splitlines() if line.startswith("fusargpt evaluate")]
    # Two questions of each task, so that it takes seconds and there are priors to exchange.
    arguments = [*shlex.split(line)[1:], "--limit", "2", "--out", str(tmp_path / "out")]
    output = run(
        [sys.executable, "-c", "import sys; from fusargpt.cli.main import main; sys.exit(main())", *arguments], tmp_path
    )
    assert "fusargpt-nano, prior shuffled" in output
    assert (tmp_path / "out" / "report.html").is_file()


def test_the_ask_commands_are_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [line for line in SHELL.splitlines() if line.startswith("fusargpt ask")]
    assert len(lines) == 3
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
