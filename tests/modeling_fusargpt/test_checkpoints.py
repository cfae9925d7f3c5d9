"""What is saved is what is loaded, from our own folders and from those of the backbones."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText, AutoProcessor

from modeling_fusargpt import FusarGptProcessor
from tests.tiny import Backbone, plain_backbone, stir_tlm, tiny_inputs, tiny_model, tiny_processor, without_prior

TLM_PARAMETERS = {
    "tlm": {"input_projection.weight", "input_projection.bias", "output_projection.weight", "output_bias"},
    "none": set(),
}
TLM_PARAMETERS["sum"] = TLM_PARAMETERS["tlm"]
TLM_PARAMETERS["concat"] = TLM_PARAMETERS["tlm"] | {"fusion_projection.weight"}


def load(model_class: Any, folder: Path, **options: Any) -> tuple[Any, dict[str, set[str]]]:
    return model_class.from_pretrained(folder, output_loading_info=True, **options)


@pytest.fixture
def stirred(backbone: Backbone):
    model = tiny_model(backbone=backbone)
    stir_tlm(model)
    return model


@pytest.fixture
def qwen(stirred: Any):
    return plain_backbone(stirred)


@torch.no_grad()
@pytest.mark.parametrize("layout", ["as published", "as in memory"])
@pytest.mark.parametrize("fusion", ["tlm", "sum", "concat", "none"])
def test_a_qwen_checkpoint_lacks_the_tlm_and_nothing_else(
    backbone: Backbone, stirred: Any, qwen: Any, tmp_path: Path, layout: str, fusion: str
):
    """Published Qwen2.5-VL checkpoints say `model.layers` and `visual`; the names in memory are others."""
    qwen.save_pretrained(tmp_path, save_original_format=layout == "as published")
    saved = load_file(tmp_path / "model.safetensors")
    assert ("model.norm.weight" in saved) == (layout == "as published" and backbone == "qwen2_5")
    model, loading = load(type(stirred), tmp_path, tlm_config={"fusion": fusion})
    assert loading["missing_keys"] == {f"model.tlm.{name}" for name in TLM_PARAMETERS[fusion]}
    assert not loading["unexpected_keys"] and not loading["mismatched_keys"]
    inputs = tiny_inputs(tiny_processor())
    expected = qwen(**without_prior(inputs)).logits
    assert torch.equal(model.eval()(**without_prior(inputs)).logits, expected)
    assert torch.equal(model(**inputs).logits, expected), "a new TLM is not the identity"


@torch.no_grad()
@pytest.mark.parametrize("layout", ["as published", "as in memory"])
def test_the_inner_model_loads_a_qwen_checkpoint_as_well(stirred: Any, qwen: Any, tmp_path: Path, layout: str):
    qwen.save_pretrained(tmp_path, save_original_format=layout == "as published")
    model, loading = load(type(stirred.model), tmp_path)
    assert loading["missing_keys"] == {f"tlm.{name}" for name in TLM_PARAMETERS["tlm"]}
    inputs = without_prior(tiny_inputs(tiny_processor()))
    assert torch.equal(model.eval()(**inputs).last_hidden_state, qwen.model(**inputs).last_hidden_state)


@torch.no_grad()
@pytest.mark.parametrize("fusion", ["tlm", "sum", "concat", "none"])
def test_a_round_trip_keeps_everything_exactly(backbone: Backbone, tmp_path: Path, fusion: str):
    model = tiny_model(backbone=backbone, tlm_config={"fusion": fusion})
    stir_tlm(model)
    model.save_pretrained(tmp_path / "first")
    loaded, loading = load(type(model), tmp_path / "first")
    loaded.save_pretrained(tmp_path / "second")
    again = type(model).from_pretrained(tmp_path / "second")
    assert not any(loading.values())
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
        assert torch.equal(again.state_dict()[name], value), name
    inputs = tiny_inputs(tiny_processor())
    assert torch.equal(loaded.eval()(**inputs).logits, model(**inputs).logits)
    first, second = (load_file(tmp_path / folder / "model.safetensors") for folder in ("first", "second"))
    assert first.keys() == second.keys()


def test_a_bfloat16_checkpoint_loads_in_either_dtype(stirred: Any, tmp_path: Path):
    stirred.to(torch.bfloat16).save_pretrained(tmp_path)
    as_saved = type(stirred).from_pretrained(tmp_path)
    widened = type(stirred).from_pretrained(tmp_path, dtype="float32")
    assert {value.dtype for value in as_saved.parameters()} == {torch.bfloat16}
    assert {value.dtype for value in widened.parameters()} == {torch.float32}
    assert torch.equal(widened.model.tlm.output_bias, stirred.model.tlm.output_bias.float())


@torch.no_grad()
def test_the_inner_model_and_the_whole_load_each_other(stirred: Any, tmp_path: Path):
    stirred.save_pretrained(tmp_path / "whole")
    inner, loading = load(type(stirred.model), tmp_path / "whole")
    assert not loading["missing_keys"]
    inner.save_pretrained(tmp_path / "inner")
    whole, loading = load(type(stirred), tmp_path / "inner")
    assert loading["missing_keys"] == {"lm_head.weight"} and not loading["unexpected_keys"]
    inputs = tiny_inputs(tiny_processor())
    expected = stirred.model(**inputs).last_hidden_state
    assert torch.equal(inner.eval()(**inputs).last_hidden_state, expected)
    assert torch.equal(whole.model.eval()(**inputs).last_hidden_state, expected)


def test_tied_embeddings_stay_tied(backbone: Backbone, tmp_path: Path):
    model = tiny_model(backbone=backbone, tie_word_embeddings=True)
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path)
    assert loaded.lm_head.weight is loaded.model.language_model.embed_tokens.weight
    assert torch.equal(loaded.lm_head.weight, model.lm_head.weight)


def test_importing_the_package_is_enough_for_the_auto_classes(stirred: Any, tmp_path: Path):
    stirred.save_pretrained(tmp_path)
    tiny_processor().save_pretrained(tmp_path)
    assert type(AutoConfig.from_pretrained(tmp_path)) is type(stirred.config)
    assert type(AutoModel.from_pretrained(tmp_path)) is type(stirred.model)
    assert type(AutoModelForImageTextToText.from_pretrained(tmp_path)) is type(stirred)
    assert type(AutoProcessor.from_pretrained(tmp_path)) is FusarGptProcessor


def test_a_checkpoint_of_the_tlm_alone_fits_into_a_backbone(backbone: Backbone, stirred: Any, tmp_path: Path):
    """Training the TLM alone need not save the backbone again."""
    save_file(stirred.model.tlm.state_dict(), tmp_path / "tlm.safetensors")
    model = tiny_model(backbone=backbone)
    model.model.tlm.load_state_dict(load_file(tmp_path / "tlm.safetensors"))
    inputs = tiny_inputs(tiny_processor())
    assert torch.equal(model(**inputs).logits, stirred(**inputs).logits)
