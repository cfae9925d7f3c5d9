"""The path of other classes than ship and aircraft: annotations, manifest, dataset, and a model that is asked."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fusargpt.cli.main import main
from fusargpt.inference.backbones import known_targets
from fusargpt.tasks.answers import parse_boxes
from modeling_fusargpt import FusarGptProcessor
from tests.fusargpt.metrics.triplets import read_results, write_model
from tests.fusargpt.scenes.scenes import write_scene
from tests.fusargpt.triplets.annotated_sets import SIZE, write_coco, write_dota
from tests.tiny import tiny_processor

CLASSES = {"bridge", "oil tank"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A COCO set of bridges and oil tanks, the dataset built of it, and a tiny model that knows these two."""
    folder = tmp_path_factory.mktemp("classes")
    write_coco(folder / "set")
    assert main(["manifest", "coco", str(folder / "set"), "--out", str(folder / "m.csv")]) == 0
    whole = ["--chip-size", "0", "--missing-prior", "empty", "--workers", "0"]
    assert main(["triplets", "build", str(folder / "m.csv"), *whole, "--out", str(folder / "data")]) == 0
    write_model(folder / "model")
    plain = tiny_processor()
    FusarGptProcessor(plain.image_processor, plain.tokenizer, targets=sorted(CLASSES)).save_pretrained(folder / "model")
    return folder


def rows(place: Path, split: str) -> list[dict[str, Any]]:
    (path,) = (place / "data" / "instructions").glob(f"{split}-*.parquet")
    return pq.read_table(path).to_pylist()


def test_questions_and_answers_are_about_the_classes_of_the_annotations(place: Path) -> None:
    asked = {row["id"]: (row["prompt"][0]["content"], row["completion"][0]["content"]) for row in rows(place, "train")}
    question, answer = asked["train-a/count-bridge"]
    assert "bridges" in question and answer == "1"
    question, answer = asked["train-a/detect-oil tank"]
    assert "oil tanks" in question
    ((box, label),) = parse_boxes(answer).value
    assert label == "oil tank" and box[0] < box[2]
    assert {name.partition("/")[2] for name in asked if name.startswith("train-a")} >= {"localize-bridge"}
    # It holds two classes, and is not asked for the one.
    assert "train-a/classify" not in asked and asked["train-b/classify"][1] == "None"
    assert {item["label"] for row in rows(place, "train") for item in row["objects"]} == CLASSES


def test_a_model_is_evaluated_and_held_to_the_classes(place: Path, tmp_path: Path) -> None:
    arguments = [str(place / "model"), str(place / "data"), "--split", "validation", "--device", "cpu", "--constrained"]
    assert (
        main(["evaluate", *arguments, "--max-new-tokens", "90", "--prior", "none", "--out", str(tmp_path / "e")]) == 0
    )
    ((_, found),) = read_results(tmp_path / "e")["predictions"].items()
    assert {one["task"] for one in found} == {"count", "localize", "detect", "classify"}
    assert not [one for one in found if one["problems"]]
    said = {label for one in found if one["task"] == "detect" for _, label in parse_boxes(one["answer"]).value}
    assert said and said <= CLASSES


def test_it_is_asked_for_its_classes_and_refuses_others(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chip = str(place / "set/val2017/a.png")
    model = ["--model", str(place / "model"), "--max-new-tokens", "90"]
    assert main(["ask", chip, "--task", "detect", "--target", "oil tank", "--constrained", *model]) == 0
    assert {label for _, label in parse_boxes(capsys.readouterr().out).value} <= {"oil tank"}
    for verb in (
        ["ask", chip, "--task", "count"],
        ["batch", str(Path(chip).parent), "--task", "count", "--out", "a.jsonl"],
    ):
        assert main([*verb, *model, "--target", "ship"]) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert "target: found 'ship', which model was not trained to find; it knows bridge, oil tank" in error


def test_the_models_that_come_with_the_package_know_two_classes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chip = tmp_path / "chip.tif"
    chip.touch()
    for model in ("fusargpt-mini", "fusargpt-nano", "fusargpt-nano-ssdd", "fusargpt-nano-backbone"):
        command = ["detect", str(chip), "--target", "bridge", "--no-prior", "--model", model, "--out"]
        assert main([*command, str(tmp_path / "bridges.geojson")]) == 2
        error = capsys.readouterr().err
        assert f"found 'bridge', which {model} was not trained to find; it knows ship, aircraft" in error
        assert error.count("\n") == 1
    assert known_targets(str(Path(__file__).parents[1] / "fusargpt/checkpoints/fusargpt-nano")) == ("ship", "aircraft")


def test_a_map_of_bridges(place: Path, tmp_path: Path) -> None:
    scene = write_scene(tmp_path / "scene.tif", side=60)
    model = ["--model", str(place / "model"), "--tile", "48", "--max-new-tokens", "128", "--constrained", "--no-skip"]
    out = tmp_path / "bridges.geojson"
    assert main(["detect", str(scene), "--target", "bridge", "--no-prior", *model, "--out", str(out)]) == 0
    content = json.loads(out.read_text())
    assert content["fusargpt"]["question"] == "Detect all bridges in this image. Answer in JSON."
    assert {feature["properties"]["label"] for feature in content["features"]} <= {"bridge"}


def test_corners_of_rotated_boxes_are_in_the_dataset(tmp_path: Path) -> None:
    write_dota(tmp_path / "set")
    (tmp_path / "set/train/labelTxt/a.txt").write_text(
        "4 30 10 30 10 40 4 40 ferry 0\n30 10 40 20 30 30 20 20 bridge 0\n"
    )
    assert main(["manifest", "dota", str(tmp_path / "set"), "--out", str(tmp_path / "m.jsonl")]) == 0
    whole = ["--chip-size", "0", "--missing-prior", "empty", "--workers", "0", "--out", str(tmp_path / "data")]
    assert main(["triplets", "build", str(tmp_path / "m.jsonl"), *whole]) == 0
    row = next(row for row in rows(tmp_path, "train") if row["id"] == "train-a/count-bridge")
    with Image.open(io.BytesIO(row["image"]["bytes"])) as picture:
        factors = picture.width / SIZE[0], picture.height / SIZE[1]
    expected = {
        "bridge": [(30, 10), (40, 20), (30, 30), (20, 20)],
        "ferry": [(4, 30), (10, 30), (10, 40), (4, 40)],
    }
    for item, corners in zip(row["objects"], row["corners"], strict=True):
        wanted = [[x * factors[0], y * factors[1]] for x, y in expected[item["label"]]]
        assert np.array(corners) == pytest.approx(np.array(wanted), rel=1e-6)
        assert np.abs(np.array(item["bbox_2d"]) - np.concatenate([np.min(wanted, 0), np.max(wanted, 0)])).max() <= 0.5
