"""Batches of FUSAR-KLIP: texts with facts and parts, priors and acquisitions, the same whenever they are asked."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from fusargpt.errors import InputError
from fusargpt.geo.embeddings import dequantize
from fusargpt.tasks.facts import DIMENSIONS, fact_keys, phrases_of
from fusargpt.tasks.part_texts import draw_part_text, part_text
from modeling_fusarklip.batches import masked_texts, pairs_to_match, training_batch
from modeling_fusarklip.losses import truth_matrix
from modeling_fusarklip.modeling_fusarklip import FusarKlipModel
from tests.modeling_fusarklip.tiny_klip import IMAGE_SIZE, tiny_klip_config
from tests.trl_recipes.klip.phases import MAX_TOKENS, klip_arguments, klip_processor, klip_row, write_klip_rows
from trl_recipes.data.rows import Batch
from trl_recipes.klip.arguments import parse
from trl_recipes.klip.collator import KlipCollator
from trl_recipes.klip.rows import EpochSampler, Places, load_parts
from trl_recipes.klip.texts import TextEncoder

ROWS = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("batches")
    write_klip_rows(folder / "data", ROWS, prior_embeddings=None, prior_positions=None)
    return folder


def collator(folder: Path, seed: int = 0, training: bool = True, **fields: object) -> KlipCollator:
    recipe, _ = parse(klip_arguments(folder, folder / "out", **fields))
    processor = klip_processor()
    ((_, rows),) = load_parts(recipe, "train")
    encoder = TextEncoder(processor.tokenizer, MAX_TOKENS)
    return KlipCollator(recipe, processor, encoder, rows, None, seed, training)


def equal(one: Batch, other: Batch) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_what_is_drawn_depends_on_row_epoch_and_seed_alone(folder: Path) -> None:
    places, later = ([(row, epoch) for row in range(ROWS)] for epoch in (3, 4))
    batch = collator(folder, itm=1.0)(places)
    assert equal(batch, collator(folder, itm=1.0)(places))
    for other in (collator(folder, seed=1, itm=1.0)(places), collator(folder, itm=1.0)(later)):
        assert not torch.equal(other["text_facts"], batch["text_facts"])
        assert torch.equal(other["image_facts"], batch["image_facts"])
    alone = collator(folder, itm=1.0)(places[4:5])
    assert torch.equal(alone["text_facts"][0], batch["text_facts"][4])


def test_texts_are_true_of_their_images_and_counterfactuals_are_not(folder: Path) -> None:
    make = collator(folder, itm=1.0)
    texts, false_ones = set(), set()
    for epoch in range(5):
        batch = make([(row, epoch) for row in range(ROWS)])
        truth = truth_matrix(batch["image_facts"], batch["text_facts"])
        assert truth.diagonal().all()
        # Rows 0 and 6 show the same scene.
        assert truth[0, 6] and truth[6, 0] and not truth.all()
        texts |= set(make.processor.tokenizer.batch_decode(batch["input_ids"], skip_special_tokens=True))
        has = batch["counterfactual_attention_mask"].any(1)
        shown = make.processor.tokenizer.batch_decode(batch["counterfactual_input_ids"][has], skip_special_tokens=True)
        false_ones |= set(shown)
    assert false_ones and not texts & false_ones


def test_each_token_knows_its_part(folder: Path) -> None:
    encoder = TextEncoder(klip_processor().tokenizer, MAX_TOKENS)
    known = phrases_of(klip_row(0))
    said = part_text(known, ["water", "terrain", "target_count"], 5)
    batch, _ = encoder.parts([said], [known])
    ids, parts = batch["input_ids"][0], batch["part_ids"][0]
    assert parts[0] == parts[-1] == 0 and (parts[1:-1] > 0).all()
    tokenizer = klip_processor().tokenizer
    for dimension, start, end in said.spans:
        shown = tokenizer.decode(ids[parts == dimension + 1])
        assert shown == tokenizer.decode(tokenizer(said.text[start:end])["input_ids"][1:-1])
    assert set(parts.tolist()) == {0, *(1 + DIMENSIONS.index(name) for name in said.dimensions)}


def test_a_text_that_is_too_long_loses_parts_and_is_never_cut() -> None:
    known = phrases_of(klip_row(0))
    tokenizer = klip_processor().tokenizer
    long = next(text for text in (draw_part_text(known, seed) for seed in range(100)) if len(text.spans) == 8)
    batch, (said,) = TextEncoder(tokenizer, 80).parts([long], [known])
    assert len(batch["input_ids"][0]) <= 80 and 2 <= len(said.spans) < 8
    assert long.text.startswith(said.text)
    assert np.array_equal(batch["text_facts"][0].numpy(), fact_keys({name: known[name] for name in said.dimensions}))
    with pytest.raises(InputError, match="a text of 2 parts is longer than the model reads"):
        TextEncoder(tokenizer, 8).parts([long], [known])
    with pytest.raises(InputError, match=r"caption: found \d+ tokens, expected at most 8"):
        TextEncoder(tokenizer, 8).captions([long.text])


def test_priors_are_those_of_the_rows(folder: Path) -> None:
    batch = collator(folder, prior_dropout=0.0)([(row, 0) for row in (3, ROWS - 1, 4)])
    mask = batch["prior_mask"]
    assert mask.sum(1).tolist() == [2, 0, 3]
    for place, row in ((0, 3), (2, 4)):
        record = klip_row(row)
        found = batch["prior_embeddings"][place][mask[place]].numpy()
        np.testing.assert_array_equal(found, dequantize(np.array(record["prior_embeddings"], np.int8)))
        positions = np.array(record["prior_positions"], np.float32)
        np.testing.assert_array_equal(batch["prior_positions"][place][mask[place]].numpy(), positions)
    assert not batch["prior_embeddings"][~mask].any()


def test_priors_are_left_out_by_chance_in_training_alone(folder: Path) -> None:
    places = [(row % (ROWS - 1), row) for row in range(400)]
    kept = collator(folder, prior_dropout=0.3)(places)["prior_mask"].any(1).float().mean()
    assert abs(float(kept) - 0.7) < 0.1
    assert collator(folder, prior_dropout=0.3, training=False)(places)["prior_mask"].any(1).all()
    assert "prior_mask" not in collator(folder, prior_dropout=1.0)(places)
    assert "prior_mask" not in collator(folder, prior="none")(places[:3])


def test_acquisitions_are_as_the_processor_reads_rows(folder: Path) -> None:
    batch = collator(folder)([(row, 0) for row in range(3)])
    expected = klip_processor().from_rows([klip_row(row) for row in range(3)])
    for name in ("resolution_m", "sensor", "polarization", "month"):
        assert torch.equal(batch[name], expected[name])
    assert torch.equal(batch["pixel_values"], expected["pixel_values"])
    assert "sensor" not in collator(folder, acquisition=False)([(0, 0)])


def test_every_epoch_has_all_rows_in_an_order_of_its_own() -> None:
    sampler, places, orders = EpochSampler(10, seed=3), Places(10), []
    for epoch, _ in product(range(3), range(2)):
        sampler.epoch = epoch
        drawn = [places[index] for index in sampler]
        assert {row for row, _ in drawn} == set(range(10)) and {of for _, of in drawn} == {epoch}
        orders.append([row for row, _ in drawn])
    assert orders[0] == orders[1] != orders[2] == orders[3] != orders[4]


def test_a_share_of_the_batch_is_matched_against_all_of_it() -> None:
    # What one text says is true of its own image alone, and much like the last one's.
    facts = torch.zeros(4, 16, dtype=torch.int64)
    facts[:, 0] = torch.arange(1, 5)
    ids = torch.arange(12).reshape(4, 3)
    logits = torch.zeros(4, 4)
    logits[:, 3] = 100.0
    found = {}
    for share in (0.5, 1.0):
        config = tiny_klip_config(losses_config={"match_share": share})
        batch = training_batch(config, ids, None, torch.zeros(4, 2, 8), facts, facts, None, None)
        found[share] = pairs_to_match(config, batch, logits, ids + 20, None)
    half, whole = found[0.5], found[1.0]
    assert half is not None and whole is not None
    assert half.labels.tolist() == [1] * 2 + [0] * 6 and whole.labels.tolist() == [1] * 4 + [0] * 12
    true, false_texts = half.texts.images[:2].tolist(), half.texts.input_ids[2:4].tolist()
    assert true == [0, 1] and false_texts == [ids[3].tolist()] * 2


def test_a_share_of_the_batch_has_its_words_said() -> None:
    ids = torch.arange(32).reshape(4, 8) % 20 + 5
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    mask[:, 7] = 0  # so that the first half is shorter than the batch is wide
    config = tiny_klip_config(losses_config={"mlm": 1.0, "mask_words": 1.0, "mask_part": 0.0, "word_share": 0.5})
    tokens = torch.randn(4, 3, config.vision.hidden_size)
    batch = training_batch(config, ids, mask, tokens, None, None, None, None)
    masked = masked_texts(config, batch)
    assert masked is not None and masked.texts.images.tolist() == [0, 1]

    losses = {"itc": 0.0, "itm": 0.0, "mlm": 0.0, "lm": 1.0}
    torch.manual_seed(0)
    model = FusarKlipModel(tiny_klip_config(losses_config={**losses, "word_share": 0.5})).eval()
    whole = FusarKlipModel(tiny_klip_config(losses_config=losses)).eval()
    whole.load_state_dict(model.state_dict())
    pixels = torch.randn(4, 3, IMAGE_SIZE, IMAGE_SIZE)
    said = model(input_ids=ids, attention_mask=mask, pixel_values=pixels, return_loss=True).lm
    half = whole(input_ids=ids[:2], attention_mask=mask[:2], pixel_values=pixels[:2], return_loss=True).lm
    all_of_it = whole(input_ids=ids, attention_mask=mask, pixel_values=pixels, return_loss=True).lm
    torch.testing.assert_close(said, half)
    assert not torch.isclose(said, all_of_it)
