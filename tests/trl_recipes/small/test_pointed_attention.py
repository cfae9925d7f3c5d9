"""Heads that are taught where to look: the loss is theirs, exactly, and the object is the one that the answer says."""

from pathlib import Path

import pytest
import torch

from modeling_fusargpt import FusarGptForConditionalGeneration, FusarGptProcessor
from trl_recipes.small.dense_training import load
from trl_recipes.small.pointed_attention import HEADS, PointedAttention
from trl_recipes.small.pretrain_pointing import DensePointing
from trl_recipes.small.sizes import MINI, TOKEN_PIXELS


def test_the_loss_is_that_of_the_kept_heads_attention(mini: Path) -> None:
    language = FusarGptForConditionalGeneration.from_pretrained(mini, dtype="float32").model.language_model
    inputs = torch.randint(100, 200, (2, 12))
    plain = language(input_ids=inputs).last_hidden_state
    language.set_attn_implementation("eager")
    attentions = language(input_ids=inputs, output_attentions=True).attentions
    watch = PointedAttention(language, (1, 4))
    torch.testing.assert_close(language(input_ids=inputs).last_hidden_state, plain, atol=1e-5, rtol=1e-4)
    rows, positions, looked_at = torch.tensor([[0, 0, 1], [5, 11, 7], [2, 11, 0]])
    loss = watch.loss(rows, positions, looked_at)
    paid = torch.stack([attentions[layer][rows, :HEADS, positions, looked_at] for layer in (1, 4)])
    torch.testing.assert_close(loss, -paid.log().mean(), atol=1e-4, rtol=1e-4)
    loss.backward()
    moved = {
        name
        for name, value in language.named_parameters()
        if value.grad is not None and value.grad.abs().max() > 1e-12 and "q_proj.weight" in name
    }
    assert moved == {f"layers.{layer}.self_attn.q_proj.weight" for layer in range(5)}
    # The other heads of the last of these layers are left alone.
    gradient = language.layers[4].self_attn.q_proj.weight.grad.unflatten(0, (MINI.text_heads, -1))
    assert gradient[:HEADS].any() and not gradient[HEADS:].any()


def test_it_looks_at_the_token_of_the_box_that_is_said(mini: Path) -> None:
    model, processor = load(mini, "sdpa", seed=0)
    pointing = DensePointing(model, processor, MINI)
    boxes = torch.tensor([[0, 0, 27, 28], [28, 0, 56, 10], [300, 310, 336, 336], [100, 56, 140, 84]])
    centres = [((y1 + y2) / 2, (x1 + x2) / 2) for x1, y1, x2, y2 in boxes.tolist()]
    expected = [int(y // TOKEN_PIXELS) * MINI.grid + int(x // TOKEN_PIXELS) for y, x in centres]
    assert pointing.tokens_of(boxes.flatten()).tolist() == [token for token in expected for _ in range(4)]


def test_near_numbers_begin_near(mini: Path) -> None:
    tokenizer = FusarGptProcessor.from_pretrained(mini).tokenizer
    numbers = tokenizer.convert_tokens_to_ids([str(number) for number in range(MINI.image_size + 1)])
    weight = FusarGptForConditionalGeneration.from_pretrained(mini).get_input_embeddings().weight.detach()
    waves = torch.nn.functional.normalize(weight[numbers][:, : MINI.text_width // 2], dim=-1)
    alike = waves @ waves.T
    assert alike[100, 101] > alike[100, 103] > alike[100, 110] > 0.2
    assert alike.fill_diagonal_(0).max() < 0.999
    assert weight[numbers].std() == pytest.approx(weight.std().item(), rel=0.05)
