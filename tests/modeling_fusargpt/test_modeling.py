"""The model beside its backbone: the same without a prior, changed by one, and strict about bad ones."""

from pathlib import Path
from typing import Any

import pytest
import torch

from modeling_fusargpt import FusarGptProcessor
from modeling_fusargpt.modeling_fusargpt import ModulatedModel
from tests.tiny import (
    PRIOR_FIELDS,
    Backbone,
    plain_backbone,
    question,
    random_image,
    random_prior,
    stir_tlm,
    tiny_inputs,
    tiny_model,
    tiny_processor,
    without_prior,
)

FUSIONS = ["tlm", "sum", "concat"]


@pytest.fixture(scope="module")
def processor():
    return tiny_processor()


@pytest.fixture
def model(backbone: Backbone):
    model = tiny_model(backbone=backbone)
    stir_tlm(model)
    return model


@torch.no_grad()
def test_no_prior_is_the_backbone_bit_for_bit(model: Any, processor: FusarGptProcessor):
    inputs = tiny_inputs(processor, sizes=((32, 48), (64, 24)), anchors=(6, 3))
    expected = plain_backbone(model)(**without_prior(inputs)).logits
    assert torch.equal(model(**without_prior(inputs)).logits, expected)
    assert not torch.equal(model(**inputs).logits, expected)


@torch.no_grad()
@pytest.mark.parametrize("empty", ["zero anchors", "all masked", "all entries None"])
@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_prior_without_anchors_is_the_backbone_bit_for_bit(
    backbone: Backbone, processor: FusarGptProcessor, empty: str, fusion: str
):
    model = tiny_model(backbone=backbone, tlm_config={"fusion": fusion})
    stir_tlm(model)
    inputs = tiny_inputs(processor, sizes=((32, 48), (64, 24)), anchors=(6, 3))
    if empty == "all masked":
        inputs["prior_mask"] = torch.zeros_like(inputs["prior_mask"])
    elif empty == "zero anchors":
        inputs.update({name: inputs[name][:, :0] for name in PRIOR_FIELDS})
    else:
        images = [random_image(32, 48), random_image(64, 24, seed=1)]
        inputs = processor(images=images, text=[question()] * 2, priors=[None, None], padding=True, return_tensors="pt")
        assert inputs["prior_embeddings"].shape == (2, 0, 64)
    assert torch.equal(model(**inputs).logits, plain_backbone(model)(**without_prior(inputs)).logits)


@torch.no_grad()
@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_new_model_starts_as_the_backbone(backbone: Backbone, processor: FusarGptProcessor, fusion: str):
    model = tiny_model(backbone=backbone, tlm_config={"fusion": fusion})
    inputs = tiny_inputs(processor)
    assert torch.equal(model(**inputs).logits, plain_backbone(model)(**without_prior(inputs)).logits)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_new_model_learns_from_what_the_prior_says(backbone: Backbone, processor: FusarGptProcessor, fusion: str):
    """Were both layers behind the hidden one zero, the embeddings would have no influence on any gradient, ever."""
    model = tiny_model(backbone=backbone, tlm_config={"fusion": fusion})
    inputs = tiny_inputs(processor)
    gradients = []
    for embeddings in (inputs["prior_embeddings"], -inputs["prior_embeddings"]):
        model.zero_grad()
        model(**{**inputs, "prior_embeddings": embeddings}, labels=inputs["input_ids"]).loss.backward()
        given = [parameter.grad for parameter in model.model.tlm.parameters() if parameter.grad is not None]
        gradients.append(torch.cat([gradient.flatten() for gradient in given]))
    assert (gradients[0] - gradients[1]).abs().max() > 1e-6


def test_the_first_layer_starts_wide_enough_for_unit_vectors(backbone: Backbone):
    """With the backbone's 0.02 the hidden layer would start close to zero, and the modulation would hardly move."""
    first = tiny_model(backbone=backbone).model.tlm.input_projection
    for values in (first.weight, first.bias):
        assert values.abs().max() <= 1 / 64**0.5
        assert values.std().item() == pytest.approx(1 / (3 * 64) ** 0.5, rel=0.2)


@torch.no_grad()
@pytest.mark.parametrize("gaussian_grid", ["patch", "token"])
def test_visual_tokens_of_a_batch_equal_one_by_one(
    backbone: Backbone, processor: FusarGptProcessor, gaussian_grid: str
):
    model = tiny_model(backbone=backbone, tlm_config={"gaussian_grid": gaussian_grid})
    stir_tlm(model)
    sizes, anchors = ((32, 48), (64, 24), (16, 16)), (6, 0, 9)
    names = ("pixel_values", "image_grid_thw", *PRIOR_FIELDS)
    visual_tokens: Any = model.get_image_features
    inputs = tiny_inputs(processor, sizes, anchors)
    together = visual_tokens(**{name: inputs[name] for name in names}).pooler_output
    assert [len(tokens) for tokens in together] == [24, 24, 4]
    for index, (size, count) in enumerate(zip(sizes, anchors, strict=True)):
        single = processor(
            images=[random_image(*size, seed=index)],
            text=[question()],
            priors=[random_prior(count, seed=index)],
            return_tensors="pt",
        )
        (alone,) = visual_tokens(**{name: single[name] for name in names}).pooler_output
        torch.testing.assert_close(together[index], alone, atol=1e-5, rtol=0)


@torch.no_grad()
def test_several_images_in_one_text_keep_their_own_priors(model: Any, processor: FusarGptProcessor):
    images = [random_image(32, 48), random_image(32, 48, seed=1)]
    priors = [random_prior(5), random_prior(5, seed=1)]
    arguments: dict[str, Any] = {"images": [images], "text": [question(images=2)], "return_tensors": "pt"}
    true = model(**processor(**arguments, priors=priors)).logits
    swapped = model(**processor(**arguments, priors=priors[::-1])).logits
    assert (true - swapped).abs().max() > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_attention_implementations_agree(
    backbone: Backbone, processor: FusarGptProcessor, attention: str, tmp_path: Path
):
    model = tiny_model(backbone=backbone)
    stir_tlm(model)
    model.save_pretrained(tmp_path)
    inputs = tiny_inputs(processor, sizes=((32, 48), (64, 24)), anchors=(6, 3))
    loaded = type(model).from_pretrained(tmp_path, attn_implementation=attention).eval()
    assert loaded.model.language_model.config._attn_implementation == attention
    torch.testing.assert_close(loaded(**inputs).logits, model(**inputs).logits, atol=1e-4, rtol=0)


@torch.no_grad()
def test_runs_in_bfloat16(model: Any, processor: FusarGptProcessor):
    inputs = tiny_inputs(processor)
    expected = model(**inputs).logits
    logits = model.to(torch.bfloat16)(**inputs).logits
    assert logits.dtype == torch.bfloat16 and logits.isfinite().all()
    torch.testing.assert_close(logits.float(), expected, atol=0.1, rtol=0.1)


def test_trains_under_autocast(model: Any, processor: FusarGptProcessor):
    inputs = tiny_inputs(processor)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model(**inputs, labels=inputs["input_ids"]).loss.backward()
    for name, parameter in model.model.tlm.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name


def test_the_inner_model_modulates_and_trains_the_tlm(model: Any, processor: FusarGptProcessor):
    """Losses that call the inner model and apply the head themselves still train the TLM."""
    inputs = tiny_inputs(processor)
    hidden = model.model(**inputs).last_hidden_state
    assert torch.equal(model.lm_head(hidden), model(**inputs).logits)
    hidden.square().sum().backward()
    for name, parameter in model.model.tlm.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_gradient_checkpointing_gives_the_same_gradients(model: Any, processor: FusarGptProcessor, use_reentrant: bool):
    inputs = tiny_inputs(processor)
    gradients = []
    for checkpointing in (False, True):
        model.train().zero_grad()
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": use_reentrant})
        model(**inputs, labels=inputs["input_ids"]).loss.backward()
        gradients.append({name: parameter.grad.clone() for name, parameter in model.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, msg=name)


@torch.no_grad()
def test_a_tuple_is_returned_on_request(model: Any, processor: FusarGptProcessor):
    inputs = tiny_inputs(processor)
    for part in (model, model.model):
        assert torch.equal(part(**inputs, return_dict=False)[0], part(**inputs)[0])


BAD = {
    "two priors for one image": (
        {"prior_embeddings": torch.zeros(2, 6, 64)},
        r"prior_embeddings: found shape \[2, 6, 64\], expected \[1, 6, 64\]",
    ),
    "wrong width": (
        {"prior_embeddings": torch.zeros(1, 6, 32)},
        r"prior_embeddings: found shape \[1, 6, 32\], expected \[1, 6, 64\]",
    ),
    "unequal anchors": (
        {"prior_positions": torch.zeros(1, 5, 2)},
        r"prior_positions: found shape \[1, 5, 2\], expected \[1, 6, 2\]",
    ),
    "mask without batch": (
        {"prior_mask": torch.ones(6, dtype=torch.bool)},
        r"prior_mask: found shape \[6\], expected \[1, 6\]",
    ),
    "embeddings NaN": (
        {"prior_embeddings": torch.full((1, 6, 64), float("nan"))},
        "prior_embeddings: found NaN or infinity.*expected finite",
    ),
    "positions in pixels": (
        {"prior_positions": torch.full((1, 6, 2), 31.0)},
        r"prior_positions: found values from 31 to 31.*expected \(y, x\) within \[0, 1\]",
    ),
    "positions NaN": (
        {"prior_positions": torch.full((1, 6, 2), float("nan"))},
        "prior_positions: found values from nan to nan",
    ),
    "embeddings as published integers": (
        {"prior_embeddings": torch.zeros(1, 6, 64, dtype=torch.int8)},
        "prior_embeddings: found dtype torch.int8, expected a floating",
    ),
    "integer mask": (
        {"prior_mask": torch.ones(1, 6, dtype=torch.int64)},
        "prior_mask: found dtype torch.int64, expected torch.bool",
    ),
    "no mask": (
        {"prior_mask": None},
        "prior_mask: found nothing beside prior_embeddings, prior_positions, expected all three or none",
    ),
    "only a mask": (
        {"prior_embeddings": None, "prior_positions": None},
        "prior_embeddings, prior_positions: found nothing beside prior_mask",
    ),
}


@torch.no_grad()
@pytest.mark.parametrize("way", ["forward", "inner forward", "generate"])
@pytest.mark.parametrize("case", BAD)
def test_bad_priors_are_named(model: Any, processor: FusarGptProcessor, case: str, way: str):
    wrong, message = BAD[case]
    inputs = {**tiny_inputs(processor), **wrong}
    calls = {"forward": model, "inner forward": model.model, "generate": model.generate}
    with pytest.raises(ValueError, match=message):
        calls[way](**inputs)


@torch.no_grad()
@pytest.mark.parametrize("way", ["forward", "inner forward", "generate"])
def test_a_prior_without_an_image_is_an_error(model: Any, processor: FusarGptProcessor, way: str):
    text = processor(text=["hello"], return_tensors="pt")
    inputs = tiny_inputs(processor)
    priors = {name: inputs[name] for name in PRIOR_FIELDS}
    calls = {"forward": model, "inner forward": model.model, "generate": model.generate}
    with pytest.raises(ValueError, match=r"prior_embeddings: found shape \[1, 6, 64\] without pixel_values"):
        calls[way](**text, **priors)


def test_the_vision_tower_alone_has_no_tlm(model: Any):
    assert isinstance(model.model, ModulatedModel)
    assert not [name for name, _ in model.model.get_submodule("visual").named_parameters() if "tlm" in name]
