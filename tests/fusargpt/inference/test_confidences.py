"""Scores of boxes: from the tokens of their coordinates and labels, the same however an answer was decoded."""

import copy
import math
import pickle
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from fusargpt.checkpoints import NANO
from fusargpt.inference.confidences import Decoded, ScoredAnswer, scored
from fusargpt.inference.predict import FusarGpt, load
from fusargpt.simulator.records import SPLIT_SEEDS, scene_fields
from fusargpt.simulator.simulated_scene import simulate_scene
from fusargpt.tasks.answers import box_values, parse_boxes
from fusargpt.tasks.grammar import AnswerForm
from fusargpt.tasks.prompts import prompt

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


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda text: pickle.loads(pickle.dumps(text))])
def test_copies_keep_the_scores(copied: Callable[[ScoredAnswer], ScoredAnswer]):
    found = copied(ScoredAnswer("x", [0.5]))
    assert found.scores == (0.5,) and found == "x"


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
    free = nano.answers(pictures, [question] * len(pictures))
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
    assert same > 1
