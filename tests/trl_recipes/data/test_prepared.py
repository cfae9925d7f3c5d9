"""A batch that comes prepared: the same training, in which nothing is read from the device that holds the batch."""

from typing import Any

import pytest
import torch
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLVisionConfig
from transformers.utils.generic import is_flash_attention_requested

from benchmarks.waits import Waits
from modeling_fusargpt import AnyFusarGpt, FusarGptProcessor
from modeling_fusargpt.prepared import BatchPreparation, tower_arguments
from tests.tiny import Backbone, random_image, stir_tlm, tiny_model, tiny_processor
from tests.trl_recipes.triplets import assistant, triplet, user
from trl_recipes.data.collator import TripletCollator

SIZES = ((56, 56), (72, 88), (32, 104))
# Rows of three lengths, so that two are padded; windows of the second and third are cut by the edge.
ROWS = [
    {**triplet(seed), "image": random_image(*size, seed), "completion": [assistant("3 ships" * (1 + 4 * seed))]}
    for seed, size in enumerate(SIZES)
]
BACKBONES: tuple[Backbone, ...] = ("qwen2_5", "qwen3")


@pytest.fixture(scope="module")
def processor() -> FusarGptProcessor:
    return tiny_processor()


def model_to_train(backbone: Backbone, attention: str | None = None) -> AnyFusarGpt:
    model = tiny_model(backbone=backbone)
    stir_tlm(model)
    if attention is not None:
        model.set_attn_implementation(attention)
    return model.train()


def preparation(model: AnyFusarGpt) -> BatchPreparation:
    config: Any = model.config
    return BatchPreparation(model.model.visual.config, config.image_token_id)


def batches(model: AnyFusarGpt, processor: FusarGptProcessor, prior: bool = True) -> tuple[Any, Any]:
    """One batch, prepared and not."""
    collators = (TripletCollator(processor, prior=prior, prepare=prepare) for prepare in (preparation(model), None))
    prepared, plain = (collator(ROWS) for collator in collators)
    return prepared, plain


def trained_on(model: AnyFusarGpt, batch: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The losses of the answers' tokens, and the gradients of all weights."""
    model.zero_grad()
    labels = batch["labels"][:, 1:]
    logits = model(**{name: value for name, value in batch.items() if name != "labels"}).logits[:, :-1].float()
    losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), labels, reduction="none")
    losses.sum().backward()
    gradients = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    return losses.detach()[labels != -100], gradients


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("attention", [None, "sdpa", "eager"])
def test_padded_rows_give_the_same_losses_and_gradients(
    processor: FusarGptProcessor, backbone: Backbone, attention: str | None
) -> None:
    model = model_to_train(backbone, attention)
    prepared, plain = batches(model, processor)
    assert not plain["attention_mask"].all() and "prepared" not in plain
    losses, gradients = trained_on(model, prepared)
    expected, their_gradients = trained_on(model, plain)
    torch.testing.assert_close(losses, expected, rtol=1e-6, atol=1e-6)
    assert len(gradients) > 40 and gradients.keys() == their_gradients.keys()
    for name, gradient in their_gradients.items():
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-5, atol=1e-6 * float(gradient.abs().max()) + 1e-9)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_positions_are_bit_for_bit_those_of_the_model(processor: FusarGptProcessor, backbone: Backbone) -> None:
    model = model_to_train(backbone)
    prepared, plain = batches(model, processor)
    fields = ("input_ids", "mm_token_type_ids", "image_grid_thw", "attention_mask")
    expected, _ = model.model.get_rope_index(**{name: plain[name] for name in fields})
    assert torch.equal(prepared["position_ids"], expected)


@pytest.mark.parametrize("attention", [None, "sdpa"])
@pytest.mark.parametrize("backbone", BACKBONES)
@torch.no_grad()
def test_the_tower_derives_no_other_arguments(
    processor: FusarGptProcessor, backbone: Backbone, attention: str | None
) -> None:
    model = model_to_train(backbone, attention)
    prepared, _ = batches(model, processor)
    pixels, grids = prepared["pixel_values"], prepared["image_grid_thw"]
    given = model.model.visual(pixels, grids, **prepared["prepared"]["tower"]).pooler_output
    found = model.model.visual(pixels, grids).pooler_output
    windows_reordered = attention is None and isinstance(model.model.visual.config, Qwen2_5_VLVisionConfig)
    if windows_reordered:  # attended in other batches
        torch.testing.assert_close(given, found, rtol=1e-5, atol=1e-6)
    else:
        assert torch.equal(given, found)


@pytest.mark.parametrize("prior", [True, False])
def test_a_prepared_pass_reads_nothing_from_the_device(processor: FusarGptProcessor, prior: bool) -> None:
    model = model_to_train("qwen2_5")
    prepared, plain = batches(model, processor, prior)
    counts = []
    for batch in (prepared, plain):
        batch.pop("labels")
        with Waits() as waits:
            model(**batch, use_cache=False).logits.sum().backward()
        # On a CPU windows are attended by their lengths; torch's attention of packed sequences reads none.
        counts.append({place for place in waits.reads if "in_batches" not in place} | set(+waits.copies))
    assert counts[0] == set() and len(counts[1]) > 8


def test_cached_tokens_are_prepared_too(processor: FusarGptProcessor) -> None:
    model = model_to_train("qwen2_5")
    prepared, plain = batches(model, processor)
    with torch.no_grad():
        encoded: Any = model.model.get_image_features(plain["pixel_values"], plain["image_grid_thw"], return_dict=True)
    for batch in (prepared, plain):
        batch.pop("pixel_values")
        batch["mm_encoder_outputs"] = {"image": encoded}
    prepared["prepared"] = preparation(model)(prepared["input_ids"], prepared["image_grid_thw"], encodes=False)
    assert prepared["prepared"]["tower"] == {}
    losses, _ = trained_on(model, prepared)
    expected, _ = trained_on(model, plain)
    torch.testing.assert_close(losses, expected, rtol=1e-6, atol=1e-6)


def test_what_was_prepared_needs_images_and_positions(processor: FusarGptProcessor) -> None:
    model = model_to_train("qwen2_5")
    prepared, _ = batches(model, processor)
    for name in ("position_ids", "pixel_values"):
        with pytest.raises(ValueError, match="prepared: found without images and position_ids"):
            model(**{key: value for key, value in prepared.items() if key != name})


def test_generate_refuses_what_was_prepared_for_training(processor: FusarGptProcessor) -> None:
    model: Any = model_to_train("qwen2_5").eval()
    prepared, _ = batches(model, processor)
    prepared.pop("labels")
    with pytest.raises(ValueError, match="prepared: found in generate"):
        model.generate(**prepared, max_new_tokens=2)


def test_rows_of_messages_have_positions_too(processor: FusarGptProcessor) -> None:
    model = model_to_train("qwen2_5")
    rows = [{**triplet(0, "messages")}, {**triplet(1, "messages"), "messages": [user("One?"), assistant("two")]}]
    batch = TripletCollator(processor, prepare=preparation(model))(rows)
    fields = ("input_ids", "mm_token_type_ids", "image_grid_thw", "attention_mask")
    expected, _ = model.model.get_rope_index(**{name: batch[name] for name in fields})
    assert torch.equal(batch["position_ids"], expected)


def test_windows_stand_together_where_they_are_attended_together() -> None:
    config = model_to_train("qwen2_5").model.visual.config
    assert is_flash_attention_requested(config)
    ends: Any = tower_arguments(config, torch.tensor([[1, 18, 22]]))["cu_window_seqlens"]
    lengths = ends.diff().tolist()
    assert lengths == sorted(lengths, reverse=True)
