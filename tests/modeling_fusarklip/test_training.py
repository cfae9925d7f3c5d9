"""The losses of the model: what pulls and what repels, what is weighed, and what is left out."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from modeling_fusarklip import FusarKlipModel, two_pass_step
from modeling_fusarklip.losses import truth_matrix
from modeling_fusarklip.modeling_fusarklip import TEMPERATURES
from tests.modeling_fusarklip.tiny_klip import (
    TEXTS,
    TOKENS,
    facts,
    pictures,
    tiny_klip,
    tiny_klip_inputs,
    tiny_klip_processor,
)

ONLY = {"itc": 0, "itm": 0, "mlm": 0}
SAID = facts({0: 11, 8: 2}, {1: 5}, {6: 9}, {8: 3, 1: 6})
SO = facts({0: 11, 1: 5, 6: 9, 8: 2}, {0: 12, 1: 5, 6: 9, 8: 4}, {0: 13, 1: 7, 6: 9, 8: 1}, {0: 14, 1: 6, 6: 9, 8: 3})


def losses(**weights: Any) -> dict[str, Any]:
    return {"losses_config": {**ONLY, **weights}}


def batch(count: int = 4, **more: Any) -> dict[str, Any]:
    return {**tiny_klip_inputs(count, **more), "return_loss": True}


def image_of(inputs: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in inputs.items() if name not in ("input_ids", "attention_mask", "return_loss")}


def with_facts() -> dict[str, Any]:
    return batch(image_facts=SO, text_facts=SAID)


def gradients(model: FusarKlipModel, **inputs: Any) -> dict[str, Tensor]:
    model.zero_grad()
    model(**inputs).loss.backward()
    return {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}


def test_the_contrast_is_that_of_the_truth_matrix():
    model, inputs = tiny_klip(**losses(itc=2)), with_facts()
    output = model(**inputs)
    # "no roads" (the third text) is so in all four scenes, forest (the second) in two.
    expected = [[1, 1, 1, 0], [0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 1, 1]]
    truth = torch.tensor(expected).bool()
    assert torch.equal(truth_matrix(inputs["image_facts"], inputs["text_facts"]), truth)
    terms = [
        -(true / true.sum(1, keepdim=True) * logits.log_softmax(1)).sum(1).mean()
        for logits, true in ((output.logits_per_image, truth), (output.logits_per_text, truth.t()))
    ]
    torch.testing.assert_close(output.itc, (terms[0] + terms[1]) / 2)
    torch.testing.assert_close(output.loss, terms[0] + terms[1])
    assert output.itm is None and output.mlm is None and output.itm_base_rate is None


@pytest.mark.parametrize("contrastive", ["softmax", "sigmoid"])
def test_equal_scenes_repel_nothing(contrastive: str):
    model = tiny_klip(**losses(itc=1, contrastive=contrastive))
    # Images and texts that are alike in nothing: where a text is to be told from another, it pushes.
    drawn = functional.normalize(torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(0)), dim=-1)
    images = functional.pad(drawn[0], (0, 8)).requires_grad_()
    texts = functional.pad(drawn[1], (8, 0)).requires_grad_()

    def factors(keys: Any) -> Tensor:
        """`[4, 4]`: by how much each text pushes each image (a text that pulls has a negative factor)."""
        loss = model.contrast(images, texts, torch.from_numpy(keys), torch.from_numpy(keys))
        (by_image,) = torch.autograd.grad(loss, images)
        return torch.linalg.lstsq(texts.detach().t(), by_image.t()).solution.t()

    same, other = factors(facts(*[{0: 5, 9: 4}] * 4)), factors(facts({0: 1}, {0: 2}, {0: 3}, {0: 3}))
    if contrastive == "softmax":
        assert same.abs().max() < 1e-5
    else:
        assert same.max() < -1e-3
    assert other[0, 1] > 1e-5 and other[2, 3] < -1e-3 and other[2, 0] > 1e-5


def test_without_facts_equal_texts_are_partners():
    model, processor = tiny_klip(**losses(itc=1)), tiny_klip_processor()
    inputs = dict(processor(images=pictures(3), text=["forest", "two ships", "forest"]))
    output = model(**inputs, return_loss=True)
    truth = torch.tensor([[1, 0, 1], [0, 1, 0], [1, 0, 1]])
    target = truth / truth.sum(1, keepdim=True)
    by_hand = sum(
        -(target * logits.log_softmax(1)).sum(1).mean() / 2
        for logits in (output.logits_per_image, output.logits_per_text)
    )
    torch.testing.assert_close(output.itc, by_hand)


def test_the_temperature_stays_within_its_bounds_and_is_learned():
    model, inputs = tiny_klip(**losses(itc=1)), batch()
    assert model.temperature.item() == pytest.approx(0.07)
    assert gradients(model, **inputs)["temperature"] != 0
    model.train()
    for wrong, bound in ((0.001, TEMPERATURES[0]), (3.0, TEMPERATURES[1])):
        model.temperature.data.fill_(wrong)
        model(**inputs)
        assert model.temperature.item() == pytest.approx(bound)


def test_the_sigmoid_contrast_begins_as_siglips():
    model = tiny_klip(**losses(itc=1, contrastive="sigmoid"))
    output = model(**batch())
    assert model.bias.item() == -10
    torch.testing.assert_close(output.logits_per_image, output.image_embeds @ output.text_embeds.t() * 10 - 10)


def test_matching_takes_true_pairs_and_as_many_negatives_of_each_kind():
    model, inputs = tiny_klip(**losses(itm=1)), batch()
    seen: list[tuple[Tensor, Tensor]] = []
    whole = model.read_many

    def watched(ids: Tensor, mask: Tensor, tokens: Any = None, images: Any = None) -> Tensor:
        if images is not None:
            seen.append((ids, images))
        return whole(ids, mask, tokens, images)

    model.read_many = watched
    torch.manual_seed(0)
    output = model(**inputs)
    ((ids, images),) = seen
    assert len(ids) == 12 and output.itm_base_rate == pytest.approx(0.6365, abs=1e-4)
    texts = [next(j for j in range(4) if torch.equal(row, inputs["input_ids"][j])) for row in ids]
    assert texts[:4] == images[:4].tolist() == [0, 1, 2, 3]
    assert images[4:8].tolist() == [0, 1, 2, 3] and all(
        text != image for text, image in zip(texts[4:8], range(4), strict=True)
    )
    assert texts[8:] == [0, 1, 2, 3] and all(image != text for text, image in enumerate(images[8:].tolist()))
    # The loss is the cross-entropy of the head over these pairs.
    tokens = model.image_tokens(**image_of(inputs))
    mask = (ids != TOKENS["[PAD]"]).long()
    scores = model.itm_head(model.read(ids, mask, tokens[images])[:, 0])
    labels = torch.tensor([1] * 4 + [0] * 8)
    torch.testing.assert_close(output.itm, functional.cross_entropy(scores, labels), atol=1e-5, rtol=1e-5)
    assert output.itm_accuracy == (scores.argmax(1) == labels).float().mean()


def test_pairs_without_a_negative_are_left_out():
    model = tiny_klip(**losses(itm=1))
    same = facts(*[{0: 5}] * 4)
    output = model(**batch(image_facts=same, text_facts=same))
    assert output.itm == 0 and output.itm_base_rate == 0
    output.loss.backward()
    # Two kinds of scene of two each: all have negatives; one text that is true of all: its pair has one by its image.
    two = facts({0: 5}, {0: 5}, {0: 6}, {0: 6})
    assert model(**batch(image_facts=two, text_facts=two)).itm_base_rate == pytest.approx(0.6365, abs=1e-4)
    half = facts({0: 5}, {}, {}, {})
    one = model(**batch(image_facts=facts({0: 5}, {0: 6}, {0: 5}, {0: 5}), text_facts=half))
    # False is only the first text of the second image: true pairs 0 and 1, and that negative from both sides.
    assert one.itm_base_rate == pytest.approx(math.log(2))


def test_negatives_are_never_true_of_the_image():
    model, inputs = tiny_klip(**losses(itm=1)), with_facts()
    truth = truth_matrix(inputs["image_facts"], inputs["text_facts"])
    seen: list[tuple[Tensor, Tensor]] = []
    whole = model.read_many

    def watched(ids: Tensor, mask: Tensor, tokens: Any = None, images: Any = None) -> Tensor:
        if images is not None:
            seen.append((ids, images))
        return whole(ids, mask, tokens, images)

    model.read_many = watched
    for seed in range(20):
        torch.manual_seed(seed)
        model(**inputs)
    for ids, images in seen:
        pairs = [
            (image, next(j for j in range(4) if torch.equal(row, inputs["input_ids"][j])))
            for row, image in zip(ids, images.tolist(), strict=True)
        ]
        assert all(truth[pair] for pair in pairs[:4]) and not any(truth[pair] for pair in pairs[4:])


def test_counterfactual_texts_are_further_negatives():
    model = tiny_klip(**losses(itm=1))
    others = ["three ships in the north", None, None, "two ships of the port , one road"]
    inputs = batch(counterfactuals=others)
    assert inputs["counterfactual_attention_mask"].any(1).tolist() == [True, False, False, True]
    rate = model(**inputs).itm_base_rate
    share = 4 / 14
    assert rate == pytest.approx(-share * math.log(share) - (1 - share) * math.log(1 - share))
    # They are negatives where the batch has none, too.
    same = facts(*[{0: 5}] * 4)
    assert model(**batch(counterfactuals=others, image_facts=same, text_facts=same)).itm_base_rate == pytest.approx(
        math.log(2)
    )


def test_words_are_masked_and_looked_for_beside_the_image():
    model = tiny_klip(**losses(mlm=1, mask_words=1.0))
    inputs = batch()
    output = model(**inputs)
    special = torch.tensor([TOKENS[name] for name in ("[PAD]", "[CLS]", "[SEP]")])
    hidden = ~torch.isin(inputs["input_ids"], special)
    ids = inputs["input_ids"].masked_fill(hidden, TOKENS["[MASK]"])
    tokens = model.image_tokens(**image_of(inputs))
    # What stands before a word says it.
    said = model.word_head(model.read(ids, inputs["attention_mask"], tokens))[:, :-1]
    expected = functional.cross_entropy(said[hidden[:, 1:]], inputs["input_ids"][hidden])
    torch.testing.assert_close(model.masked_words(ids, inputs["attention_mask"], tokens)[:, 1:], said)
    torch.testing.assert_close(output.mlm, expected, atol=1e-5, rtol=1e-5)
    grads = gradients(model, **inputs)
    assert grads["vision_model.embeddings.patch_embedding.weight"].abs().max() > 0
    assert grads["word_head.predictions.bias"].abs().max() > 0


SPANS = [[(8, 0, 9), (9, 10, 22)], [(1, 0, 6)], [(6, 0, 8)], [(8, 0, 11), (14, 12, 34)]]


def test_spans_of_characters_are_parts_of_tokens():
    part_ids = tiny_klip_inputs(spans=SPANS)["part_ids"]
    assert (
        TEXTS[0][slice(*SPANS[0][0][1:])] == "two ships"
        and TEXTS[3][slice(*SPANS[3][1][1:])] == "of the port , one road"
    )
    assert part_ids[0].tolist() == [0, 9, 9, 10, 10, 10, 0, 0, 0, 0]
    assert part_ids[3].tolist() == [0, 9, 9, 15, 15, 15, 15, 15, 15, 0]


def test_weights_of_parts_scale_their_gradients():
    model = tiny_klip(**losses(mlm=1, mask_words=1.0, mask_part=0.0))

    def of(*weights: float) -> dict[str, Tensor]:
        """Gradients with these weights of the parts of the first text, all others 0."""
        table = torch.zeros(4, 16)
        table[0, 8], table[0, 9] = weights
        return gradients(model, **batch(spans=SPANS, part_weights=table.tolist()))

    both = of(1.0, 1.0)
    # Masks do not depend on a weight unless it is 0, so losses of the same predictions are weighed.
    low = of(1.0, 0.5)
    bias = "word_head.predictions.bias"
    # The mean over 2 + 3 words: sums g1 and g2 solve 5 both = g1 + g2 and 3.5 low = g1 + g2 / 2.
    second = 2 * (5 * both[bias] - 3.5 * low[bias])
    first = 5 * both[bias] - second
    lower = of(1.0, 0.25)
    torch.testing.assert_close(lower[bias] * 2.75, first + 0.25 * second, atol=1e-5, rtol=1e-4)
    assert second.abs().max() > 1e-3
    nothing = gradients(model, **batch(spans=SPANS, part_weights=torch.zeros(4, 16).tolist()))
    assert all(not value.any() for value in nothing.values())


def test_captions_are_learned_from_left_to_right():
    model, inputs = tiny_klip(**losses(lm=1)), batch()
    output = model(**inputs)
    ids = inputs["input_ids"].clone()
    ids[:, 0] = TOKENS["[DEC]"]
    tokens = model.image_tokens(**image_of(inputs))
    losses_by_hand: list[Tensor] = []
    for row, length in enumerate(inputs["attention_mask"].sum(1).tolist()):
        for place in range(1, length):
            # Only what stands before is given at all.
            read = model.text_encoder(
                input_ids=ids[row : row + 1, :place], encoder_hidden_states=tokens[row : row + 1], is_decoder=True
            ).last_hidden_state
            said = model.word_head(read[:, -1])
            losses_by_hand.append(functional.cross_entropy(said, ids[row : row + 1, place]))
    torch.testing.assert_close(output.lm, torch.stack(losses_by_hand).mean(), atol=1e-4, rtol=1e-4)


def test_hidden_patches_are_predicted_from_the_others():
    model = tiny_klip(**losses(mim=1))
    grads = gradients(model, **batch())
    for name in ("vision_model.mask_token", "mim_head.weight", "vision_model.encoder.layers.0.mlp.fc1.weight"):
        assert grads[name].abs().max() > 0, name
    states = model.image_states(batch()["pixel_values"])
    inputs = {name: value for name, value in batch().items() if name != "pixel_values"}
    with pytest.raises(ValueError, match="pixel_values: found None, expected images"):
        model(**inputs, image_states=states)


def test_a_loss_of_weight_0_costs_nothing(monkeypatch: pytest.MonkeyPatch):
    model = tiny_klip(**losses(itc=1))
    monkeypatch.setattr(model, "itm_head", None)
    monkeypatch.setattr(model, "word_head", None)
    output = model(**batch())
    torch.testing.assert_close(output.loss, output.itc)
    with pytest.raises(ValueError, match="found no loss with a weight"):
        tiny_klip(**losses())(**batch())


def test_the_queue_holds_further_partners_by_their_facts():
    model = tiny_klip(**losses(itc=1, queue_size=6)).train()
    vectors = functional.normalize(torch.randn(4, 2, 16, generator=torch.Generator().manual_seed(1)), dim=-1)
    first, second = facts({0: 1}, {0: 2}), facts({0: 2}, {0: 3})
    model.contrast(vectors[0], vectors[1], *map(torch.from_numpy, (first, first)))
    assert model.queue.entries()[0].shape == (2, 16)
    loss = model.contrast(vectors[2], vectors[3], *map(torch.from_numpy, (second, second)))
    # Text 1 of before says what is so in image 0 of now.
    truth = torch.tensor([[1, 0, 0, 1], [0, 1, 0, 0]])
    by_hand = 0.0
    for rows, columns, past in ((2, 3, 1), (3, 2, 0)):
        logits = vectors[rows] @ torch.cat([vectors[columns], vectors[past]]).t() / 0.07
        by_hand += -(truth / truth.sum(1, keepdim=True) * logits.log_softmax(1)).sum(1).mean() / 2
    torch.testing.assert_close(loss, torch.as_tensor(by_hand))
    for _ in range(2):
        model.contrast(vectors[0], vectors[1], *map(torch.from_numpy, (first, first)))
    images, _, image_facts, _ = model.queue.entries()
    assert images.shape == (6, 16)
    torch.testing.assert_close(images, torch.cat([vectors[0], vectors[2], vectors[0]]))
    assert image_facts[:, 0].tolist() == [1, 2, 2, 3, 1, 2] and model.queue.written == 8


def test_momentum_towers_begin_as_the_towers_follow_them_and_give_targets():
    model = tiny_klip(**losses(itc=1, momentum=0.75, alpha=0.5)).train()
    inputs = batch(geography=False)
    towers = model.momentum_towers
    before = [value.clone() for value in model.text_proj.parameters()]
    output = model(**inputs)
    hard = model(**inputs, alpha=0.0).itc
    # As the towers are the same now, the targets are the model's own probabilities.
    entropy = sum(
        -(logits.softmax(1) * logits.log_softmax(1)).sum(1).mean() / 2
        for logits in (output.logits_per_image, output.logits_per_text)
    )
    torch.testing.assert_close(output.itc, 0.5 * hard + 0.5 * entropy, atol=1e-4, rtol=1e-4)
    with torch.no_grad():
        for value in model.text_proj.parameters():
            value.add_(1.0)
    model(**inputs)
    for average, old in zip(towers.towers["text_proj"].parameters(), before, strict=True):
        torch.testing.assert_close(average, old + 0.25)
    assert not any(value.requires_grad for value in towers.parameters())
    assert not any(module.training for module in towers.modules())


def chunked(inputs: dict[str, Any], *sizes: int) -> list[dict[str, Any]]:
    tensors = {name: value for name, value in inputs.items() if isinstance(value, Tensor)}
    parts = {name: value.split(list(sizes)) for name, value in tensors.items()}
    return [{name: values[index] for name, values in parts.items()} for index in range(len(sizes))]


@pytest.mark.parametrize("contrastive", ["softmax", "sigmoid"])
@pytest.mark.parametrize("with_keys", [True, False])
def test_two_passes_over_chunks_equal_one_over_the_batch(contrastive: str, with_keys: bool):
    # Nothing is dropped by chance, which would fall otherwise in one batch than in three.
    model = tiny_klip(
        **losses(itc=1.5, contrastive=contrastive), geography_config={"drop_field": 0.0, "drop_all": 0.0}
    ).train()
    inputs = with_facts() if with_keys else batch()
    whole = gradients(model, **inputs)
    loss = model(**inputs).loss.item()
    model.zero_grad()
    found = two_pass_step(model, chunked(inputs, 2, 1, 1))
    assert found["loss"] == pytest.approx(loss, abs=1e-5) and found["itc"] == pytest.approx(loss / 1.5, abs=1e-5)
    for name, value in model.named_parameters():
        assert (value.grad is None) == (name not in whole), name
        if value.grad is not None:
            torch.testing.assert_close(value.grad, whole[name], atol=1e-5, rtol=1e-5, msg=name)


def test_chance_falls_alike_in_both_passes():
    model = tiny_klip(**losses(itc=1)).train()
    vectors: list[Tensor] = []
    model.vision_proj.register_forward_hook(lambda *call: vectors.append(call[2].detach()))
    torch.manual_seed(3)
    state = torch.get_rng_state()
    two_pass_step(model, chunked(batch(8), 4, 4))
    torch.testing.assert_close(torch.stack(vectors[:2]), torch.stack(vectors[2:]))
    # One draw, whatever the chunks drew.
    after = torch.get_rng_state()
    torch.set_rng_state(state)
    torch.randint(2**62, (2,))
    assert torch.equal(torch.get_rng_state(), after)


def test_a_step_of_two_passes_has_all_losses():
    model = tiny_klip().train()
    torch.manual_seed(0)
    found = two_pass_step(model, chunked(batch(8, spans=SPANS * 2), 4, 4))
    assert found["loss"] == pytest.approx(found["itc"] + found["itm"] + found["mlm"], abs=1e-4)
    assert found["itm_base_rate"] == pytest.approx(0.6365, abs=1e-3)
    assert model.itm_head.weight.grad.abs().max() > 0
    with pytest.raises(ValueError, match="expected neither in a step of two passes"):
        two_pass_step(tiny_klip(**losses(itc=1, queue_size=4)), chunked(batch(), 4))
    with pytest.raises(ValueError, match="chunks: found none"):
        two_pass_step(model, [])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"image_facts": torch.zeros(4, 16).long()}, "image_facts, text_facts: found one of them"),
        ({"part_weights": torch.full((4, 16), -1.0)}, "part_weights: found NaN, infinity or a negative number"),
        ({"part_weights": torch.full((4, 16), float("nan"))}, "part_weights: found NaN"),
        ({"part_weights": torch.ones(4, 8)}, r"part_weights: found shape \[4, 8\], expected \[4, 16\]"),
        ({"part_ids": torch.full((4, 10), 17)}, "part_ids: found shape .* with values from 17 to 17"),
        ({"pixel_values": torch.zeros(3, 3, 24, 24)}, "input_ids: found 4 texts for 3 images"),
        ({"counterfactual_input_ids": torch.ones(2, 5).long()}, "counterfactual_input_ids: found 2 rows, expected 4"),
    ],
)
def test_bad_training_inputs_are_named_in_a_line(wrong: dict[str, Tensor], said: str):
    with pytest.raises(ValueError, match=said) as error:
        tiny_klip()(**{**batch(geography=False), **wrong})
    assert "\n" not in str(error.value)
