"""The pipeline of transformers, with a prior and without one."""

from typing import Any

import pytest
from transformers import pipeline

from fusar_geo.prior import Prior
from modeling_fusargpt.predict import FusarGpt
from tests.tiny import random_image, random_prior, stir_tlm, tiny_model, tiny_processor

QUESTION = "How many ships?"


@pytest.fixture(scope="module")
def predictor() -> FusarGpt:
    model = tiny_model()
    stir_tlm(model)
    return FusarGpt(model, tiny_processor())


@pytest.mark.parametrize("anchors", [None, 6])
def test_the_pipeline_answers_as_the_model_does(predictor, anchors):
    image = random_image(32, 48)
    arrays = None if anchors is None else random_prior(anchors)
    prior = None if arrays is None else Prior(arrays["prior_embeddings"], arrays["prior_positions"])
    # Its types know neither conversations in `text` nor arguments of the processor.
    ask: Any = pipeline("image-text-to-text", model=predictor.model, processor=predictor.processor)
    content = [{"type": "image", "image": image}, {"type": "text", "text": QUESTION}]
    given = {} if arrays is None else {"processor_kwargs": {"priors": [arrays]}}
    (answer,) = ask(text=[{"role": "user", "content": content}], max_new_tokens=12, return_full_text=False, **given)
    assert answer["generated_text"].strip() == predictor.answer(image, QUESTION, prior, max_new_tokens=12)


def test_the_prior_changes_the_answer(predictor):
    image, arrays = random_image(32, 48), random_prior(6)
    with_prior = predictor.answer(image, QUESTION, Prior(arrays["prior_embeddings"], arrays["prior_positions"]), 12)
    assert with_prior != predictor.answer(image, QUESTION, None, 12)
