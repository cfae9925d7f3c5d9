"""Qwen3-VL's deep-stack features: left as they are, or modulated as the visual tokens are."""

from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError
from transformers import BatchFeature

from fusargpt.inference.backbones import model_class, read_config
from modeling_fusargpt import FusarGptConfig, FusarGptQwen3Config
from tests.tiny import (
    PRIOR_FIELDS,
    plain_backbone,
    stir_tlm,
    tiny_config,
    tiny_inputs,
    tiny_model,
    tiny_processor,
    tiny_qwen3_config,
    without_prior,
)

SIZES, ANCHORS = ((32, 48), (64, 24)), (6, 3)


def stirred(**tlm_config: str) -> Any:
    model = tiny_model(backbone="qwen3", tlm_config=tlm_config)
    stir_tlm(model)
    return model


@pytest.fixture(scope="module")
def inputs():
    return tiny_inputs(tiny_processor(), SIZES, ANCHORS)


def features(model: Any, inputs: Any) -> Any:
    return model.get_image_features(inputs["pixel_values"], inputs["image_grid_thw"])


@torch.no_grad()
@pytest.mark.parametrize("fusion", ["tlm", "sum", "concat"])
def test_each_level_is_fused_as_if_it_were_the_visual_tokens(inputs: BatchFeature, fusion: str):
    model = stirred(deepstack="modulated", fusion=fusion)
    plain, priors = features(model, inputs), {name: inputs[name] for name in PRIOR_FIELDS}
    modulated = model.model.modulate(plain, inputs["image_grid_thw"], **priors)
    grids = inputs["image_grid_thw"][:, 1:].tolist()
    assert len(modulated.deepstack_features) == 2
    for found, tokens in zip(
        [modulated.pooler_output, *modulated.deepstack_features],
        [plain.pooler_output, *plain.deepstack_features],
        strict=True,
    ):
        expected = model.model.tlm(torch.cat(tokens), grids, *priors.values())
        torch.testing.assert_close(torch.cat(found), expected, atol=1e-6, rtol=0)
        assert not torch.equal(torch.cat(found), torch.cat(tokens))


@torch.no_grad()
def test_untouched_features_are_the_backbones_bit_for_bit(inputs: BatchFeature):
    model = stirred(deepstack="untouched")
    expected = features(plain_backbone(model), inputs)
    priors = {name: inputs[name] for name in PRIOR_FIELDS}
    found = model.get_image_features(inputs["pixel_values"], inputs["image_grid_thw"], **priors)
    for level, plain in zip(found.deepstack_features, expected.deepstack_features, strict=True):
        assert all(torch.equal(*pair) for pair in zip(level, plain, strict=True))
    assert not torch.equal(found.pooler_output[0], expected.pooler_output[0])
    # The visual tokens, and with them the answer, follow the prior in either case; the answers differ.
    assert not torch.equal(model(**inputs).logits, model(**without_prior(inputs)).logits)
    assert not torch.equal(model(**inputs).logits, stirred(deepstack="modulated")(**inputs).logits)


@torch.no_grad()
@pytest.mark.parametrize("deepstack", ["untouched", "modulated"])
def test_features_computed_before_give_the_same_answer(inputs: BatchFeature, deepstack: str):
    model = stirred(deepstack=deepstack)
    given = {name: value for name, value in inputs.items() if name != "pixel_values"}
    given["mm_encoder_outputs"] = {"image": features(model, inputs)}
    assert torch.equal(model(**given).logits, model(**inputs).logits)


def as_dict(config: FusarGptQwen3Config) -> dict[str, Any]:
    return config.to_dict()["tlm_config"]


def test_untouched_is_the_default_and_the_choice_is_saved(tmp_path: Path):
    assert as_dict(FusarGptQwen3Config())["deepstack"] == "untouched"
    tiny_qwen3_config().save_pretrained(tmp_path)
    config, is_backbone = read_config(str(tmp_path))
    assert type(config) is FusarGptQwen3Config and as_dict(config)["deepstack"] == "modulated" and not is_backbone


def test_a_backbone_without_such_features_refuses_them():
    with pytest.raises(StrictDataclassClassValidationError, match="deepstack: found 'modulated', expected 'untouched'"):
        FusarGptConfig(tlm_config={"deepstack": "modulated"})


@pytest.mark.parametrize(("config", "other"), [(tiny_config, tiny_qwen3_config), (tiny_qwen3_config, tiny_config)])
def test_the_classes_of_one_backbone_refuse_a_checkpoint_of_the_other(tmp_path: Path, config: Any, other: Any):
    """They would read it as a model of random weights."""
    config().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=f"model_type: found '{config().model_type}', expected '{other().model_type}'"):
        model_class(other()).from_pretrained(tmp_path)
