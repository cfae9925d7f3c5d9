"""What comes out of the towers: the parent's without geography, and what prior and acquisition do to it."""

from typing import Any

import pytest
import torch
from torch import Tensor

from modeling_fusarklip import FusarKlipModel
from tests.modeling_fusarklip.tiny_klip import (
    IMAGE_SIZE,
    PATCH_SIZE,
    plain_blip,
    stir_klip,
    tiny_klip,
    tiny_klip_inputs,
)

GRID = IMAGE_SIZE // PATCH_SIZE
TEXT = ("input_ids", "attention_mask")


@pytest.fixture
def model() -> FusarKlipModel:
    model = tiny_klip()
    stir_klip(model)
    return model


def image_of(inputs: dict[str, Tensor], rows: Any = slice(None)) -> dict[str, Tensor]:
    return {name: value[rows] for name, value in inputs.items() if name not in TEXT}


@pytest.mark.parametrize("use_itm_head", [True, False])
@torch.no_grad()
def test_without_geography_every_output_is_the_parents_bit_for_bit(model: FusarKlipModel, use_itm_head: bool):
    inputs = tiny_klip_inputs(geography=False)
    asked = {"use_itm_head": use_itm_head, "output_hidden_states": True, "output_attentions": True}
    ours, theirs = model(**inputs, **asked), plain_blip(model)(**inputs, **asked)
    for name in ("itm_score", "question_embeds", "last_hidden_state"):
        assert torch.equal(ours[name], theirs[name]), name
    for name in ("hidden_states", "attentions"):
        assert len(ours[name]) == len(theirs[name]) >= 3
        assert all(torch.equal(one, other) for one, other in zip(ours[name], theirs[name], strict=True)), name


@torch.no_grad()
def test_positions_are_interpolated_as_the_parents_are(model: FusarKlipModel):
    inputs = tiny_klip_inputs(geography=False)
    inputs["pixel_values"] = torch.randn(4, 3, 32, 16, generator=torch.Generator().manual_seed(0))
    asked: dict[str, Any] = {"interpolate_pos_encoding": True, "use_itm_head": True}
    assert torch.equal(model(**inputs, **asked).itm_score, plain_blip(model)(**inputs, **asked).itm_score)
    features = model.patch_features(pixel_values=inputs["pixel_values"], interpolate_pos_encoding=True)
    assert features.shape == (4, 8, 4, 32)


@torch.no_grad()
def test_each_field_changes_the_image_and_unknown_ones_do_not(model: FusarKlipModel):
    inputs = image_of(tiny_klip_inputs(geography=False))
    plain = model.image_tokens(**inputs)
    known = {
        "resolution_m": torch.full((4,), 5.0),
        **{name: torch.full((4,), 2) for name in ("sensor", "polarization")},
    }
    known["month"] = torch.full((4,), 7)
    for name, value in known.items():
        assert not torch.allclose(model.image_tokens(**inputs, **{name: value}), plain, atol=1e-4), name
        assert torch.equal(model.image_tokens(**inputs, **{name: 0 * value}), plain), name
    priors = {name: value for name, value in tiny_klip_inputs().items() if name.startswith("prior")}
    assert not torch.allclose(model.image_tokens(**inputs, **priors), plain, atol=1e-3)
    priors["prior_mask"] = torch.zeros_like(priors["prior_mask"])
    torch.testing.assert_close(model.image_tokens(**inputs, **priors), plain, atol=1e-6, rtol=0)


@torch.no_grad()
def test_finer_and_coarser_resolutions_differ(model: FusarKlipModel):
    pixels = image_of(tiny_klip_inputs(geography=False), slice(1))["pixel_values"].expand(5, -1, -1, -1)
    metres = torch.tensor([0.5, 1.0, 3.0, 10.0, 30.0])
    vectors = model.image_embeddings(pixel_values=pixels, resolution_m=metres)
    assert bool(((vectors @ vectors.t()).fill_diagonal_(0) < 0.99999).all())


@torch.no_grad()
def test_an_image_is_as_if_it_were_alone_whatever_is_known_of_the_others(model: FusarKlipModel):
    inputs = image_of(tiny_klip_inputs())
    together = model.image_tokens(**inputs)
    for row in range(4):
        alone = model.image_tokens(**image_of(inputs, slice(row, row + 1)))
        torch.testing.assert_close(together[row : row + 1], alone, atol=1e-5, rtol=0)
    nothing_told = image_of(inputs, slice(2, 3))["pixel_values"]
    prior = {name: inputs[name][2:3] for name in inputs if name.startswith("prior")}
    torch.testing.assert_close(together[2:3], model.image_tokens(pixel_values=nothing_told, **prior), atol=1e-5, rtol=0)


@torch.no_grad()
def test_states_of_before_stand_for_pixels(model: FusarKlipModel):
    inputs = tiny_klip_inputs()
    states = model.image_states(inputs["pixel_values"])
    assert states.shape == (4, 1 + GRID**2, 32)
    cached = {name: value for name, value in inputs.items() if name != "pixel_values"} | {"image_states": states}
    assert torch.equal(model(**cached).logits_per_image, model(**inputs).logits_per_image)
    assert model.patch_features(**image_of(cached)).shape == (4, GRID, GRID, 32)


@torch.no_grad()
def test_states_know_nothing_of_geography_and_its_layer_is_where_it_enters():
    with_states = tiny_klip(geography_layer=2)
    hidden = with_states(**tiny_klip_inputs(geography=False), output_hidden_states=True).hidden_states
    pixels = tiny_klip_inputs()["pixel_values"]
    torch.testing.assert_close(with_states.image_states(pixels), hidden[2])
    first = tiny_klip(geography_layer=0)
    torch.testing.assert_close(first.image_states(pixels), first.vision_model.embeddings(pixels))


@torch.no_grad()
def test_features_are_those_of_the_embeddings(model: FusarKlipModel):
    inputs = tiny_klip_inputs()
    output, text = model(**inputs), {name: inputs[name] for name in TEXT}
    images, texts = model.image_embeddings(**image_of(inputs)), model.text_embeddings(**text)
    assert torch.equal(output.image_embeds, images) and torch.equal(output.text_embeds, texts)
    torch.testing.assert_close(images.norm(dim=1), torch.ones(4))
    torch.testing.assert_close(output.logits_per_image, images @ texts.t() / 0.07)
    for outputs, vectors in (
        (model.get_image_features(**image_of(inputs)), images),
        (model.get_text_features(**text), texts),
    ):
        assert outputs.pooler_output is not None
        torch.testing.assert_close(torch.nn.functional.normalize(outputs.pooler_output, dim=-1), vectors)
    # One image and many texts, as the zero-shot pipeline asks.
    one = model(**image_of(inputs, slice(1)), **text).logits_per_image
    torch.testing.assert_close(one, output.logits_per_image[:1])


@torch.no_grad()
def test_matching_reads_each_text_beside_its_image(model: FusarKlipModel):
    inputs = tiny_klip_inputs()
    text, image = {name: inputs[name] for name in TEXT}, image_of(inputs)
    expected = model(**inputs, use_itm_head=True).itm_score.softmax(-1)[:, 1]
    torch.testing.assert_close(model.match(**text, **image), expected)
    tokens, turned = model.image_tokens(**image), torch.tensor([3, 2, 1, 0])
    crossed = model.match(**text, image_tokens=tokens, image_index=turned)
    by_hand = model.match(**text, image_tokens=tokens[turned])
    torch.testing.assert_close(crossed, by_hand)
    assert not torch.allclose(crossed, expected)
    torch.testing.assert_close(
        model.match(**text, image_tokens=tokens[:1]), model.match(**text, image_tokens=tokens[:1].expand(4, -1, -1))
    )
    with pytest.raises(ValueError, match=r"image_index: found None for 4 texts and 2 images"):
        model.match(**text, image_tokens=tokens[:2])


@torch.no_grad()
def test_masks_are_filled_the_most_certain_first(model: FusarKlipModel):
    inputs = tiny_klip_inputs()
    ids, mask = inputs["input_ids"].clone(), model.config.mask_token_id
    ids[0, 2], ids[1, 1] = mask, mask
    ids[3, [1, 3, 5]] = mask
    filled = model.fill(ids, inputs["attention_mask"], **image_of(inputs))
    asked = ids == mask
    assert not (filled.input_ids == mask).any() and torch.equal(filled.input_ids[~asked], ids[~asked])
    assert bool((filled.probabilities[~asked] == 1).all()) and bool((filled.probabilities[asked] < 1).all())
    # A single mask is what the head says most likely; the first of three is the surest of them.
    tokens = model.image_tokens(**image_of(inputs))
    said = model.word_head(model.read(ids, inputs["attention_mask"], tokens)).float().roll(1, dims=1)
    said[..., mask] = -torch.inf
    assert filled.input_ids[0, 2] == said[0, 2].argmax()
    surest = said[3].softmax(-1).max(-1).values * asked[3]
    place = surest.argmax()
    assert filled.input_ids[3, place] == said[3, place].argmax()


@torch.no_grad()
def test_texts_read_in_groups_are_those_read_at_once(model: FusarKlipModel):
    inputs = tiny_klip_inputs()
    images = torch.randint(4, (90,), generator=torch.Generator().manual_seed(0))
    rows = torch.arange(90) % 4
    ids, mask = inputs["input_ids"][rows], inputs["attention_mask"][rows]
    tokens = model.image_tokens(**image_of(inputs))
    at_once, counted = model.read(ids, mask, tokens[images]), mask.bool()
    torch.testing.assert_close(model.read_many(ids, mask, tokens, images)[counted], at_once[counted], atol=1e-5, rtol=0)
    alone = model.read(ids, mask)
    torch.testing.assert_close(model.read_many(ids, mask)[counted], alone[counted], atol=1e-5, rtol=0)
    causal, in_turn = (
        model.read_causally(ids, mask, tokens[images]),
        model.read_many(ids, mask, tokens, images, causal=True),
    )
    torch.testing.assert_close(in_turn[counted], causal[counted], atol=1e-5, rtol=0)
    assert not torch.allclose(causal[counted], at_once[counted], atol=1e-3)


@torch.no_grad()
def test_likelihood_is_the_sum_over_words_each_from_those_before(model: FusarKlipModel):
    inputs = tiny_klip_inputs()
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    tokens, turned = model.image_tokens(**image_of(inputs)), torch.tensor([3, 2, 1, 0])
    likely = model.log_likelihood(ids, mask, image_index=turned, image_tokens=tokens)
    said = model.word_head(model.read_causally(ids, mask, tokens[turned])).log_softmax(-1)
    by_hand = [
        sum(float(said[row, place - 1, ids[row, place]]) for place in range(1, int(mask[row].sum())))
        for row in range(len(ids))
    ]
    torch.testing.assert_close(likely, torch.tensor(by_hand), atol=1e-4, rtol=0)
    assert not torch.allclose(likely, model.log_likelihood(ids, mask, image_tokens=tokens), atol=1e-4)


@pytest.mark.parametrize("checkpointed", [False, True])
def test_gradients_through_shared_keys_are_those_of_plain_reading(model: FusarKlipModel, checkpointed: bool):
    inputs, rows = tiny_klip_inputs(), torch.tensor([0, 1, 2, 3, 3, 0])
    ids, mask, images = inputs["input_ids"][rows], inputs["attention_mask"][rows], rows.flip(0)
    tokens = model.image_tokens(**image_of(inputs)).detach()
    gradients: list[tuple[Tensor, ...]] = []
    for shares in (True, False):
        if checkpointed and shares:
            model.train()
            model.gradient_checkpointing_enable()
        leaf = tokens.clone().requires_grad_()
        read = model.read_many(ids, mask, leaf, images) if shares else model.read(ids, mask, leaf[images])
        weight = model.get_parameter("text_encoder.encoder.layer.0.crossattention.self.key.weight")
        gradients.append(torch.autograd.grad((read * mask[..., None]).square().sum(), [leaf, weight]))
        model.gradient_checkpointing_disable()
        model.eval()
    for shared, plain in zip(*gradients, strict=True):
        torch.testing.assert_close(shared, plain, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"resolution_m": torch.tensor([5.0, 5.0])}, r"resolution_m: found shape \[2\], expected \[4\]"),
        ({"resolution_m": torch.tensor([5.0, float("nan"), 0, 0])}, r"resolution_m: found nan, expected metres"),
        ({"resolution_m": torch.tensor([5.0, -1.0, 0, 0])}, r"resolution_m: found -1.0"),
        ({"resolution_m": torch.tensor([5, 5, 5, 5])}, r"resolution_m: found dtype torch.int64, expected floating"),
        ({"sensor": torch.tensor([1, 2, 99, 0])}, r"sensor: found 99, expected 0 \(unknown\) to 19"),
        ({"month": torch.tensor([1, 13, 0, 0])}, r"month: found 13"),
        ({"month": torch.tensor([1.0, 2, 3, 4])}, r"month: found dtype torch.float32, expected whole numbers"),
        ({"location": torch.zeros(4, 3)}, r"location: found shape \[4, 3\], expected None; .* is 'off'"),
        (
            {"prior_mask": torch.ones(4, 2).bool()},
            r"prior_embeddings, prior_positions: found nothing beside prior_mask",
        ),
        ({"image_states": torch.zeros(4, 37, 32)}, r"pixel_values, image_states: found both, expected one"),
        ({"pixel_values": torch.zeros(4, 3, 24, 25)}, r"pixel_values: found shape \[4, 3, 24, 25\], expected"),
        ({"pixel_values": None}, r"pixel_values, image_states: found neither"),
        ({"pixel_values": None, "image_states": torch.zeros(4, 36, 32)}, r"image_states: found shape \[4, 36, 32\]"),
    ],
)
def test_bad_images_are_named_in_a_line(model: FusarKlipModel, wrong: dict[str, Any], said: str):
    inputs = tiny_klip_inputs(geography=False) | wrong
    with pytest.raises(ValueError, match=said) as error:
        model(**inputs)
    assert "\n" not in str(error.value)


def test_a_location_is_checked_where_it_is_taken():
    model = tiny_klip(geography_config={"location": "token"})
    inputs = tiny_klip_inputs(geography=False)
    with torch.no_grad():
        here = model(**inputs, location=torch.tensor([[1.0, 0, 0]] * 4)).logits_per_image
        there = model(**inputs, location=torch.tensor([[0.0, 0, 1]] * 4)).logits_per_image
    assert not torch.allclose(here, there)
    with pytest.raises(ValueError, match=r"location: found .* expected unit vectors"):
        model(**inputs, location=torch.tensor([[121.5, 31.2, 0]] * 4))


def test_texts_that_are_too_long_and_unknown_arguments_are_refused(model: FusarKlipModel):
    inputs = tiny_klip_inputs()
    with pytest.raises(ValueError, match=r"input_ids: found shape \[1, 33\].* max_text_tokens, 32; .* never cut"):
        model.text_embeddings(torch.ones(1, 33, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"attention_mask: found shape \[4, 3\], expected that of input_ids"):
        model(**{**inputs, "attention_mask": torch.ones(4, 3)})
    with pytest.raises(TypeError, match=r"unexpected keyword arguments \['resolution'\]"):
        model(**inputs, resolution=torch.ones(4))


def test_fields_are_dropped_in_training_alone():
    model = tiny_klip(geography_config={"drop_all": 1.0})
    inputs = tiny_klip_inputs()
    untold = {
        name: value for name, value in inputs.items() if name not in ("resolution_m", "sensor", "polarization", "month")
    }
    with torch.no_grad():
        told = model(**inputs).logits_per_image
        assert not torch.allclose(told, model(**untold).logits_per_image, atol=1e-3)
        model.train()
        torch.testing.assert_close(model(**inputs).logits_per_image, model(**untold).logits_per_image)


def test_each_field_is_dropped_as_often_as_the_configuration_says():
    from modeling_fusarklip.geography import Acquisition

    torch.manual_seed(0)
    known = torch.ones(20_000)
    dropped = Acquisition(known, known.long(), known.long(), known.long(), known[:, None].expand(-1, 3)).drop(0.3, 0.2)
    for field in dropped:
        assert (field.float().view(20_000, -1)[:, 0]).mean().item() == pytest.approx(0.7 * 0.8, abs=0.02)
    assert (~dropped.known()).float().mean().item() == pytest.approx(0.2 + 0.8 * 0.3**5, abs=0.02)
