"""Several pairs in one sequence: each one's loss is its own where earlier answers are hidden."""

from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from datasets import Dataset, Features, Image, List

from fusargpt.errors import InputError
from modeling_fusargpt import AnyFusarGpt, FusarGptProcessor
from tests.tiny import random_image, stir_tlm, tiny_model, tiny_processor
from tests.trl_recipes import stages
from tests.trl_recipes.stages import result, write_base
from tests.trl_recipes.triplets import PRIOR_FEATURES, TURN, assistant, triplet, user
from trl_recipes.arguments import parse
from trl_recipes.data.collator import TripletCollator
from trl_recipes.data.pairs import hide_other_pairs, pair_attention, pair_rows
from trl_recipes.model.attention import register_sdpa_float32
from trl_recipes.sft import main, make_trainer

ASKED = (("How many ships?", "3"), ("Describe.", "A harbour with ships."), ("Where are they?", "1, 5"))
FEATURES = Features({"image": Image(), **PRIOR_FEATURES, "prompt": List(TURN), "completion": List(TURN)})

arguments = partial(
    stages.arguments, train="tlm", lr_scheduler_type="constant", max_steps=3, train_sampling_strategy="sequential"
)


@pytest.fixture(scope="module")
def processor():
    return tiny_processor()


def row(image: int, pair: int) -> dict[str, Any]:
    """A pair about one of two images of different shapes."""
    question, answer = ASKED[pair]
    shared = triplet(image, anchors=2 + image)
    picture = random_image(40, 56, seed=image) if image else shared["image"]
    return {**shared, "image": picture, "prompt": [user(question)], "completion": [assistant(answer)]}


# Pairs of one image need not be neighbours.
ROWS = [row(0, 0), row(1, 0), row(0, 1), row(1, 2), row(0, 2)]


def dataset(rows: list[dict[str, Any]]) -> Dataset:
    return Dataset.from_list(rows, features=FEATURES)


def model_with(attention: str) -> AnyFusarGpt:
    register_sdpa_float32()
    model = tiny_model()
    stir_tlm(model)
    model.set_attn_implementation(attention)
    hide_other_pairs(model)
    return model


def answer_losses(model: AnyFusarGpt, batch: dict[str, Any]) -> list[torch.Tensor]:
    """For each row the losses of the tokens that are learned, in their order."""
    labels = batch.pop("labels")[:, 1:]
    with torch.no_grad():
        logits = model(**batch).logits[:, :-1].float()
    losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), labels, reduction="none")
    return [loss[label != -100] for loss, label in zip(losses, labels, strict=True)]


@pytest.mark.parametrize("attention", ["sdpa", "eager", "sdpa_float32"])
def test_a_hidden_pair_has_the_loss_that_it_has_alone(processor: FusarGptProcessor, attention: str):
    model = model_with(attention)
    pairs = pair_rows(dataset(ROWS), 3)
    together = answer_losses(model, TripletCollator(processor, hide_earlier_answers=True)(list(pairs)))
    alone = [answer_losses(model, TripletCollator(processor)([each]))[0] for each in ROWS]
    for found, group in zip(together, [(0, 2, 4), (1, 3)], strict=True):
        torch.testing.assert_close(found, torch.cat([alone[index] for index in group]), rtol=1e-6, atol=1e-6)


def test_a_visible_pair_is_answered_in_sight_of_the_earlier_ones(processor: FusarGptProcessor):
    pairs: list[Any] = list(pair_rows(dataset(ROWS), 3))
    batch = TripletCollator(processor)(pairs)
    turns = [turn for pair in pairs[0]["pairs"] for turn in (*pair["prompt"], *pair["completion"])]
    shared = {name: value for name, value in pairs[0].items() if name != "pairs"}
    expected = TripletCollator(processor)([{**shared, "messages": turns}])
    length = expected["input_ids"].shape[1]
    assert torch.equal(batch["input_ids"][:1, :length], expected["input_ids"])
    assert torch.equal(batch["labels"][:1, :length], expected["labels"])
    assert "pair_ids" not in batch and "position_ids" not in batch
    model = model_with("sdpa")
    alone = torch.cat([answer_losses(model, TripletCollator(processor)([ROWS[index]]))[0] for index in (0, 2, 4)])
    together = answer_losses(model, batch)[0]
    first = len(ASKED[0][1]) + 1  # bytes of the first answer, and the token that closes it
    torch.testing.assert_close(together[:first], alone[:first], rtol=1e-5, atol=1e-5)
    assert not torch.isclose(together[first:], alone[first:], rtol=1e-3).all()


def test_given_answers_and_system_turns_stay_without_loss(processor: FusarGptProcessor):
    system = {"role": "system", "content": "Answer briefly."}
    rows = [{**each, "prompt": [system, *each["prompt"]]} for each in (ROWS[0], ROWS[2])]
    rows[1]["prompt"] = [system, user("First?"), assistant("given"), user("Second?")]
    paired = list(pair_rows(dataset(rows), 2))
    for hidden in (False, True):
        batch = TripletCollator(processor, hide_earlier_answers=hidden)(paired)
        labels = batch["labels"][0]
        learned = processor.tokenizer.decode(labels[labels != -100])
        assert learned == f"{ASKED[0][1]}<|im_end|>{ASKED[1][1]}<|im_end|>"
        assert processor.tokenizer.decode(batch["input_ids"][0]).count("Answer briefly.") == 1


def test_hidden_positions_are_those_of_the_model(processor: FusarGptProcessor):
    batch = TripletCollator(processor, hide_earlier_answers=True)(list(pair_rows(dataset(ROWS), 3)))
    model = tiny_model()
    for sequence, group in enumerate(((0, 2, 4), (1, 3))):
        pair_ids = batch["pair_ids"][sequence]
        for number, index in enumerate(group, start=1):
            alone = TripletCollator(processor)([ROWS[index]])
            fields = ("input_ids", "mm_token_type_ids", "image_grid_thw", "attention_mask")
            expected, _ = model.model.get_rope_index(**{name: alone[name] for name in fields})
            own = (pair_ids == 0) | (pair_ids == number)
            assert torch.equal(batch["input_ids"][sequence, own], alone["input_ids"][0])
            assert torch.equal(batch["position_ids"][:, sequence, own], expected[:, 0])


def test_no_row_of_the_mask_is_empty_and_padding_is_not_seen():
    seen = pair_attention(torch.tensor([[0, 0, 1, 2, 2, -1, -1]]))[0, 0]
    assert seen.any(-1).all()
    assert not seen[:5, 5:].any()
    assert seen[4].tolist() == [True, True, False, True, True, False, False]
    assert seen[2].tolist() == [True, True, True, False, False, False, False]


def grouped(rows: Dataset, size: int) -> list[list[int]]:
    return list(pair_rows(rows, size).with_format(None)["rows"])


def test_rows_group_by_image_prior_and_system_turn(processor: FusarGptProcessor):
    other_prior = {**row(0, 1), "prior_positions": row(1, 1)["prior_positions"][:2]}
    no_prior = {**row(0, 2), "prior_embeddings": None, "prior_positions": None}
    other_system = {**row(0, 1), "prompt": [{"role": "system", "content": "Hm."}, user("?")]}
    same = {**row(0, 2), "image": row(0, 2)["image"].copy()}
    rows = dataset([row(0, 0), row(1, 0), other_prior, no_prior, other_system, same, row(0, 1), row(1, 1)])
    assert grouped(rows, 2) == [[0, 5], [1, 7], [2], [3], [4], [6]]
    assert grouped(rows, 9) == [[0, 5, 6], [1, 7], [2], [3], [4]]
    keys = ["a", "b", "a", "a", "a", "a", "a", "b"]  # as a feature cache leaves them
    assert grouped(rows.remove_columns("image").add_column("image_key", keys), 9) == grouped(rows, 9)


def test_messages_cannot_be_paired():
    rows = Dataset.from_list([triplet(0, "messages")])
    with pytest.raises(InputError, match=r"pairs_per_sequence: found 3 with rows of messages.*set it to 1"):
        pair_rows(rows, 3)


def test_flash_attention_cannot_hide():
    model = tiny_model()
    model.model.language_model.config._attn_implementation = "flash_attention_2"  # pyright: ignore[reportPrivateUsage]  # no setter
    with pytest.raises(InputError, match=r"attn_implementation: found flash_attention_2 .*earlier_answers: visible"):
        hide_other_pairs(model)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"pairs_per_sequence": 0}, "pairs_per_sequence: found 0, expected a whole number from 1 on"),
        ({"pairs_per_sequence": 2.5}, "pairs_per_sequence: found 2.5"),
        ({"earlier_answers": "seen"}, "earlier_answers: found 'seen', expected one of hidden, visible"),
        ({"feature_cache_gib": 0}, "feature_cache_gib: found 0"),
    ],
)
def test_fields_are_checked(tmp_path: Path, fields: dict[str, Any], problem: str):
    with pytest.raises(ValueError, match=problem):
        parse(arguments(tmp_path, tmp_path / "out", **fields))


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory):
    """A model in base/ and, in data/, three pairs about each of four images."""
    folder = tmp_path_factory.mktemp("pairs")
    write_base(folder)
    rows = [{**row(0, pair), **{"image": random_image(40, 40, seed=image)}} for image in range(4) for pair in range(3)]
    (folder / "data").mkdir()
    dataset(rows).to_parquet(folder / "data" / "train-00000-of-00001.parquet")
    return folder


@pytest.mark.slow
def test_training_on_hidden_pairs_is_training_on_the_pairs(stage: Path, tmp_path: Path):
    """Two images of three pairs each a step, or the six pairs one by one: the same steps."""
    together = {"pairs_per_sequence": 3, "per_device_train_batch_size": 2}
    main(arguments(stage, tmp_path / "alone", per_device_train_batch_size=6))
    main(arguments(stage, tmp_path / "together", **together))
    main(arguments(stage, tmp_path / "cached", **together, feature_cache=tmp_path / "cache"))
    (alone, alone_tlm), (paired, paired_tlm) = result(tmp_path / "alone"), result(tmp_path / "together")
    assert [entry["loss"] for entry in paired] == pytest.approx([entry["loss"] for entry in alone], abs=1e-6)
    for name, value in paired_tlm.items():
        torch.testing.assert_close(value, alone_tlm[name], rtol=1e-4, atol=1e-5, msg=name)
    # What all share is read once: fewer tokens.
    assert paired[-1]["num_tokens"] < 0.7 * alone[-1]["num_tokens"]
    cached, cached_tlm = result(tmp_path / "cached")
    assert [entry["loss"] for entry in cached] == [entry["loss"] for entry in paired]
    assert all(torch.equal(value, paired_tlm[name]) for name, value in cached_tlm.items())


def test_visible_pairs_train_as_a_conversation(stage: Path, tmp_path: Path):
    fields = {"pairs_per_sequence": 3, "earlier_answers": "visible", "per_device_train_batch_size": 4}
    trainer = make_trainer(*parse(arguments(stage, tmp_path / "out", **fields)))
    assert len(cast(Dataset, trainer.train_dataset)) == 4
    batch = next(iter(trainer.get_train_dataloader()))
    assert "pair_ids" not in batch and batch["attention_mask"].shape == batch["input_ids"].shape
    assert torch.isfinite(cast(torch.Tensor, trainer.compute_loss(trainer.model, batch)))
