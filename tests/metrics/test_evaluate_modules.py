"""The metric folders as a user of `evaluate` and a visitor of their Spaces meets them."""

import json
import os
import re
import shutil
import subprocess
import sys
from typing import Any

import pytest
import yaml

from tests.paths import ROOT

NAMES = ("sar_counting", "sar_localization", "sar_classification", "sar_detection")
CARDS = {name: (ROOT / "metrics" / name / "README.md").read_text() for name in NAMES}

# One process for all of it, because what it imports takes seconds. The folders are copies elsewhere, as if pulled.
PROGRAM = """
import contextlib, doctest, io, json, os, re, runpy, sys
from pathlib import Path
import evaluate
from gradio.exceptions import Error
from fusargpt.metrics.widget import build

folder, root, names = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
found = {"examples": {}, "output": {}, "page": {}, "refused": []}
metrics = {name: evaluate.load(str(folder / name)) for name in names}
os.chdir(root)  # where metrics/NAME, as the cards and docstrings say it, is
for name, metric in metrics.items():
    test = doctest.DocTestParser().get_doctest(metric.inputs_description, {"evaluate": evaluate}, name, None, 0)
    found["examples"][name] = [doctest.DocTestRunner(verbose=False).run(test).failed, len(test.examples)]
    card = (folder / name / "README.md").read_text()
    with contextlib.redirect_stdout(io.StringIO()) as output:
        for snippet in re.findall(r"```python\\n(.*?)```", card, re.DOTALL):
            exec(snippet, {})
    found["output"][name] = output.getvalue()
    examples = runpy.run_path(str(folder / name / "app.py"), run_name="page")["EXAMPLES"]
    page = build(folder / name / f"{name}.py", examples)
    found["page"][name] = page.fn(examples)
    found["title"] = page.title
    for rows in ([["1", ""]], [["", ""]]):
        try:
            page.fn(rows)
        except Error as error:
            found["refused"].append(str(error.message))
found["whole_numbers"] = metrics["sar_counting"].compute(predictions=[3, 1], references=[3, 2])
try:
    metrics["sar_counting"].compute(predictions=["3"], references=["three"])
except ValueError as error:
    found["error"] = str(error)
sys.modules["fusargpt"] = None  # as if the package were not installed
try:
    evaluate.load(str(folder / "sar_detection"))
except ImportError as error:
    found["missing"] = str(error)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("spaces")
    for name in NAMES:
        shutil.copytree(ROOT / "metrics" / name, folder / name)
    cache = folder / "cache"
    environment = {**os.environ, "HF_HOME": str(cache), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", PROGRAM, str(folder), str(ROOT), *NAMES]
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(result.stdout.splitlines()[-1])


@pytest.mark.slow
def test_the_examples_of_docstrings_and_cards_say_what_comes_out(found: dict[str, Any]) -> None:
    assert found["examples"] == {name: [0, 3 if name == "sar_detection" else 2] for name in NAMES}  # failed, run
    assert all(found["output"][name] for name in NAMES)


@pytest.mark.slow
def test_results_are_flat_with_interval_and_n(found: dict[str, Any]) -> None:
    assert found["whole_numbers"]["accuracy"] == 0.5
    assert found["whole_numbers"]["mae"] == 0.5
    for name in ("accuracy", "mae", "readable"):
        assert found["whole_numbers"][f"{name}_n"] == 2
        assert found["whole_numbers"][f"{name}_low"] <= found["whole_numbers"][f"{name}_high"]


@pytest.mark.slow
def test_a_bad_reference_is_said_to_be_one(found: dict[str, Any]) -> None:
    assert found["error"] == "references[0]: found 'three'; expected a whole number"


@pytest.mark.slow
def test_without_the_package_the_user_learns_what_to_install(found: dict[str, Any]) -> None:
    assert "pip install fusargpt[metrics]" in found["missing"]


@pytest.mark.slow
def test_the_page_of_a_space_scores_its_examples(found: dict[str, Any]) -> None:
    assert found["title"] in NAMES
    assert [row[0] for row in found["page"]["sar_counting"]] == ["accuracy", "mae", "readable"]
    assert found["page"]["sar_counting"][0][1] == pytest.approx(1 / 3)
    assert found["page"]["sar_detection"][0][0] == "f1@0.25"
    for bad_reference, empty_table in zip(found["refused"][::2], found["refused"][1::2], strict=True):
        assert bad_reference.startswith("references[0]: found ''")
        assert empty_table == "The table is empty: fill in an answer and its reference."
    assert len(found["refused"]) == 2 * len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_is_a_space(name: str) -> None:
    folder = ROOT / "metrics" / name
    assert sorted(path.name for path in folder.iterdir() if path.name != "__pycache__") == sorted(
        ["README.md", "app.py", "requirements.txt", f"{name}.py"]
    )
    front_matter = yaml.safe_load(CARDS[name].split("---")[1])
    demo = yaml.safe_load((ROOT / "space_app" / "README.md").read_text().split("---")[1])
    assert (front_matter["sdk"], front_matter["app_file"]) == ("gradio", "app.py")
    assert front_matter["sdk_version"] == demo["sdk_version"]
    assert {"evaluate", "metric"} <= set(front_matter["tags"])
    assert "fusargpt[metrics]" in (folder / "requirements.txt").read_text()


def test_the_overview_shows_what_its_snippet_prints(capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "metrics" / "README.md").read_text()
    (snippet,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(snippet, {})
    assert capsys.readouterr().out.splitlines() == re.findall(r"#.*?(\d+\.\d \[.*\])", snippet)
    for link in re.findall(r"\]\(([^)]+)\)", text):
        assert (ROOT / "metrics" / link).is_file()
