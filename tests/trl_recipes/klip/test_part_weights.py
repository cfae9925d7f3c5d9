"""Weights of parts in training: those of weight 0 are in no text, the others weigh in reconstruction."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset, load_dataset

from fusargpt.errors import InputError
from fusargpt.tasks.facts import DIMENSIONS
from modeling_fusarklip.processing_fusarklip import FusarKlipProcessor
from tests.trl_recipes.klip.phases import (
    MAX_TOKENS,
    klip_arguments,
    klip_processor,
    tiny_klip_model,
    write_klip_base,
    write_klip_rows,
)
from trl_recipes.klip.arguments import parse
from trl_recipes.klip.collator import KlipCollator
from trl_recipes.klip.row_checks import find_problems
from trl_recipes.klip.rows import load_parts, text_columns
from trl_recipes.klip.texts import TextEncoder

ROWS = 6
DROPPED, HALF = DIMENSIONS.index("terrain"), DIMENSIONS.index("boundary")


def write_weighted(folder: Path, weights: Any) -> None:
    write_klip_rows(folder / "plain", ROWS)
    rows = load_dataset("parquet", data_files=str(folder / "plain" / "*.parquet"), split="train")
    assert isinstance(rows, Dataset)
    (folder / "data").mkdir()
    rows.add_column("part_weight", [weights] * ROWS).to_parquet(folder / "data" / "train-00000-of-00001.parquet")


def weights() -> list[float]:
    found = [1.0] * len(DIMENSIONS)
    found[DROPPED], found[HALF] = 0.0, 0.5
    return found


def collator(folder: Path, **fields: object) -> KlipCollator:
    recipe, _ = parse(klip_arguments(folder, folder / "out", **fields))
    ((_, rows),) = load_parts(recipe, "train")
    processor = klip_processor()
    return KlipCollator(recipe, processor, TextEncoder(processor.tokenizer, MAX_TOKENS), rows, None, 0, training=True)


def test_a_part_of_weight_0_is_in_no_text_and_no_fact(tmp_path: Path) -> None:
    write_weighted(tmp_path, weights())
    make = collator(tmp_path, itm=1.0, mlm=1.0)
    drawn = [make([(row, epoch) for row in range(ROWS)]) for epoch in range(12)]
    for batch in drawn:
        assert not batch["text_facts"][:, DROPPED].any() and not batch["image_facts"][:, DROPPED].any()
        assert not (batch["part_ids"] == DROPPED + 1).any()
        assert torch.equal(batch["part_weights"], torch.tensor([weights()] * ROWS))
    # One of half weight is still spoken of.
    assert any(batch["text_facts"][:, HALF].any() for batch in drawn)


def test_weights_reach_reconstruction(tmp_path: Path) -> None:
    write_weighted(tmp_path, weights())
    batch = collator(tmp_path, itc=0.0, mlm=1.0)([(row, 0) for row in range(ROWS)])
    model = tiny_klip_model()
    model.config.losses.itc = model.config.losses.itm = 0.0
    model.config.losses.mlm = 1.0
    losses = []
    for factor in (1.0, 0.0):
        torch.manual_seed(0)
        losses.append(model(**{**batch, "part_weights": batch["part_weights"] * factor}, return_loss=True).mlm)
    assert losses[0] > 1 and losses[1] == 0


def test_a_dataset_without_weights_trusts_all_its_parts(tmp_path: Path) -> None:
    write_weighted(tmp_path, weights())
    recipe, _ = parse(
        klip_arguments(tmp_path, tmp_path / "out", dataset_name=[str(tmp_path / "data"), str(tmp_path / "plain")])
    )
    parts = dict(load_parts(recipe, "train"))
    assert parts[str(tmp_path / "plain")]["part_weight"][0] == [1.0] * len(DIMENSIONS)
    assert parts[str(tmp_path / "data")]["part_weight"][0] == weights()
    plain, _ = parse(klip_arguments(tmp_path, tmp_path / "out", dataset_name=str(tmp_path / "plain")))
    assert "part_weight" not in dict(load_parts(plain, "train"))[str(tmp_path / "plain")].column_names


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        ([1.0] * 15, "part_weight: found .*, expected 16 numbers from 0 to 1"),
        ([2.0] * 16, "part_weight: found .*, expected 16 numbers from 0 to 1"),
        ([0.0] * 16, "description: found nothing but roads, expected more about the image"),
    ],
)
def test_rows_whose_weights_cannot_be_are_found_before_the_first_step(
    tmp_path: Path, found: list[float], problem: str
) -> None:
    write_weighted(tmp_path, found)
    recipe, _ = parse(klip_arguments(tmp_path, tmp_path / "out"))
    processor: FusarKlipProcessor = klip_processor()
    ((name, rows),) = load_parts(recipe, "train")
    encoder = TextEncoder(processor.tokenizer, MAX_TOKENS)
    problems = find_problems(rows, processor, encoder, tuple(text_columns(recipe)), name)
    assert len(problems) == ROWS
    assert re.match(problem, problems[0])


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    write_weighted(tmp_path, ["1"] * 16)
    write_klip_base(tmp_path)
    recipe, _ = parse(klip_arguments(tmp_path, tmp_path / "out"))
    with pytest.raises(InputError, match=r"column part_weight: found .*, expected lists of 16 floats"):
        load_parts(recipe, "train")
