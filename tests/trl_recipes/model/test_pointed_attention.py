"""Heads that are taught where to look: the loss is theirs, exactly, and the object is the one that the answer says."""

import json
from pathlib import Path

import pytest
import torch

from fusargpt.errors import InputError
from modeling_fusargpt import FusarGptForConditionalGeneration, FusarGptProcessor
from tests.tiny import tiny_processor
from trl_recipes.data.pairs import pair_attention
from trl_recipes.model.pointed_attention import HEADS, BoxPlaces, PointedAttention
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


def test_what_is_hidden_is_not_looked_at(mini: Path) -> None:
    language = FusarGptForConditionalGeneration.from_pretrained(mini, dtype="float32").model.language_model
    watch = PointedAttention(language, (3,))
    inputs = torch.randint(100, 200, (1, 9))
    # Two pairs of three tokens after three shared ones.
    seen = pair_attention(torch.tensor([[0, 0, 0, 1, 1, 1, 2, 2, 2]]))
    language(input_ids=inputs, attention_mask=seen)
    apart = watch.loss(torch.tensor([0]), torch.tensor([8]), torch.tensor([1]))
    short = torch.cat([inputs[:, :3], inputs[:, 6:]], 1)
    language(input_ids=short, position_ids=torch.tensor([[0, 1, 2, 6, 7, 8]]))
    alone = watch.loss(torch.tensor([0]), torch.tensor([5]), torch.tensor([1]))
    torch.testing.assert_close(apart, alone, atol=1e-5, rtol=1e-4)


def test_it_looks_at_the_token_of_the_box_that_is_said(mini: Path) -> None:
    processor = FusarGptProcessor.from_pretrained(mini)
    boxes = [[0, 0, 27, 28], [28, 0, 56, 10], [300, 310, 336, 336], [336, 336, 336, 336], [100, 56, 140, 84]]
    centres = [((y1 + y2) / 2, (x1 + x2) / 2) for x1, y1, x2, y2 in boxes]
    tokens = [min(int(y // TOKEN_PIXELS), 11) * MINI.grid + min(int(x // TOKEN_PIXELS), 11) for y, x in centres]
    answer = json.dumps([{"bbox_2d": box, "label": "ship"} for box in boxes])
    image = "<|vision_start|>" + 144 * "<|image_pad|>" + "<|vision_end|>"
    # A number that is no coordinate is not looked for, nor a box that carries no loss, as of a question.
    texts = [f"{image}5, 6, 7, 8 ships{answer}4", f"{image}Is {answer} true?{answer}"]
    encoded = processor.tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")
    ids: torch.Tensor = encoded["input_ids"]
    labels = ids.masked_fill(encoded["attention_mask"] == 0, -100)
    asked = len(processor.tokenizer(f"{image}Is {answer} true?")["input_ids"])
    labels[1, :asked] = -100
    rows, positions, looked_at = BoxPlaces(processor)(ids, labels, torch.tensor([[1, 24, 24]] * 2))
    assert rows.tolist() == [0] * 20 + [1] * 20 and positions[20:].min() >= asked
    said = processor.tokenizer.convert_ids_to_tokens(ids[rows, positions + 1].tolist())
    assert said == [str(value) for box in boxes * 2 for value in box]
    assert (looked_at - 1).tolist() == [token for token in tokens * 2 for _ in range(4)]
    with pytest.raises(InputError, match="pointed_attention: found a tokenizer that writes numbers digit by digit"):
        BoxPlaces(tiny_processor())


def test_near_numbers_begin_near(mini: Path) -> None:
    tokenizer = FusarGptProcessor.from_pretrained(mini).tokenizer
    numbers = tokenizer.convert_tokens_to_ids([str(number) for number in range(MINI.image_size + 1)])
    weight = FusarGptForConditionalGeneration.from_pretrained(mini).get_input_embeddings().weight.detach()
    waves = torch.nn.functional.normalize(weight[numbers][:, : MINI.text_width // 2], dim=-1)
    alike = waves @ waves.T
    assert alike[100, 101] > alike[100, 103] > alike[100, 110] > 0.2
    assert alike.fill_diagonal_(0).max() < 0.999
    assert weight[numbers].std() == pytest.approx(weight.std().item(), rel=0.05)
