"""`fusargpt ask --json`, `--out` and `--device`: numbers at known places, and pictures that are not written over."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fusargpt.cli.main import main
from fusargpt.geo.mapping import WGS84, project
from fusargpt.inference import predict
from fusargpt.inference.answer_boxes import AnswerBoxes
from fusargpt.inference.confidences import ScoredAnswer
from fusargpt.inference.counts import CountDistribution
from tests.fusargpt.scenes.scenes import CRS, TRANSFORM, write_scene
from tests.tiny import tiny_model, tiny_processor

# The tiny model sees 100 x 100 pixels as 96 x 96: 24 there are 25 of the file.
SEEN = ScoredAnswer('[{"bbox_2d": [24, 48, 72, 60], "label": "ship"}]', (0.75,))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ask")
    write_scene(path / "chip.tif", side=100, ships=((20, 30, 32, 36),))
    tiny_model().save_pretrained(path / "model")
    tiny_processor().save_pretrained(path / "model")
    return path


@pytest.fixture
def boxed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predict.FusarGpt, "answer", lambda *_: SEEN)


def run(folder: Path, *arguments: object, image: str = "chip.tif") -> int:
    model = ("--model", folder / "model", "--max-new-tokens", 4)
    return main(["ask", *map(str, (folder / image, *arguments, *model))])


def test_one_json_object_has_the_boxes_in_pixels_and_on_earth(
    boxed: None, folder: Path, capsys: pytest.CaptureFixture[str]
):
    assert run(folder, "--task", "detect", "--json") == 0
    output = capsys.readouterr()
    (line,) = output.out.splitlines()
    told = json.loads(line)
    assert told["answer"] == SEEN and told["question"].startswith("Detect all ships") and told["task"] == "detect"
    assert told["size"] == [100, 100] and told["seen"] == [96, 96] and told["problems"] == []
    assert told["read_as"]["stored"] == "decibels" and told["prior"] is None and told["place"]["crs"] == CRS
    (box,) = told["boxes"]
    assert box["label"] == "ship" and box["score"] == 0.75 and box["seen"] == [24, 48, 72, 60]
    assert box["relative"] == [0.25, 0.5, 0.75, 0.625] and box["pixels"] == [25, 50, 75, 62.5]
    # 50 x 12.5 pixels of 10 m, on the ground longer by what UTM shrinks, half a part in a thousand at most.
    assert box["length_m"] == pytest.approx(500, rel=5e-4) and box["width_m"] == pytest.approx(125, rel=5e-4)
    expected = project(CRS, WGS84, np.array([[TRANSFORM.c + 250, TRANSFORM.f - 500]]))[0]
    corners = np.array(box["geometry"]["coordinates"][0])
    assert np.abs(corners - expected).max(1).min() < 1e-6
    assert told["place"]["bounds"][0] < box["centre"][0] < told["place"]["bounds"][2]


def test_a_picture_of_the_image_with_its_boxes(
    boxed: None, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "boxes.png"
    assert run(folder, "--task", "detect", "--out", out) == 0
    said = capsys.readouterr().err
    assert "in pixels of the file:\n  ship: 25, 50 to 75, 62, score 0.75\n" in said
    picture = np.asarray(Image.open(out).convert("RGB"))
    # 100 pixels are drawn as 1,000; the line runs outside of the box.
    top = int(np.argmax((picture != 255).any(2).all(1)))
    assert picture.shape[1] == 1000 and tuple(picture[top + 560, 248]) == (255, 140, 60)
    assert run(folder, "--task", "detect", "--out", out) == 2
    assert f"{out}: exists already; remove it or choose another --out" in capsys.readouterr().err


def test_what_other_tasks_say_is_a_value(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    expected = {"count": ("3 ships", 3), "localize": ("5, 1", [1, 5]), "classify": ("Ship.", "ship")}
    for task, (answer, value) in expected.items():
        monkeypatch.setattr(predict.FusarGpt, "answer", lambda *_, answer=answer: ScoredAnswer(answer))
        assert run(folder, "--task", task, "--json") == 0
        told = json.loads(capsys.readouterr().out)
        assert told["value"] == value and told["boxes"] is None and told["problems"] == []
    monkeypatch.setattr(predict.FusarGpt, "answer", lambda *_: ScoredAnswer("many"))
    assert run(folder, "--task", "count", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["value"] is None and "no whole number" in told["problems"][0]


def test_a_picture_without_a_place_has_pixels_alone(
    boxed: None, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (100, 100), np.uint8)).save(tmp_path / "chip.png")
    assert main(["ask", str(tmp_path / "chip.png"), "Where?", "--json", "--model", str(folder / "model")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (
        told["place"] is None
        and told["task"] is None
        and "geometry" not in told["boxes"][0]
        and told["boxes"][0]["pixels"][0] == 25
    )


def test_boxes_beside_the_image_are_told_and_others_clipped():
    answer = ScoredAnswer(
        '[{"bbox_2d": [120, 0, 130, 9], "label": "ship"}, {"bbox_2d": [100, 90, -10, 112], "label": "ship"}]',
        (0.5, 0.25),
    )
    found = AnswerBoxes.of(answer, (112, 112), (56, 112))
    (box,) = found.boxes
    assert box.pixels == (0, 90, 50, 112) and box.score == 0.25
    assert not found.problems and found.beside == [
        "box 1: 'ship' at [120.0, 0.0, 130.0, 9.0]: no part of it lies on the image"
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--out", "boxes.jpg"], "--out: found boxes.jpg; expected a name that ends in .png"),
        (["--out", "nowhere/boxes.png"], "nowhere/boxes.png: cannot be written"),
        (["--device", "abacus"], "device: found 'abacus', which torch cannot use"),
    ],
)
def test_what_does_not_fit_is_one_line(
    arguments: list[str], said: str, folder: Path, capsys: pytest.CaptureFixture[str]
):
    assert run(folder, "--task", "detect", *arguments) == 2
    output = capsys.readouterr()
    assert said in output.err and output.out == "" and "Traceback" not in output.err


COUNTED = ScoredAnswer("3", (), 0.4, True, CountDistribution(((2, 0.3), (3, 0.4), (4, 0.3))))


def test_how_sure_the_model_was_is_told(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(predict.FusarGpt, "answer", lambda *_: COUNTED)
    assert run(folder, "--task", "count", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["confidence"] == 0.4 and told["calibrated"] and told["interval"] == [2, 4] and told["withheld"] is None
    assert run(folder, "--task", "count") == 0
    said = capsys.readouterr().err
    assert "Confidence 0.40 (calibrated); 90 % of its probability lies from 2 to 4\n" in said


def test_an_answer_below_the_least_confidence_is_cannot_tell(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(predict.FusarGpt, "answer", lambda *_: COUNTED)
    assert run(folder, "--task", "count", "--abstain", 0.41) == 0
    output = capsys.readouterr()
    assert output.out == "cannot tell\n" and "Confidence in '3' 0.40 (calibrated)\n" in output.err
    assert run(folder, "--task", "count", "--abstain", 0.41, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["answer"] == "cannot tell" and told["withheld"] == "3" and told["value"] is None
    assert told["confidence"] == 0.4 and not told["problems"]
    assert run(folder, "--task", "count", "--abstain", 0.4) == 0
    assert capsys.readouterr().out == "3\n"


def test_boxes_that_are_withheld_are_not_drawn(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    unsure = ScoredAnswer(str(SEEN), SEEN.scores, 0.75)
    monkeypatch.setattr(predict.FusarGpt, "answer", lambda *_: unsure)
    out = tmp_path / "none.png"
    assert run(folder, "--task", "detect", "--abstain", 0.9, "--json", "--out", out) == 0
    assert json.loads(capsys.readouterr().out)["boxes"] is None
    assert (np.asarray(Image.open(out).convert("RGB")) != (255, 140, 60)).any(2).all()


@pytest.mark.parametrize("least", ["-0.1", "1.1", "nan"])
def test_a_least_confidence_that_is_none(least: str, folder: Path, capsys: pytest.CaptureFixture[str]):
    assert run(folder, "--task", "count", f"--abstain={least}") == 2
    assert f"--abstain: found {least}; expected 0 to 1" in capsys.readouterr().err
