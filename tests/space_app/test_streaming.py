import threading
from itertools import pairwise

import pytest

from fusar_geo.errors import InputError
from modeling_fusargpt.predict import FusarGpt
from space_app.streaming import stream_answer
from tests.tiny import random_image, tiny_model, tiny_processor

IMAGE = random_image(40, 56)
QUESTION = "How many ships?"


@pytest.fixture(scope="module")
def predictor() -> FusarGpt:
    return FusarGpt(tiny_model(), tiny_processor())


def test_the_answer_grows_to_what_the_model_says(predictor):
    parts = list(stream_answer(predictor, IMAGE, QUESTION, None, max_new_tokens=12))
    assert parts[-1] == predictor.answer(IMAGE, QUESTION, max_new_tokens=12)
    assert len(parts) > 1
    assert all(len(before) <= len(after) for before, after in pairwise(parts))


def test_a_refused_question_raises_instead_of_waiting_for_words(predictor):
    with pytest.raises(InputError, match="empty text"):
        list(stream_answer(predictor, IMAGE, " ", None, max_new_tokens=12))


def test_closing_the_iterator_stops_the_model(predictor):
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
    assert whole == 80
    assert len(steps) < whole / 2
    assert threading.active_count() == before
