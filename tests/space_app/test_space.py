"""The folder as a Space: pushed alone, run as a script, with its card and examples."""

import json
import re
import runpy
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from fusargpt.inference.predict import FusarGpt
from space_app import accelerator
from space_app.demo import Demo, Question
from space_app.fields import EXAMPLES
from space_app.limits import MAX_ANSWER_SECONDS

LISTED = json.loads((EXAMPLES / "examples.json").read_text())


def test_the_examples_are_whole(demo: Demo):
    assert len(LISTED) == 3
    for example in LISTED:
        image, prior = str(EXAMPLES / example["image"]), str(EXAMPLES / example["prior"])
        *_, (scene, given, (answer,)) = demo.answers(Question(image, prior, example["task"], example["target"]))
        assert answer.state == "whole" and given is not None and len(given.embeddings) == 64 and scene.georeferenced
    listed = {example[key] for example in LISTED for key in ("image", "prior", "thumbnail")}
    assert listed == {path.name for path in EXAMPLES.iterdir() if path.is_file()} - {"examples.json"}


def test_the_folder_runs_as_a_script_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Under any name, with its modules in no installed package, and `spaces` before all that imports torch."""
    folder = tmp_path / "somewhere"
    shutil.copytree(EXAMPLES.parent, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "spaces.py").write_text(
        "import sys\nprint('first', [name for name in sys.modules if name.startswith('space_app.')])\n"
        "def GPU(duration):\n    return lambda function: function\n"
    )
    for name in [name for name in sys.modules if name.partition(".")[0] == "space_app"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("FUSARGPT_MODEL", "no such model")
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    try:
        with pytest.raises(SystemExit, match="error: no such model: no such model folder"):
            runpy.run_path(str(folder / "app.py"), run_name="__main__")
        assert sys.modules["space_app.launch"].__file__ == str(folder / "launch.py")
        assert capsys.readouterr().out == "first ['space_app.accelerator']\n"
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] in ("space_app", "spaces")]:
            del sys.modules[name]


def test_on_zerogpu_the_answer_gets_the_gpu(monkeypatch: pytest.MonkeyPatch, predictor: FusarGpt, image: str):
    lent = []

    def lend(duration: int):
        def mark(function: Callable[..., Any]):
            def run(*arguments: Any):
                lent.append((duration, [type(argument) for argument in arguments]))
                yield from function(*arguments)

            return run

        return mark

    monkeypatch.setattr(accelerator, "spaces", SimpleNamespace(GPU=lend))
    *_, (_, _, (answer,)) = Demo(predictor, "tiny", {}, 4).answers(Question(image, None))
    assert answer.state == "whole"
    ((seconds, handed_over),) = lent
    assert seconds > MAX_ANSWER_SECONDS and FusarGpt not in handed_over


def test_the_card_names_the_app_and_a_gradio_that_the_project_takes():
    card = (EXAMPLES.parent / "README.md").read_text()
    front_matter = dict(re.findall(r"^(\w+): (.+)$", card.split("---")[1], re.MULTILINE))
    assert (EXAMPLES.parent / front_matter["app_file"]).is_file()
    assert front_matter["sdk"] == "gradio"
    assert front_matter["sdk_version"].split(".")[0] == gr.__version__.split(".")[0]
