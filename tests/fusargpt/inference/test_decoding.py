"""The batch that rows leave and join, with drafts or without, answers what `generate` answers of each row alone."""

from typing import Any

import pytest
import torch
from transformers.cache_utils import DynamicLayer

from fusargpt.inference.decoding import GrowingLayer
from fusargpt.inference.predict import FusarGpt
from tests.fusargpt.inference.test_predict import make_prior
from tests.tiny import Backbone, random_image, stir_tlm, tiny_model, tiny_processor

QUESTIONS = [
    "How many ships are there?",
    "Describe this image.",
    "Where?",
    "Which class is it?",
    "Detect all ships.",
    "?",
]


@pytest.fixture(scope="module")
def predictor(backbone: Backbone) -> FusarGpt:
    model = tiny_model(seed=1, backbone=backbone)
    stir_tlm(model)
    return FusarGpt(model, tiny_processor())


def generated(predictor: FusarGpt, image: Any, question: str, prior: Any, count: int) -> list[int]:
    """As transformers decodes it."""
    arrays = prior and {"prior_embeddings": prior.embeddings, "prior_positions": prior.positions}
    message: dict[str, Any] = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}
    prompt = predictor.processor.apply_chat_template([message], add_generation_prompt=True)
    features = predictor.processor(images=[image], text=[prompt], priors=[arrays], return_tensors="pt")
    model: Any = predictor.model
    with torch.inference_mode():
        tokens = model.generate(**features, max_new_tokens=count, do_sample=False)
    return tokens[0, features["input_ids"].shape[1] :].tolist()


def test_rows_that_share_images_and_end_apart_answer_as_alone(predictor: FusarGpt, monkeypatch: pytest.MonkeyPatch):
    images = [random_image(40, 56), random_image(64, 32, seed=1)]
    priors = [make_prior(5), None]
    asked = [(images[place % 2], question, priors[place % 2]) for place, question in enumerate(QUESTIONS)]
    # The same image with another prior is another one.
    asked.append((images[0], QUESTIONS[0], make_prior(4, seed=3)))
    count = 90
    free = [generated(predictor, *each, count) for each in asked]
    # Tokens that some answers hold, so that rows end at different steps.
    ends = [answer[place] for answer, place in zip(free, (3, 20, 70), strict=False)]
    monkeypatch.setattr(predictor.model.generation_config, "eos_token_id", ends)
    expected = [generated(predictor, *each, count) for each in asked]
    assert len({len(answer) for answer in expected}) > 2
    columns = [list(column) for column in zip(*asked, strict=True)]
    for batch_size in (2, 3, 7):
        images, questions, priors = columns
        assert predictor.answer_tokens(images, questions, priors, count, batch_size) == expected


def test_places_are_taken_as_answers_end(predictor: FusarGpt, monkeypatch: pytest.MonkeyPatch):
    """And no question is taken before there is a place for it, but for the one that is next."""
    image, prior, count = random_image(40, 56), make_prior(5), 24
    free = [generated(predictor, image, question, prior, count) for question in QUESTIONS]
    ends = [answer[place] for answer in free for place in (3, 25)]
    monkeypatch.setattr(predictor.model.generation_config, "eos_token_id", ends)
    monkeypatch.setattr(predictor.model.generation_config, "min_new_tokens", 20)
    expected = [generated(predictor, image, question, prior, count) for question in QUESTIONS]
    found = predictor.answer_tokens([image.copy() for _ in QUESTIONS], QUESTIONS, [prior] * len(QUESTIONS), count, 2)
    assert found == expected and len({len(answer) for answer in found}) > 1


def test_an_image_is_encoded_once_for_its_questions(predictor: FusarGpt, monkeypatch: pytest.MonkeyPatch):
    encoded, forward = [], predictor.model.model.visual.forward

    def counted(*args: Any, **kwargs: Any):
        encoded.append(len(kwargs["grid_thw"]))
        return forward(*args, **kwargs)

    monkeypatch.setattr(predictor.model.model.visual, "forward", counted)
    images, prior = [random_image(40, 56), random_image(40, 56, seed=1)], make_prior(5)
    predictor.answer_tokens([images[0], images[1], images[0]], QUESTIONS[:3], [prior] * 3, 2)
    assert encoded == [2]


def test_what_generation_configurations_ask_for_is_done(predictor: FusarGpt, monkeypatch: pytest.MonkeyPatch):
    """Published ones of Qwen2.5-VL penalise repetitions, also where decoding is greedy."""
    image, prior = random_image(40, 56), make_prior(5)
    plain = predictor.answer_tokens([image], ["Where?"], [prior], 30)
    monkeypatch.setattr(predictor.model.generation_config, "repetition_penalty", 1.5)
    penalised = predictor.answer_tokens([image], ["Where?"], [prior], 30)
    assert penalised == [generated(predictor, image, "Where?", prior, 30)]
    assert penalised != plain


def test_a_growing_layer_holds_what_a_cache_that_copies_holds():
    generator = torch.Generator().manual_seed(0)
    copying, growing = DynamicLayer(), DynamicLayer()
    for layer in (copying, growing):
        layer.update(*torch.randn(2, 3, 2, 5, 4, generator=torch.Generator().manual_seed(1)))
    growing = GrowingLayer(growing)
    for step in range(150):
        new = torch.randn(2, 3 if step <= 80 else 2, 2, 1, 4, generator=generator)
        for ours, theirs in zip(growing.update(*new), copying.update(*new), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
        if step == 80:
            for layer in (copying, growing):
                layer.batch_select_indices(torch.tensor([2, 0]))
    assert growing.get_seq_length() == copying.get_seq_length() == 155


@pytest.mark.parametrize(("theirs", "unused"), [(3, 0), (3, 2), (9, 0), (9, 4), (200, 5)])
def test_rows_that_join_a_layer_end_where_its_rows_end(theirs: int, unused: int):
    generator = torch.Generator().manual_seed(0)

    def layer(rows: int, tokens: int) -> GrowingLayer:
        made = DynamicLayer()
        made.update(*torch.randn(2, rows, 2, tokens, 4, generator=generator))
        return GrowingLayer(made)

    ours, new = layer(3, 7), layer(2, theirs)
    for tokens in (1, 1, 1):
        ours.update(*torch.randn(2, 3, 2, tokens, 4, generator=generator))
    ours.batch_select_indices(torch.tensor([2, 0]))
    before, joined = ours.keys.clone()[:, :, unused:], new.keys.clone()
    for _ in range(2):
        ours.join(new, unused)
        length = max(before.shape[2], theirs)
        assert ours.get_seq_length() == length
        assert torch.equal(ours.keys[: len(before), :, length - before.shape[2] :], before)
        assert torch.equal(ours.keys[len(before) :, :, length - theirs :], joined)
        assert ours.keys.isfinite().all() and ours.values.isfinite().all()
        before, unused = ours.keys.clone(), 0
