"""The suite from the command to its files."""

import json
from pathlib import Path

import pytest
import yaml
from huggingface_hub.repocard_data import model_index_to_eval_results

from fusargpt.cli.main import main
from fusargpt.errors import InputError
from fusargpt.foundation.entries import enter

SMALL = ("--scenes", "30", "--train", "40", "--validation", "20")


def run(out: Path, *arguments: str, model: str = "hand") -> int:
    return main(["evaluate", model, "--suite", "foundation", *SMALL, "--out", str(out), *arguments])


@pytest.mark.slow
def test_a_suite_leaves_tables_report_plot_and_card(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "suite"
    arguments = ("--baselines", "alphaearth", "--tasks", "probe-cover,zero-shot-cover,segmentation")
    assert run(out, *arguments) == 0
    shown = capsys.readouterr().out
    assert "| probe-cover " in shown and "minus alphaearth" in shown
    results = json.loads((out / "results.json").read_text())
    assert results["settings"]["places"] == {"train": 40, "validation": 20, "test": 30}
    assert "by place" in results["settings"]["split_rule"]
    score = results["scores"]["segmentation"]["miou"]["alphaearth"]
    assert score["n"] == 30 and 0 < score["low"] <= score["value"] <= score["high"] < 1
    assert [entry["label"] for entry in results["entries"]] == ["hand", "alphaearth", "majority"]
    assert "The terrain is mostly water." in results["tasks"]["zero-shot-cover"]["how"]
    html = (out / "report.html").read_text()
    assert "data:image/png;base64" in html and "segmentation" in html and "http" not in html
    card = yaml.safe_load((out / "model_index.yaml").read_text())
    name, found = model_index_to_eval_results(card["model-index"])
    assert name == "hand"
    assert {result.metric_type for result in found} == {"accuracy", "miou"}

    # The same command computes no features again, and gives the same scores.
    before = {path: path.stat().st_mtime_ns for path in (out / "features").rglob("*.npz")}
    assert run(out, *arguments) == 0
    assert {path: path.stat().st_mtime_ns for path in (out / "features").rglob("*.npz")} == before
    assert json.loads((out / "results.json").read_text()) == results
    assert main(["evaluate", "hand", "--suite", "foundation", "--scenes", "31", "--out", str(out)]) == 2
    assert "choose another place" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--tasks", "probe-cover,guess"), "tasks: found 'guess'; expected of retrieval-landforms"),
        (("--prior", "true,blank"), "--prior: found 'blank'; expected of true, none, shuffled, blind"),
        (("--scenes", "3"), "test: found 3 places; expected at least 20"),
        (("--rerank", "-1"), "--rerank: found -1; expected at least 0"),
        (("--baselines", "hand"), "hand: found 2 times; name every model once"),
        (("--baselines", "nowhere"), "nowhere: no such model folder; expected one"),
        (("--baselines", "open_clip:ViT-B-32/openai"), "this brings it: "),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(
    arguments: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "out", *arguments) == 2
    assert said in (error := capsys.readouterr().err)
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_entries_are_the_model_with_each_arm_and_the_baselines_beside() -> None:
    found = enter("nano-tower", ["hand", "alphaearth"], ["true", "none", "shuffled", "blind"])
    assert [(entry.label, entry.arm) for entry in found] == [
        ("nano-tower, prior true", "true"),
        ("nano-tower, prior none", "none"),
        ("nano-tower, prior shuffled", "shuffled"),
        ("nano-tower, prior blind", "blind"),
        ("hand", "none"),
        ("alphaearth", "true"),
        ("majority", "none"),
    ]
    beside = enter("hand", ["nano-tower"], ["none", "blind"])
    assert [entry.label for entry in beside] == ["hand", "nano-tower, prior none", "majority"]
    with pytest.raises(InputError, match="random weights are those of the model's architecture"):
        enter("random", [], ["true"])
