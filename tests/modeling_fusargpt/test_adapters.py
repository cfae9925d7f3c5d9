"""LoRA by peft, with and without the TLM among the modules that train in full."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import BatchFeature

from tests.tiny import Backbone, tiny_inputs, tiny_model, tiny_processor

LANGUAGE_MODEL_LINEAR = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
ADAPTED_LAYERS = 2 * 7


@pytest.fixture(scope="module")
def inputs():
    return tiny_inputs(tiny_processor())


def trained_adapter(backbone: Backbone, inputs: BatchFeature, **options: Any) -> Any:
    config = LoraConfig(r=4, lora_alpha=8, target_modules=LANGUAGE_MODEL_LINEAR, task_type="CAUSAL_LM", **options)
    model = get_peft_model(tiny_model(backbone=backbone), config)
    optimizer = torch.optim.SGD([value for value in model.parameters() if value.requires_grad], lr=1.0)
    for _ in range(2):
        model(**inputs, labels=inputs["input_ids"]).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


@torch.no_grad()
def test_lora_with_the_tlm_saves_reloads_and_merges_without_a_lost_key(
    backbone: Backbone, inputs: BatchFeature, tmp_path: Path
):
    with torch.enable_grad():
        trained = trained_adapter(backbone, inputs, modules_to_save=["tlm"])
    expected = trained(**inputs).logits
    base = tiny_model(backbone=backbone)
    assert (expected - base(**inputs).logits).abs().max() > 1e-3
    assert trained.base_model.model.model.tlm.modules_to_save["default"].output_bias.abs().max() > 0

    trained.save_pretrained(tmp_path / "adapter")
    saved = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    of_tlm = {name.split("tlm.")[1] for name in saved if ".tlm." in name}
    assert of_tlm == set(base.model.tlm.state_dict())
    assert len([name for name in saved if "lora_" in name]) == 2 * ADAPTED_LAYERS
    assert len(saved) == len(of_tlm) + 2 * ADAPTED_LAYERS

    reloaded = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    torch.testing.assert_close(reloaded(**inputs).logits, expected, atol=1e-6, rtol=0)

    merged = reloaded.merge_and_unload()
    torch.testing.assert_close(merged(**inputs).logits, expected, atol=1e-5, rtol=0)
    merged.save_pretrained(tmp_path / "merged")
    loaded: Any = type(base).from_pretrained(tmp_path / "merged", output_loading_info=True)
    alone, loading = loaded
    assert not any(loading.values())
    assert alone.state_dict().keys() == tiny_model(backbone=backbone).state_dict().keys()
    torch.testing.assert_close(alone.eval()(**inputs).logits, expected, atol=1e-5, rtol=0)


@torch.no_grad()
def test_lora_alone_leaves_the_tlm_as_it_was(backbone: Backbone, inputs: BatchFeature):
    with torch.enable_grad():
        trained = trained_adapter(backbone, inputs)
    tlm = trained.base_model.model.model.tlm
    for name, value in tiny_model(backbone=backbone).model.tlm.state_dict().items():
        assert torch.equal(tlm.state_dict()[name], value), name


@torch.no_grad()
def test_lora_inside_the_tlm_takes_part(backbone: Backbone, inputs: BatchFeature):
    """The TLM must call its layers, not read their weights, or an adapter on them would be silent."""
    model = get_peft_model(
        tiny_model(backbone=backbone), LoraConfig(r=2, target_modules=r".*tlm\.(input|output)_projection")
    )
    before = model(**inputs).logits
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.fill_(0.5)
    assert (model(**inputs).logits - before).abs().max() > 1e-3


@torch.no_grad()
def test_generation_with_an_adapter_takes_the_prior(backbone: Backbone, inputs: BatchFeature):
    with torch.enable_grad():
        trained = trained_adapter(backbone, inputs, modules_to_save=["tlm"])
    tokens_seen = []
    tlm = trained.base_model.model.model.tlm
    tlm.register_forward_hook(lambda module, arguments, output: tokens_seen.append(output.shape[-2]))
    trained.generate(**inputs, max_new_tokens=3, do_sample=False, num_beams=2)
    assert tokens_seen == [24]
