"""`generate` in its usual modes: the prior acts once, on every image, and on all sequences alike."""

from typing import Any

import pytest
import torch

from modeling_fusargpt import FusarGptProcessor
from tests.tiny import (
    PRIOR_FIELDS,
    Backbone,
    question,
    random_image,
    random_prior,
    stir_tlm,
    tiny_inputs,
    tiny_model,
    tiny_processor,
    without_prior,
)

MODES = {
    "greedy": {"do_sample": False},
    "beams": {"do_sample": False, "num_beams": 3},
    "beams returned": {"do_sample": False, "num_beams": 3, "num_return_sequences": 2},
    "uncached": {"do_sample": False, "use_cache": False},
    "static cache": {"do_sample": False, "cache_implementation": "static", "disable_compile": True},
    "chunked prefill": {"do_sample": False, "prefill_chunk_size": 8},
}


@pytest.fixture(scope="module")
def processor():
    return tiny_processor()


@pytest.fixture(scope="module")
def model(backbone: Backbone):
    model = tiny_model(backbone=backbone)
    stir_tlm(model)
    # Steep heads, so that rounding between batches does not decide between two near equals.
    with torch.no_grad():
        model.lm_head.weight.mul_(50)
    return model


def answers(model: Any, inputs: Any, **mode: Any):
    tokens = model.generate(**inputs, max_new_tokens=6, **mode)
    return tokens[:, inputs["input_ids"].shape[1] :]


@pytest.mark.parametrize("mode", MODES)
def test_a_left_padded_batch_answers_as_one_by_one(model: Any, processor: FusarGptProcessor, mode: str):
    sizes, anchors = ((32, 48), (64, 24), (16, 16)), (6, 3, 0)
    texts = [question("Count."), question("Where are the ships in this image?"), question("Describe.")]
    together = answers(model, tiny_inputs(processor, sizes, anchors, texts), **MODES[mode])
    each = MODES[mode].get("num_return_sequences", 1)
    for index, (size, count) in enumerate(zip(sizes, anchors, strict=True)):
        single = processor(
            images=[random_image(*size, seed=index)],
            text=[texts[index]],
            priors=[random_prior(count, seed=index)],
            return_tensors="pt",
        )
        alone = answers(model, single, **MODES[mode])
        in_batch = together[index * each : (index + 1) * each]
        assert torch.equal(in_batch[:, : alone.shape[1]], alone)
        assert (in_batch[:, alone.shape[1] :] == processor.tokenizer.pad_token_id).all()


def test_greedy_decoding_follows_the_forward_pass(model: Any, processor: FusarGptProcessor):
    inputs = tiny_inputs(processor)
    sequence = dict(inputs)
    expected = []
    for _ in range(4):
        token = model(**sequence).logits[:, -1].argmax(-1, keepdim=True)
        expected.append(token)
        sequence["input_ids"] = torch.cat([sequence["input_ids"], token], 1)
        sequence["attention_mask"] = torch.ones_like(sequence["input_ids"])
        sequence["mm_token_type_ids"] = torch.nn.functional.pad(sequence["mm_token_type_ids"], (0, 1))
    assert torch.equal(answers(model, inputs, do_sample=False)[:, :4], torch.cat(expected, 1))


@pytest.mark.parametrize("mode", MODES)
def test_the_prior_changes_the_answer(model: Any, processor: FusarGptProcessor, mode: str):
    inputs = tiny_inputs(processor, sizes=((32, 48), (64, 24)), anchors=(6, 3))
    assert not torch.equal(answers(model, inputs, **MODES[mode]), answers(model, without_prior(inputs), **MODES[mode]))


def test_sampled_sequences_follow_the_seed_and_differ(backbone: Backbone, processor: FusarGptProcessor):
    model = tiny_model(backbone=backbone)
    stir_tlm(model)
    inputs = tiny_inputs(processor, sizes=((32, 48), (64, 24)), anchors=(6, 3))
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(answers(model, inputs, do_sample=True, num_return_sequences=3))
    assert drawn[0].shape == (6, 6)
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
    assert len({tuple(sequence.tolist()) for sequence in drawn[0][:3]}) > 1


@pytest.mark.parametrize("mode", MODES)
def test_every_image_is_modulated_once(model: Any, processor: FusarGptProcessor, mode: str):
    inputs = tiny_inputs(processor, sizes=((32, 48), (64, 24)), anchors=(6, 3))
    tokens_seen = []
    hook = model.model.tlm.register_forward_hook(lambda module, arguments, output: tokens_seen.append(output.shape[-2]))
    try:
        answers(model, inputs, **MODES[mode])
    finally:
        hook.remove()
    assert tokens_seen == [24 + 24]


def test_the_prior_is_passed_on_in_the_first_step_only(model: Any, processor: FusarGptProcessor):
    inputs = dict(tiny_inputs(processor))
    input_ids = inputs.pop("input_ids")
    first = model.prepare_inputs_for_generation(input_ids, is_first_iteration=True, use_cache=True, **inputs)
    later = model.prepare_inputs_for_generation(input_ids, is_first_iteration=False, use_cache=True, **inputs)
    uncached = model.prepare_inputs_for_generation(input_ids, is_first_iteration=False, use_cache=False, **inputs)
    for name in ("pixel_values", *PRIOR_FIELDS):
        assert name in first and name in uncached and name not in later
