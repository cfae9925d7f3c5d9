"""The batch that rows leave and join, with drafts or without, answers what `generate` answers of each row alone."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers.cache_utils import DynamicLayer

from fusargpt.inference.beginning import Asked, Beginning
from fusargpt.inference.drafts import Context, Drafts
from fusargpt.inference.growing_layer import GrowingLayer
from fusargpt.inference.predict import FusarGpt
from fusargpt.inference.running_batch import RunningBatch
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
    monkeypatch.setattr(predictor.model.generation_config, "eos_token_id", [answer[9] for answer in free[::2]])
    expected = [generated(predictor, image, question, prior, count) for question in QUESTIONS] * 3
    taken: list[int] = []
    steps: list[int] = []
    step = RunningBatch.step
    monkeypatch.setattr(RunningBatch, "step", lambda batch: (steps.append(len(batch.rows)), step(batch)))

    def asked():
        for number, question in enumerate(QUESTIONS * 3):
            taken.append(number)
            # Another object each, so that they come one by one.
            yield Asked(image.copy(), question, prior)

    answers: dict[int, str] = {}
    for ended in replace(predictor, drafting=False).in_turn(asked(), count, 4):
        assert len(taken) <= len(answers) + 4 + 1
        answers |= ended
    decode = predictor.processor.tokenizer.decode
    assert [answers[number] for number in range(len(expected))] == [
        decode(tokens, skip_special_tokens=True).strip() for tokens in expected
    ]
    assert max(steps) == 4 and steps.count(4) > len(steps) / 2
    # In batches of four, each would have as many steps as its longest answer.
    by_batches = sum(max(map(len, expected[start : start + 4])) - 1 for start in range(0, len(expected), 4))
    assert len(steps) < 0.8 * by_batches


class Oracle(Drafts):
    """Drafts what `expected` has next, and every third time something else; notes how long its drafts are."""

    def __init__(self, expected: list[list[int]]) -> None:
        super().__init__(frozenset())
        self.expected = expected
        self.drafted: list[int] = []

    def draft(self, before: Context, most: int) -> list[int]:
        written = len(before) - 1
        # The first that may be meant, which may be another.
        answer = next(one for one in self.expected if one[:written] == before[1:])
        tokens = answer[written : written + min(most, 1 + written % 4)]
        if tokens and written % 3 == 0:
            tokens[-1] += 1 if tokens[-1] < 5 else -1
        self.drafted.append(len(tokens))
        return tokens


@pytest.mark.parametrize("penalty", [1.0, 1.5])
def test_right_and_wrong_drafts_change_no_token(penalty: float, predictor: FusarGpt, monkeypatch: pytest.MonkeyPatch):
    image, prior, count = random_image(40, 56), make_prior(5), 20
    monkeypatch.setattr(predictor.model.generation_config, "repetition_penalty", penalty)
    asked = [image.copy() for _ in QUESTIONS], QUESTIONS, [prior] * len(QUESTIONS), count
    plain = replace(predictor, drafting=False)
    # Tokens that some answers hold, so that rows end at different steps.
    free = plain.answer_tokens(*asked, 2)
    monkeypatch.setattr(predictor.model.generation_config, "eos_token_id", [free[0][7], free[1][15]])
    steps: list[int] = []
    step = RunningBatch.step
    monkeypatch.setattr(RunningBatch, "step", lambda batch: (steps.append(1), step(batch)))
    expected = plain.decoded(*asked, 2)
    undrafted = len(steps)
    oracle = Oracle([one.tokens for one in expected])
    monkeypatch.setattr(Beginning, "drafts", lambda self: oracle)
    steps.clear()
    found = predictor.decoded(*asked, 2)
    assert len(steps) < 0.9 * undrafted and max(oracle.drafted) > 1
    for ours, theirs in zip((*found, *predictor.decoded(*asked, 3)), expected * 2, strict=True):
        assert ours.tokens == theirs.tokens
        assert ours.log_probabilities == pytest.approx(theirs.log_probabilities, abs=2e-5)


def test_settings_that_count_from_the_beginning_of_a_batch_keep_others_from_joining(
    predictor: FusarGpt, monkeypatch: pytest.MonkeyPatch
):
    image, prior, count = random_image(40, 56), make_prior(5), 40
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
    image, prior, questions = random_image(40, 56), make_prior(5), ["Where?", *QUESTIONS[:2]]
    asked = [image] * 3, questions, [prior] * 3, 30
    plain = predictor.answer_tokens(*asked)
    monkeypatch.setattr(predictor.model.generation_config, "repetition_penalty", 1.5)
    expected = [generated(predictor, image, question, prior, 30) for question in questions]
    monkeypatch.setattr(predictor.model.generation_config, "eos_token_id", [expected[0][9]])
    expected = [generated(predictor, image, question, prior, 30) for question in questions]
    # Padded, with one that leaves before the others, and with one that takes its place.
    for batch_size in (3, 2, 1):
        assert predictor.answer_tokens(*asked, batch_size) == expected != plain
    assert len({len(answer) for answer in expected}) > 1


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
    before, joined = ours.held[0].clone()[:, :, unused:], new.held[0].clone()
    for _ in range(2):
        ours.join(new, unused)
        keys, values = ours.held
        length = max(before.shape[2], theirs)
        assert ours.get_seq_length() == length
        assert torch.equal(keys[: len(before), :, length - before.shape[2] :], before)
        assert torch.equal(keys[len(before) :, :, length - theirs :], joined)
        assert keys.isfinite().all() and values.isfinite().all()
        before, unused = keys.clone(), 0
