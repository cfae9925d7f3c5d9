import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from fusargpt.errors import InputError
from fusargpt.geo.image import read_image
from fusargpt.geo.prior import load_prior
from fusargpt.inference.confidences import ScoredAnswer
from fusargpt.inference.counts import CountDistribution
from fusargpt.inference.predict import FusarGpt
from fusargpt.tasks.prompts import TASKS, prompt
from space_app.demo import Demo, Question
from space_app.one_question import GivenAnswer, answers_to, priors_to_ask, summary
from space_app.streaming import Piece
from space_app.wording import note_of
from tests.space_app.conftest import MAX_NEW_TOKENS

BOX = {"bbox_2d": [20.0, 30.0, 60.0, 50.0], "label": "ship"}


def expected(predictor: FusarGpt, image: str, prior: str | None, question: str) -> str:
    given = None if prior is None else load_prior(prior)
    return predictor.answer(read_image(image), question, given, MAX_NEW_TOKENS)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_is_answered_with_the_prior(demo: Demo, predictor: FusarGpt, image: str, prior: str, task: str):
    steps = list(demo.answers(Question(image, prior, task, "aircraft")))
    _, given, (answer,) = steps[-1]
    assert given is not None and answer.text == expected(predictor, image, prior, prompt(task, "aircraft"))
    assert (answer.state, answer.anchors, len(given.embeddings)) == ("whole", 64, 64)
    assert [step[2][0].state for step in steps[:-1]] == ["writing"] * (len(steps) - 1)


def test_side_by_side_answers_with_and_without_the_prior(demo: Demo, predictor: FusarGpt, image: str, prior: str):
    *_, (_, _, answers) = demo.answers(Question(image, prior, "free", question="What is this?", compare=True))
    assert [answer.anchors for answer in answers] == [64, None]
    assert answers[0].text == expected(predictor, image, prior, "What is this?")
    assert answers[1].text == expected(predictor, image, None, "What is this?")
    assert answers[0].text != answers[1].text


def test_side_by_side_without_a_prior_is_refused():
    with pytest.raises(InputError, match="Side by side needs a prior"):
        priors_to_ask(None, compare=True)


@pytest.fixture
def said(demo: Demo, image: str):
    """What becomes of a text that the model is made to say."""

    def say(text: str, task: str, target: str = "ship", out_of_time: bool = False) -> GivenAnswer:
        def speak(*arguments: Any):
            yield Piece(text[:1])
            yield Piece(text, final=True, out_of_time=out_of_time)

        return list(answers_to(speak, demo.look(image), "?", task, target, [None], 8, 60))[-1][0]

    return say


@pytest.mark.parametrize(
    ("task", "text", "shown"),
    [
        ("count", "1", "1 ship"),
        ("count", "5", "5 ships"),
        ("count", "many", ""),
        ("localize", "9, 2", "Cells 2, 9"),
        ("localize", "None", "No cell"),
        ("localize", "left", ""),
        ("detect", json.dumps([BOX, BOX]), "2 ships"),
        ("detect", json.dumps([BOX, {**BOX, "label": "bridge"}]), "1 ship, 1 bridge"),
        ("detect", "None", "No box"),
        ("detect", "left", ""),
        ("free", json.dumps([BOX]), "1 ship"),
        ("free", "A harbour.", ""),
        ("describe", "5", ""),
    ],
)
def test_an_answer_is_summed_up_as_its_task_reads_it(said: Callable[..., Any], task: str, text: str, shown: str):
    answer = said(text, task)
    assert summary(answer) == shown
    assert bool(answer.problems) == (text in ("many", "left"))


def test_an_answer_that_was_cut_says_so_and_keeps_its_boxes(said: Callable[..., Any]):
    answer = said(json.dumps([BOX])[:-1] + ', {"bbox', "detect", out_of_time=True)
    assert answer.state == "out of time"
    assert answer.as_json()["boxes"] == [{**BOX, "score": None}]
    assert answer.problems


def test_json_has_no_boxes_where_none_were_asked_for(said: Callable[..., Any]):
    assert said("5", "count", "aircraft").as_json() == {
        "question": "?",
        "task": "count",
        "anchors": None,
        "state": "whole",
        "text": "5",
        "count": 5,
        "cells": None,
        "boxes": None,
        "least_score": 0.0,
        "confidence": None,
        "calibrated": False,
        "interval": None,
        "problems": [],
    }


def test_boxes_below_the_least_score_are_kept_but_not_shown(said: Callable[..., Any]):
    answer = replace(said(ScoredAnswer(json.dumps([BOX, BOX, BOX]), (0.9, 0.2, 0.4), 0.5, True), "detect"), least=0.4)
    assert [score for _, score in answer.shown] == [0.9, 0.4] and len(answer.boxes or ()) == 3
    assert summary(answer) == "2 ships, 1 below 0.40"
    told = answer.as_json()
    assert [box["score"] for box in told["boxes"]] == [0.9, 0.4] and told["least_score"] == 0.4
    assert told["calibrated"] and told["confidence"] == 0.5
    assert summary(replace(answer, least=0.95)) == "No box, 3 below 0.95"


def test_a_count_has_an_interval_and_the_page_says_how_sure_the_model_was(said: Callable[..., Any]):
    counts = CountDistribution(((2, 0.3), (3, 0.7)))
    answer = said(ScoredAnswer("3", (), 0.7, counts=counts), "count")
    assert answer.as_json()["interval"] == [2, 3] and not answer.calibrated
    assert "Confidence 0.70, 90 % of its probability from 2 to 3 (probabilities of tokens)." in note_of(answer, "")
    assert "Confidence" not in note_of(said("3", "count"), "")
