"""Scores of boxes: from the tokens of their coordinates and labels, the same however an answer was decoded."""

import copy
import math
import pickle
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fusargpt.checkpoints import NANO
from fusargpt.inference.confidences import Decoded, ScoredAnswer, calibrated, scored
from fusargpt.inference.counts import CountDistribution
from fusargpt.inference.loading import load
from fusargpt.inference.predict import FusarGpt
from fusargpt.simulator.records import SPLIT_SEEDS, scene_fields
from fusargpt.simulator.simulated_scene import simulate_scene
from fusargpt.tasks.answers import box_values, parse_boxes
from fusargpt.tasks.grammar import AnswerForm
from fusargpt.tasks.prompts import prompt
from modeling_fusargpt import FusarGptProcessor

TWO = '[{"bbox_2d": [1, 20, 3, 4], "label": "ship"}, {"bbox_2d": [5, 6, 7, 8], "label": "ship"}]'


def test_values_are_where_they_stand_of_the_boxes_that_are_read():
    text = f'{{"bbox_2d": [1, 2, 3], "label": "ship"}} {TWO}'
    found = box_values(text)
    assert len(found) == len(parse_boxes(text).value) == 2
    assert [[text[start:end] for start, end in spans] for spans in found] == [
        ["1", "20", "3", "4", "ship"],
        ["5", "6", "7", "8", "ship"],
    ]


def test_a_box_in_another_form_stands_there_as_a_whole():
    text = '{"label": "it\\"s", "bbox_2d": [1, 2, 3, 4]}'
    assert box_values(text) == [[(0, len(text))]] and len(parse_boxes(text).value) == 1


def letters(tokens: list[int]) -> str:
    return "".join(map(chr, tokens))


def test_a_score_is_the_geometric_mean_of_its_values_tokens():
    tokens = [ord(letter) for letter in TWO]
    probabilities = [1e-6] * len(tokens)
    (one, *_), second = box_values(TWO)
    for spans, probability in (((one,), 0.5), (box_values(TWO)[0][1:], 0.25), (second, 0.9)):
        for start, end in spans:
            probabilities[start:end] = [probability] * (end - start)
    found = scored(Decoded(tokens, [math.log(probability) for probability in probabilities]), letters)
    assert found == TWO
    # One letter of "1" at 0.5; two of "20", one each of "3" and "4" and four of "ship" at 0.25.
    assert found.scores == pytest.approx([(0.5 * 0.25**8) ** (1 / 9), 0.9])


def test_an_answer_without_boxes_has_no_scores_and_text_is_stripped():
    found = scored(Decoded([ord(letter) for letter in " None "], [0.0] * 6), letters)
    assert found == "None" and found.scores == ()


def letters_at(text: str, *probabilities: float) -> Decoded:
    return Decoded([ord(letter) for letter in text], [math.log(probability) for probability in probabilities])


@pytest.mark.parametrize("task", ["count", "localize", "classify", "detect"])
def test_the_confidence_of_an_answer_that_is_right_as_a_whole_is_its_probability(task: str):
    found = scored(letters_at("12", 0.5, 0.8), letters, task)
    assert found.confidence == pytest.approx(0.4) and not found.calibrated


@pytest.mark.parametrize("task", ["describe", None])
def test_that_of_other_texts_does_not_fall_with_their_length(task: str | None):
    assert scored(letters_at("12", 0.5, 0.8), letters, task).confidence == pytest.approx(0.4**0.5)
    assert scored(Decoded([], []), letters, task).confidence is None


def test_that_of_boxes_is_the_mean_of_their_scores():
    found = scored(letters_at(TWO, *[0.5] * 60, *[0.9] * (len(TWO) - 60)), letters)
    assert found.confidence == pytest.approx(sum(found.scores) / 2) and len(set(found.scores)) == 2


def test_calibration_is_of_the_task_and_of_boxes_wherever_they_are():
    numbers = {"count": {"temperature": 2.0, "offset": 1.0}, "detect": {"temperature": 1.0, "offset": -1.0}}
    count = scored(letters_at("2", 0.8), letters, "count", numbers)
    # Odds of 4 to their root, times e.
    assert count.confidence == pytest.approx(2 * math.e / (1 + 2 * math.e)) and count.calibrated
    for task in ("detect", None):
        boxes = scored(letters_at(TWO, *[0.8] * len(TWO)), letters, task, numbers)
        assert boxes.scores == pytest.approx([4 / math.e / (1 + 4 / math.e)] * 2) and boxes.calibrated
    for text, task in (("2", "localize"), ("2", None), ("None", "detect"), ("Sea.", "describe")):
        plain = scored(letters_at(text, *[0.8] * len(text)), letters, task, numbers)
        assert not plain.calibrated and plain == scored(letters_at(text, *[0.8] * len(text)), letters, task)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0.05, 50), st.floats(-1000, 1000))
def test_calibration_keeps_the_order_and_stays_a_probability(one: float, other: float, temperature: float, by: float):
    numbers = {"temperature": temperature, "offset": by}
    low, high = sorted((one, other))
    assert 0 <= calibrated(low, numbers) <= calibrated(high, numbers) <= 1


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda text: pickle.loads(pickle.dumps(text))])
def test_copies_keep_the_scores(copied: Callable[[ScoredAnswer], ScoredAnswer]):
    counts = CountDistribution(((1, 1.0),))
    found = copied(ScoredAnswer("x", [0.5], 0.4, True, counts))
    assert found.scores == (0.5,) and found == "x"
    assert (found.confidence, found.calibrated, found.counts) == (0.4, True, counts)


@pytest.fixture(scope="module")
def nano() -> FusarGpt:
    return load(NANO, "cpu")


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    scenes = (simulate_scene(SPLIT_SEEDS["test"] + seed) for seed in range(12))
    return [scene_fields(scene)["image"].convert("RGB") for scene in scenes]


def test_free_and_constrained_answers_have_the_same_scores_alone_and_in_a_batch(
    nano: FusarGpt, pictures: list[Image.Image]
):
    question = prompt("detect", "ship")
    free = nano.answers(pictures, [question] * len(pictures), tasks=["detect"] * len(pictures))
    held = nano.answers(pictures, [question] * len(pictures), forms=[AnswerForm("detect", ("ship",))] * len(pictures))
    same = 0
    for first, second, picture in zip(free, held, pictures, strict=True):
        assert isinstance(first, ScoredAnswer) and isinstance(second, ScoredAnswer)
        assert len(first.scores) == len(parse_boxes(first).value) and all(0 < score <= 1 for score in first.scores)
        if first == second and first.scores:
            np.testing.assert_allclose(first.scores, second.scores, rtol=1e-4)
            same += 1
        if same == 1:
            alone = nano.answer(picture, question)
            assert isinstance(alone, ScoredAnswer) and alone.scores == pytest.approx(first.scores, rel=1e-4)
        if first == second:
            assert first.confidence == pytest.approx(second.confidence, rel=1e-4)
    assert same > 1


@pytest.mark.parametrize("task", ["count", "localize", "classify"])
def test_short_answers_have_the_same_confidences_free_and_constrained(
    nano: FusarGpt, pictures: list[Image.Image], task: str
):
    questions = [prompt(task, "ship")] * len(pictures)
    free = nano.answers(pictures, questions, tasks=[task] * len(pictures))
    # The task of a form is that of the question.
    held = nano.answers(pictures, questions, forms=[AnswerForm(task, ("ship", "aircraft"))] * len(pictures))
    same = 0
    for first, second in zip(free, held, strict=True):
        assert isinstance(first, ScoredAnswer) and isinstance(second, ScoredAnswer)
        assert first.confidence is not None and 0 < first.confidence <= 1
        if first == second:
            assert first.confidence == pytest.approx(second.confidence, rel=1e-4)
            assert (first.counts is None) == (second.counts is None) == (task != "count")
            if first.counts and second.counts:
                assert dict(first.counts.probabilities) == pytest.approx(dict(second.counts.probabilities), rel=1e-3)
                # The number with its end token: a little less than the number alone, which others may begin with too.
                assert first.confidence <= dict(first.counts.probabilities)[int(first)] + 1e-3
            same += 1
    assert same > 3


def test_a_calibrated_model_says_so_wherever_it_answers(nano: FusarGpt, pictures: list[Image.Image]):
    question = prompt("count", "ship")
    processor = copy.copy(nano.processor)
    processor.calibration = {"count": {"temperature": 2.0, "offset": 0.0}}
    (plain,) = replace(nano, processor=uncalibrated(nano)).answers(pictures[:1], [question], tasks=["count"])
    found = replace(nano, processor=processor).answer(pictures[0], question, task="count")
    assert isinstance(plain, ScoredAnswer) and isinstance(found, ScoredAnswer)
    assert found == plain and found.calibrated and not plain.calibrated
    assert plain.confidence is not None and found.confidence == pytest.approx(
        calibrated(plain.confidence, processor.calibration["count"]), rel=1e-4
    )


def uncalibrated(predictor: FusarGpt) -> FusarGptProcessor:
    processor = copy.copy(predictor.processor)
    processor.calibration = None
    return processor
