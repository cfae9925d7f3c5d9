import threading
from itertools import pairwise

import pytest

from fusargpt.errors import InputError
from fusargpt.inference.predict import FusarGpt
from space_app.streaming import stream_answer
from tests.tiny import random_image

IMAGE = random_image(40, 56)
QUESTION = "How many ships?"


def test_the_answer_grows_to_what_the_model_says(predictor: FusarGpt):
    pieces = list(stream_answer(predictor, IMAGE, QUESTION, None, max_new_tokens=12))
    assert pieces[-1].text == predictor.answer(IMAGE, QUESTION, max_new_tokens=12)
    assert len(pieces) > 1
    assert all(len(before.text) <= len(after.text) for before, after in pairwise(pieces))
    assert [piece.final for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert not pieces[-1].out_of_time


def test_a_refused_question_raises_instead_of_waiting_for_words(predictor: FusarGpt):
    with pytest.raises(InputError, match="empty text"):
        list(stream_answer(predictor, IMAGE, " ", None, max_new_tokens=12))


def test_an_answer_ends_with_its_time(predictor: FusarGpt):
    last = list(stream_answer(predictor, IMAGE, QUESTION, None, max_new_tokens=80, seconds=0))[-1]
    assert last.final and last.out_of_time
    assert len(last.text) < len(predictor.answer(IMAGE, QUESTION, max_new_tokens=80))


def test_closing_the_iterator_stops_the_model(predictor: FusarGpt):
    steps = []
    hook = predictor.model.register_forward_hook(lambda *_: steps.append(1))
    before = threading.active_count()
    try:
        for _ in stream_answer(predictor, IMAGE, QUESTION, None, max_new_tokens=80):
            pass
        whole = len(steps)
        steps.clear()
        answer = stream_answer(predictor, IMAGE, QUESTION, None, max_new_tokens=80)
        next(answer)
        answer.close()
    finally:
        hook.remove()
    assert 40 < whole <= 80, "one for each token but for those that were drafted"
    assert len(steps) < whole / 2
    assert threading.active_count() == before
