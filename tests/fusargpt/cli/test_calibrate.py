"""`fusargpt calibrate` from the command line to a model that answers with calibrated confidences."""

import json
import shutil
from pathlib import Path

import pytest

from fusargpt.checkpoints import NANO, NANO_SSDD
from fusargpt.cli.main import main
from fusargpt.evaluation import calibrating
from fusargpt.inference.confidences import ScoredAnswer, calibrated
from fusargpt.inference.loading import load
from fusargpt.simulator.records import SPLIT_SEEDS, scene_fields
from fusargpt.simulator.simulated_scene import simulate_scene
from fusargpt.tasks.prompts import prompt
from tests.fusargpt.metrics.triplets import write, write_model

OTHER = {"localize": {"temperature": 1.0, "offset": 0.5}}


def processor(model: Path) -> dict[str, object]:
    return json.loads((model / "processor_config.json").read_text())


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A copy of nano that has numbers of other tasks, and old ones of counts."""
    folder = Path(shutil.copytree(NANO, tmp_path / "nano"))
    settings = processor(folder) | {"calibration": OTHER | {"count": {"temperature": 9.0, "offset": 9.0}}}
    (folder / "processor_config.json").write_text(json.dumps(settings))
    return folder


@pytest.mark.slow
def test_numbers_of_the_tasks_that_are_asked_are_written_beside_the_others(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(calibrating, "FEWEST", 5)
    before = processor(model)
    out = tmp_path / "fitted"
    arguments = ["simulator", "--tasks", "count,detect", "--limit", "40", "--device", "cpu", "--out", str(out)]
    assert main(["calibrate", str(model), *arguments]) == 0
    found = processor(model)
    # Of counts there is too little that is wrong, and what was there is of another run.
    assert isinstance(found["calibration"], dict) and set(found["calibration"]) == {"detect", "localize"}
    assert found["calibration"]["localize"] == OTHER["localize"]
    assert {**found, "calibration": None} == {**before, "calibration": None}
    written = json.loads((out / "calibration.json").read_text())
    assert written["settings"]["split"] == "validation" and written["settings"]["raw_scores"]
    boxes = written["fitted"]["detect"]
    assert boxes["ece"]["after"]["value"] < boxes["ece"]["before"]["value"] and boxes["ece"]["after"]["n"] == 40
    assert sum(bin_["n"] for bin_ in boxes["reliability"]["before"]) == boxes["n"] > 40
    assert 0.05 < boxes["min_score"] < 0.5
    said = capsys.readouterr().out
    assert f"boxes are kept from a score of {boxes['min_score']:.2f} on" in said
    assert "boxes " in said and "count: left as it is: " in said and f"Numbers: {out / 'calibration.json'}" in said

    image = scene_fields(simulate_scene(SPLIT_SEEDS["test"] + 8))["image"].convert("RGB")
    answer = load(model, "cpu").answer(image, prompt("detect"), task="detect")
    plain = load(model, "cpu")
    plain.processor.calibration = None
    raw = plain.answer(image, prompt("detect"), task="detect")
    assert isinstance(answer, ScoredAnswer) and isinstance(raw, ScoredAnswer) and answer == raw and answer.scores
    assert answer.calibrated and not raw.calibrated
    assert load(model, "cpu").min_score == round(boxes["min_score"], 4) and plain.min_score == 0
    assert answer.scores == pytest.approx([calibrated(one, found["calibration"]["detect"]) for one in raw.scores])
    # It can be fitted again, from the same probabilities: what is in the processor has no part in it.
    assert main(["calibrate", str(model), *arguments]) == 0
    assert processor(model) == found


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["MODEL", "DATA", "--split", "test"], "split: found test, which scores are reported of; expected another"),
        (["MODEL", "DATA/test-00000-of-00001.parquet"], "split: found test, which scores are reported of"),
        (["MODEL", "nowhere"], "nowhere: there is no such folder"),
        (
            ["someone/model", "DATA"],
            "someone/model: found no folder; expected one, whose processor gets the calibration",
        ),
        (["BARE", "DATA"], "bare: found no processor_config.json; expected a processor of its own"),
        (["MODEL", "DATA", "--tasks", "describe"], "--tasks: found 'describe'; expected of count, localize"),
        (["MODEL", "DATA", "--limit", "0"], "--limit: found 0; expected at least 1"),
    ],
)
def test_what_cannot_be_calibrated_is_said_in_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_model(tmp_path / "tiny")
    write(tmp_path / "data")
    shutil.copytree(NANO_SSDD, tmp_path / "bare", ignore=shutil.ignore_patterns("processor_config.json"))
    before = (tmp_path / "tiny" / "processor_config.json").read_bytes()
    places = {"MODEL": "tiny", "DATA": "data", "BARE": "bare"}
    given = [
        str(tmp_path.joinpath(places[head], *rest)) if (head := word.partition("/")[0]) in places else word
        for word in arguments
        for rest in [word.split("/")[1:]]
    ]
    capsys.readouterr()  # the bar of the model that was written
    assert main(["calibrate", *given, "--out", str(tmp_path / "fitted")]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert (tmp_path / "tiny" / "processor_config.json").read_bytes() == before and not (tmp_path / "fitted").exists()
