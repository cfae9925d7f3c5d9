"""The pipeline of transformers, with a prior and without one."""

from typing import Any

import numpy as np
import pytest
from transformers import pipeline

from tests.tiny import question, random_image, random_prior, stir_tlm, tiny_model, tiny_processor

QUESTION = "How many ships?"
IMAGE = random_image(32, 48)
OPTIONS: dict[str, Any] = {"max_new_tokens": 12, "return_full_text": False}


@pytest.fixture(scope="module")
def parts() -> tuple[Any, Any]:
    model = tiny_model()
    stir_tlm(model)
    return model, tiny_processor()


def by_the_pipeline(parts: tuple[Any, Any], prior: dict[str, np.ndarray] | None) -> str:
    model, processor = parts
    # Its types know neither conversations in `text` nor arguments of the processor.
    ask: Any = pipeline("image-text-to-text", model=model, processor=processor)
    content = [{"type": "image", "image": IMAGE}, {"type": "text", "text": QUESTION}]
    given = {} if prior is None else {"processor_kwargs": {"priors": [prior]}}
    (answer,) = ask(text=[{"role": "user", "content": content}], **given, **OPTIONS)
    return answer["generated_text"]


def by_the_model(parts: tuple[Any, Any], prior: dict[str, np.ndarray] | None) -> str:
    model, processor = parts
    priors = None if prior is None else [prior]
    inputs = processor(images=[IMAGE], text=[question(QUESTION)], priors=priors, return_tensors="pt")
    tokens = model.generate(**inputs, max_new_tokens=12, do_sample=False)
    return processor.decode(tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


@pytest.mark.parametrize("prior", [None, random_prior(6)], ids=["without", "with"])
def test_the_pipeline_answers_as_the_model_does(parts: tuple[Any, Any], prior: Any):
    assert by_the_pipeline(parts, prior) == by_the_model(parts, prior)


def test_the_pipeline_heeds_the_prior(parts: tuple[Any, Any]):
    assert by_the_pipeline(parts, random_prior(6)) != by_the_pipeline(parts, None)


QUESTIONS = (QUESTION, "Where?", "Describe the land around the harbour in one sentence.", "An aircraft?", "Why?")


@pytest.mark.parametrize("prior", [None, random_prior(6)], ids=["without", "with"])
def test_a_pipeline_in_batches_answers_as_one_by_one(parts: tuple[Any, Any], prior: Any):
    model, processor = parts
    ask: Any = pipeline("image-text-to-text", model=model, processor=processor)
    chats = [
        [{"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": text}]}]
        for image, text in zip((random_image(32, 32 + 8 * row, row) for row in range(5)), QUESTIONS, strict=True)
    ]
    given = {} if prior is None else {"processor_kwargs": {"priors": [prior]}}
    found = [
        [answer[0]["generated_text"] for answer in ask(text=chats, batch_size=size, **given, **OPTIONS)]
        for size in (4, 1)
    ]
    assert found[0] == found[1] and len(set(found[0])) > 1
