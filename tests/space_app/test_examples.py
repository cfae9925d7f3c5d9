"""The examples of the page: what the model that the page asks makes of them."""

import json

import pytest

from fusargpt.checkpoints import DEFAULT
from fusargpt.geo.image import read_image
from fusargpt.geo.prior import load_prior
from fusargpt.inference.loading import load
from fusargpt.inference.predict import FusarGpt
from fusargpt.metrics.detection import matched_overlaps
from fusargpt.simulator.records import SPLIT_SEEDS, answer
from fusargpt.simulator.simulated_scene import simulate_scene
from fusargpt.tasks.answers import parse_boxes
from fusargpt.tasks.prompts import prompt
from scripts.make_examples import EXAMPLES as MADE
from space_app.fields import EXAMPLES


@pytest.fixture(scope="module")
def predictor() -> FusarGpt:
    return load(DEFAULT)


def ask(predictor: FusarGpt, name: str, task: str, target: str) -> str:
    image, prior = read_image(EXAMPLES / f"{name}.tif"), load_prior(EXAMPLES / f"{name}.npz")
    return predictor.answer(image, prompt(task, target), prior)


@pytest.mark.slow
def test_counts_are_what_the_labels_say(predictor: FusarGpt) -> None:
    examples: list[dict[str, str]] = json.loads((EXAMPLES / "examples.json").read_text())
    assert [example["image"] for example in examples] == [f"{made.name}.tif" for made in MADE]
    for example, made in zip(examples, MADE, strict=True):
        assert ask(predictor, made.name, "count", example["target"]) == example["caption"].split()[0], made.name


@pytest.mark.slow
def test_the_first_question_of_each_example_is_answered_as_the_truth_has_it(predictor: FusarGpt) -> None:
    for made in MADE:
        true = answer(simulate_scene(SPLIT_SEEDS["test"] + made.seed), made.task, made.target)
        said = ask(predictor, made.name, made.task, made.target)
        if made.task != "detect":
            assert said == true, made.name
            continue
        found, there = ([box for box, _ in parse_boxes(text).value] for text in (said, true))
        image = read_image(EXAMPLES / f"{made.name}.tif")
        scale = predictor.seen_size(image)[0] / image.width
        there = [[edge * scale for edge in box] for box in there]
        assert len(found) == len(there) and min(matched_overlaps(found, there)) >= 0.5, made.name
