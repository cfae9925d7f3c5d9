"""Attention in float32 inside a bfloat16 step."""

from pathlib import Path
from typing import cast

import torch
from torch.nn import functional

from tests.tiny import tiny_model, tiny_processor
from tests.trl_recipes.triplets import triplet
from trl_recipes.data.collator import TripletCollator
from trl_recipes.model.attention import WINDOWS_FLOAT32, register_sdpa_float32, sdpa_float32


def test_it_computes_in_float32_under_autocast_and_returns_the_type_it_was_given():
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 1, 2, 5, 8).bfloat16()
    exact = functional.scaled_dot_product_attention(query.float(), key.float(), value.float())
    with torch.autocast("cpu", torch.bfloat16):
        output, _ = sdpa_float32(torch.nn.Identity(), query, key, value, None, is_causal=False)
    assert output.dtype == torch.bfloat16
    assert torch.equal(output, exact.transpose(1, 2).bfloat16())


def test_a_model_in_float32_answers_as_with_sdpa():
    register_sdpa_float32()
    model = tiny_model()
    rows = [triplet(0), triplet(1)]
    batch = TripletCollator(tiny_processor())(rows)
    losses = []
    for name in ("sdpa", "sdpa_float32"):
        model.set_attn_implementation(name)
        losses.append(model(**batch).loss)
    assert torch.equal(*losses)


def test_the_windows_of_the_tower_are_in_float32_in_one_call_too():
    register_sdpa_float32()
    model = tiny_model()
    batch = TripletCollator(tiny_processor())([triplet(0), triplet(1)])
    tokens: list[torch.Tensor] = []
    for name in ("sdpa_float32", WINDOWS_FLOAT32):
        model.set_attn_implementation({"vision_config": name})
        with torch.autocast("cpu", torch.bfloat16):
            features = model.model.get_image_features(batch["pixel_values"], batch["image_grid_thw"])
        tokens.append(torch.cat(list(cast(tuple[torch.Tensor, ...], features.pooler_output))).float())
    assert model.model.language_model.config._attn_implementation == "sdpa"  # pyright: ignore[reportPrivateUsage]
    torch.testing.assert_close(*tokens, rtol=0, atol=0.02 * float(tokens[0].abs().max()))


def test_a_saved_model_does_not_ask_for_it(tmp_path: Path):
    register_sdpa_float32()
    model = tiny_model()
    model.set_attn_implementation("sdpa_float32")
    model.save_pretrained(tmp_path)
    assert "sdpa_float32" not in (tmp_path / "config.json").read_text()
