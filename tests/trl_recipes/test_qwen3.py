"""Stages on Qwen3-VL: from a plain checkpoint to a trained TLM, with and without what makes training cheap."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForImageTextToText

from modeling_fusargpt import FusarGptQwen3ForConditionalGeneration
from tests.tiny import plain_backbone, stir_tlm, tiny_inputs, tiny_model, tiny_processor
from tests.trl_recipes.data.test_pairs import ROWS, answer_losses, dataset
from tests.trl_recipes.stages import arguments
from tests.trl_recipes.triplets import write_triplets
from trl_recipes.data.collator import TripletCollator
from trl_recipes.data.pairs import hide_other_pairs, pair_rows
from trl_recipes.model.checkpoint import load_model
from trl_recipes.model.parameters import parameter_table, part_of
from trl_recipes.model.patch_embedding import LinearPatchEmbedding
from trl_recipes.sft import main


@pytest.mark.slow
def test_stage_1_moves_the_tlm_and_nothing_else_with_and_without_a_cache(tmp_path: Path):
    published = plain_backbone(tiny_model(backbone="qwen3"))
    published.save_pretrained(tmp_path / "base")
    tiny_processor().save_pretrained(tmp_path / "base")
    write_triplets(tmp_path / "data")
    main(arguments(tmp_path, tmp_path / "whole", train="tlm"))
    main(arguments(tmp_path, tmp_path / "cached", train="tlm", save="trained", feature_cache=tmp_path / "cache"))

    whole, cached = (
        AutoModelForImageTextToText.from_pretrained(tmp_path / "whole"),
        load_model(str(tmp_path / "cached")),
    )
    assert isinstance(whole, FusarGptQwen3ForConditionalGeneration) and type(cached) is type(whole)
    for name, value in whole.named_parameters():
        if part_of(name) == "TLM":
            assert value.any() and torch.equal(cached.get_parameter(name), value), name
        else:
            assert torch.equal(published.get_parameter(name), value), name
    (shard,) = tmp_path.glob("cache/*/*.safetensors")
    # 8 images of 49 tokens of 32 float32, each with its two levels of deep-stack features.
    assert shard.stat().st_size > 3 * 8 * 49 * 32 * 4


def test_a_choice_of_deepstack_stays_with_a_tlm_that_is_saved_alone(tmp_path: Path):
    model = tiny_model(backbone="qwen3")
    stir_tlm(model)
    model.save_pretrained(tmp_path / "base")
    tiny_processor().save_pretrained(tmp_path / "base")
    write_triplets(tmp_path / "data")
    main(arguments(tmp_path, tmp_path / "tlm", train="tlm", save="trained", max_steps=1))
    # Its base may be the published model as well, which knows nothing of a TLM.
    plain_backbone(model).save_pretrained(tmp_path / "base")
    loaded = load_model(str(tmp_path / "tlm"))
    assert loaded.model.tlm.config.deepstack == loaded.config.to_dict()["tlm_config"]["deepstack"] == "modulated"


def test_a_hidden_pair_has_the_loss_that_it_has_alone():
    model, processor = tiny_model(backbone="qwen3"), tiny_processor()
    stir_tlm(model)
    hide_other_pairs(model)
    together = answer_losses(
        model, TripletCollator(processor, hide_earlier_answers=True)(list(pair_rows(dataset(ROWS), 3)))
    )
    alone = [answer_losses(model, TripletCollator(processor)([each]))[0] for each in ROWS]
    for found, group in zip(together, [(0, 2, 4), (1, 3)], strict=True):
        torch.testing.assert_close(found, torch.cat([alone[index] for index in group]), rtol=1e-6, atol=1e-6)


@torch.no_grad()
def test_the_linear_patch_embedding_adds_the_bias():
    embedding = tiny_model(backbone="qwen3").model.visual.patch_embed
    embedding.proj.bias = torch.nn.Parameter(torch.full_like(embedding.proj.weight[:, 0, 0, 0, 0], 0.5))
    patches = tiny_inputs(tiny_processor())["pixel_values"]
    torch.testing.assert_close(LinearPatchEmbedding(embedding)(patches), embedding(patches), rtol=0, atol=1e-5)


def test_every_merger_is_counted_as_merger():
    model = tiny_model(backbone="qwen3")
    visual: Any = model.model.visual
    count = sum(value.numel() for part in (visual.merger, visual.deepstack_merger_list) for value in part.parameters())
    (line,) = [line for line in parameter_table(model).splitlines() if line.startswith("merger")]
    assert f" {count:,} " in line
