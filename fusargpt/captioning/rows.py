"""Captions as rows of a dataset of triplets, in the shards that the builder writes."""

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from datasets import Features

from fusargpt.captioning.claims import LANDFORM
from fusargpt.errors import InputError
from fusargpt.tasks.eight_dimensions import Description
from fusargpt.tasks.facts import DIMENSIONS, LANDFORM_COLUMN, TARGET_COLUMN, TARGET_PREFIX, phrases_of
from fusargpt.tasks.part_texts import SAYS_LITTLE, part_text
from fusargpt.tasks.prompts import prompt
from fusargpt.tasks.questions import conversation
from fusargpt.tasks.stable_random import whole_number
from fusargpt.triplets.features import CAPTION_FEATURES
from fusargpt.triplets.shards import PartWriter, write_shards

CONFIG = "captions"
_PARTS = ".parts"


def caption_row(name: str, columns: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, Any]:
    """The row of an image.

    Args:
        name: its id.
        columns: that all rows about the image share.
        record: with both columns of eight parts, `description` and `target_description`.
    """
    question = prompt("describe", wording=whole_number(name, "describe", "wording"))
    parts = {column: record[column] for column in (LANDFORM_COLUMN, TARGET_COLUMN)}
    return {"id": name, **columns, **conversation("describe", question, caption_text(name, parts)), **parts}


def caption_text(name: str, record: Mapping[str, Any]) -> str:
    """The parts of the place in sentences, as the builder words them; those of the targets where nothing is said of it.

    Raises:
        InputError: nothing is said that would tell this image from another.
    """
    wording = whole_number(name, "describe")
    place = record[LANDFORM_COLUMN] or {}
    if all(place.get(part) for part in LANDFORM):
        return Description(**place).text(wording)
    phrases = phrases_of(record)
    said = [dimension for dimension in phrases if not dimension.startswith(TARGET_PREFIX)]
    if not set(said) - {SAYS_LITTLE}:
        said = list(phrases)
    if not set(said) - {SAYS_LITTLE}:
        raise InputError("nothing is said but of roads, in which most places agree")
    return part_text(phrases, said, wording).text


def doubted_answer(name: str, record: Mapping[str, Any], doubted: Mapping[str, str]) -> dict[str, Any] | None:
    """What `caption_text` would tell if it left out nothing of what is `doubted`, in the form of a column `doubted`.

    Args:
        name: of the image.
        record: both descriptions, without what is doubted.
        doubted: phrases by dimension.

    Returns:
        None where nothing of it would be told.
    """
    if not doubted:
        return None
    trusted = phrases_of(record)
    phrases = {**trusted, **doubted}
    of_targets = {dimension for dimension in phrases if dimension.startswith(TARGET_PREFIX)}
    left_out = of_targets if set(trusted) - of_targets - {SAYS_LITTLE} else set[str]()
    said = [dimension for dimension in DIMENSIONS if dimension in phrases.keys() - left_out]
    text = part_text(phrases, said, whole_number(name, "describe"))
    spans = [[first, last] for index, first, last in text.spans if DIMENSIONS[index] in doubted]
    return {"answer": text.text, "spans": spans} if spans else None


def write_dataset(
    out: Path, rows: Mapping[str, Iterable[Mapping[str, Any]]], features: Features = CAPTION_FEATURES
) -> dict[str, int]:
    """Write rows by split as shards in `out/captions`; returns the rows of each shard, by its path in `out`."""
    schema = features.arrow_schema
    parts = out / _PARTS
    shutil.rmtree(parts, ignore_errors=True)
    parts.mkdir(parents=True)
    shards: dict[str, int] = {}
    for split, members in rows.items():
        writer = PartWriter(parts / split, {CONFIG: schema})
        for row in members:
            writer.add(CONFIG, [row])
        writer.finish({})
        written = parts / f"{split}.{CONFIG}.parquet"
        files = [written] if written.is_file() else []
        for path, count in write_shards(out / CONFIG, split, files, schema).items():
            shards[path.relative_to(out).as_posix()] = count
    shutil.rmtree(parts)
    return shards


def write_readme(path: Path, splits: Iterable[str], title: str, lines: Iterable[str]) -> None:
    """Write the header by which `datasets` finds the shards, and what made them."""
    files = "".join(f"  - split: {split}\n    path: {CONFIG}/{split}-*.parquet\n" for split in splits)
    header = f"---\nconfigs:\n- config_name: {CONFIG}\n  default: true\n  data_files:\n{files}---\n"
    path.write_text(f"{header}\n# {title}\n\n" + "".join(f"{line}\n" for line in lines), encoding="utf-8")
