"""`generate` takes what the backbone takes, caches and assistants among it, and answers as the backbone does."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import BatchFeature, DynamicCache, StaticCache

from modeling_fusargpt import AnyFusarGpt
from tests.tiny import (
    PRIOR_FIELDS,
    Backbone,
    plain_backbone,
    stir_tlm,
    tiny_inputs,
    tiny_model,
    tiny_processor,
    tiny_tokenizer,
    without_prior,
)

INPUTS = tiny_inputs(tiny_processor())


@pytest.fixture(scope="module")
def model(backbone: Backbone) -> AnyFusarGpt:
    model = tiny_model(backbone=backbone)
    stir_tlm(model)
    # Steep heads, so that rounding does not decide between two near equals.
    with torch.no_grad():
        model.lm_head.weight.mul_(50)
    return model


@pytest.fixture(scope="module")
def plain(model: AnyFusarGpt) -> Any:
    return plain_backbone(model)


def cache_name(model: Any) -> str:
    """`cache`, or what it was called up to transformers 5.23."""
    (name,) = {"cache", "past_key_values"} & set(inspect.signature(model.forward).parameters)
    return name


def modulated(model: AnyFusarGpt, inputs: BatchFeature) -> dict[str, Any]:
    """For the plain backbone: the visual tokens that the prior has modulated, in place of image and prior."""
    images = {name: inputs[name] for name in ("pixel_values", "image_grid_thw", *PRIOR_FIELDS)}
    with torch.no_grad():
        encoded = model.model.get_image_features(**images, return_dict=True)
    rest = {name: value for name, value in inputs.items() if name not in ("pixel_values", *PRIOR_FIELDS)}
    return rest | {"mm_encoder_outputs": {"image": encoded}}


def tokens(model: Any, inputs: Any, **options: Any) -> list[int]:
    found = model.generate(**inputs, max_new_tokens=6, do_sample=False, **options)
    return found[0].tolist()


def dynamic(model: AnyFusarGpt) -> dict[str, Any]:
    return {cache_name(model): DynamicCache(config=model.config.get_text_config())}


def old_name(model: AnyFusarGpt) -> dict[str, Any]:
    return {"past_key_values": DynamicCache(config=model.config.get_text_config())}


def static(model: AnyFusarGpt) -> dict[str, Any]:
    return {cache_name(model): StaticCache(config=model.config.get_text_config(), max_cache_len=128)}


def assistant(model: AnyFusarGpt) -> dict[str, Any]:
    return {"assistant_model": model}


def embedded(model: AnyFusarGpt) -> dict[str, Any]:
    return {"inputs_embeds": model.get_input_embeddings()(INPUTS["input_ids"])}


@pytest.mark.parametrize("name", ["forward", "prepare_inputs_for_generation"])
def test_methods_take_what_the_backbones_take(model: AnyFusarGpt, plain: Any, name: str) -> None:
    for ours, theirs in ((model, plain), (model.model, plain.model)):
        if name != "forward" and ours is model.model:
            continue
        found = inspect.signature(getattr(ours, name)).parameters
        expected = inspect.signature(getattr(theirs, name)).parameters
        beside = {*PRIOR_FIELDS, "prepared"}
        assert [key for key in found if key not in beside] == list(expected)
        assert (beside <= set(found)) == (name == "forward")


@torch.no_grad()
def test_values_are_taken_by_their_places_too(model: AnyFusarGpt, plain: Any) -> None:
    ids = INPUTS["input_ids"][:, -8:]
    mask = torch.ones_like(ids)
    assert torch.equal(model(ids, mask).logits, plain(ids, mask).logits)
    assert torch.equal(model.model(ids, mask).last_hidden_state, plain.model(ids, mask).last_hidden_state)


@pytest.mark.parametrize("mode", [dynamic, old_name, static, assistant, embedded])
def test_a_cache_or_an_assistant_that_is_passed_is_taken_as_by_the_backbone(
    model: AnyFusarGpt, plain: Any, mode: Callable[[AnyFusarGpt], dict[str, Any]]
) -> None:
    with_prior, without = tokens(model, INPUTS), tokens(model, without_prior(INPUTS))
    assert with_prior != without
    assert tokens(model, INPUTS, **mode(model)) == with_prior == tokens(plain, modulated(model, INPUTS), **mode(model))
    bare = without_prior(INPUTS)
    assert tokens(model, bare, **mode(model)) == without == tokens(plain, bare, **mode(model))


@pytest.mark.parametrize("with_prior", [True, False])
def test_a_second_turn_on_one_cache_answers_as_one_without(model: AnyFusarGpt, plain: Any, with_prior: bool) -> None:
    def turns(asked: Any, first: Any) -> tuple[list[int], dict[str, Any]]:
        cache = dynamic(model)
        spoken = torch.tensor([tokens(asked, first, **cache)])
        more = tiny_tokenizer()("<|im_end|>\n<|im_start|>user\nWhere?<|im_end|>\n", return_tensors="pt")["input_ids"]
        ids = torch.cat([spoken, more], 1)
        added = ids.shape[1] - first["input_ids"].shape[1]
        text = {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            "mm_token_type_ids": torch.nn.functional.pad(first["mm_token_type_ids"], (0, added)),
            "image_grid_thw": first["image_grid_thw"],
        }
        return tokens(asked, text, **cache), text

    first = INPUTS if with_prior else without_prior(INPUTS)
    found, text = turns(model, first)
    # All of it at once, with the image.
    assert found == tokens(model, {**first, **text})
    assert found == turns(plain, modulated(model, INPUTS) if with_prior else first)[0]
