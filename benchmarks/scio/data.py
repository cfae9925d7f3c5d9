"""Captions of simulated places whose truth is known: clean, with planted errors, and by fusargpt-nano."""

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from datasets import Dataset, Features

from fusargpt.captioning.agreement import agrees
from fusargpt.captioning.rows import CONFIG, write_dataset, write_readme
from fusargpt.checkpoints import NANO
from fusargpt.cli.main import main as fusargpt
from fusargpt.errors import InputError
from fusargpt.files import partial_of
from fusargpt.inference.rows import load_rows
from fusargpt.simulator.records import rows
from fusargpt.tasks.facts import DIMENSIONS, PART_SOURCE_COLUMN, PART_WEIGHT_COLUMN, TARGET_PREFIX, phrases_of
from fusargpt.triplets.features import CAPTION_FEATURES

TRAINING_START = 1_200_000
"""First seed of training places: fusarklip-nano was trained on 400,000 to 423,999."""
KINDS = ("planted", "nano")
# Of the parts of the authors' captions that experts found right (arXiv 2509.23927, figure): landforms, and the mean of
# aircraft and ships. Read off a figure, so that two points are open.
RIGHT = {
    **dict(zip(DIMENSIONS[:8], (79, 84, 87, 83, 84, 82, 84, 90), strict=True)),
    **dict(zip(DIMENSIONS[8:], (75, 69.5, 78, 75.5, 79.5, 80.5, 84.5, 85), strict=True)),
}
_TRIES = 50

Row = dict[str, Any]


def make_clean(folder: Path, count: int) -> Path:
    """True captions of `count` training places."""
    if not folder.is_dir():
        seeds = range(TRAINING_START, TRAINING_START + count)
        write(folder, (plain(row) for seed in seeds for row in rows(seed, "captions", "sar")))
    return folder


def make_planted(folder: Path, clean: Path, seed: int) -> Path:
    """Clean captions, each part of which is exchanged for a false one of another place at its rate of `RIGHT`."""
    if folder.is_dir():
        return folder
    known = read(clean)
    told = [phrases_of(row) for row in known]
    rng = np.random.default_rng([seed, 16])
    for row, phrases in zip(known, told, strict=True):
        for dimension, phrase in phrases.items():
            if rng.random() < 1 - RIGHT[dimension] / 100:
                others = (told[place].get(dimension) for place in rng.integers(0, len(told), _TRIES))
                false = next((other for other in others if other and not is_true(dimension, other, phrase)), None)
                if false is not None:
                    _say(row, dimension, false)
    write(folder, known)
    return folder


def make_nano(folder: Path, clean: Path) -> Path:
    """Captions of the same images by fusargpt-nano and the stages of `fusargpt caption`, without the boxes."""
    if not folder.is_dir():
        captions = folder.with_name(f"{folder.name}-captions")
        model = ("--backend", "chat", "--model", str(NANO), "--boxes", "model")
        code = fusargpt(["caption", str(clean), "--config", CONFIG, "--out", str(captions), *model])
        if code:
            raise InputError(f"{captions}: some images have no caption; the same command tries them again")
        write(folder, read(captions))
    return folder


def read(folder: Path, columns: Sequence[str] = tuple(CAPTION_FEATURES)) -> list[Row]:
    """Rows of a dataset of captions, images as they are stored; of a cleaned one with what became of parts."""
    cleaned = [column for column in (PART_WEIGHT_COLUMN, PART_SOURCE_COLUMN) if column not in columns]
    found: Dataset = load_rows(str(folder), [CONFIG], "train", columns, cleaned)
    return [dict(row) for row in found]  # pyright: ignore[reportArgumentType]


def wrong_parts(folder: Path, truth: Mapping[str, Mapping[str, str]]) -> set[tuple[str, str]]:
    """Ids and dimensions of the parts of a dataset that are not true."""
    return {
        (row["id"], dimension)
        for row in read(folder, ("id", "description", "target_description"))
        for dimension, phrase in phrases_of(row).items()
        if not is_true(dimension, phrase, truth[row["id"]][dimension])
    }


def truths(clean: Path) -> dict[str, dict[str, str]]:
    """The true phrases by id."""
    return {row["id"]: phrases_of(row) for row in read(clean, ("id", "description", "target_description"))}


def is_true(dimension: str, said: str, true: str) -> bool:
    """As `agrees`; a phrase that the dimension cannot have is not true."""
    try:
        return agrees(dimension, said, true)
    except ValueError:
        return False


def keep_rows(folder: Path, source: Path, ids: Iterable[str]) -> Path:
    """Of a dataset the rows with these ids."""
    if not folder.is_dir():
        kept = set(ids)
        write(folder, [row for row in read(source) if row["id"] in kept])
    return folder


def _say(row: Row, dimension: str, phrase: str) -> None:
    if dimension.startswith(TARGET_PREFIX):
        row["target_description"][dimension.removeprefix(TARGET_PREFIX)] = phrase
    else:
        row["description"][dimension] = phrase


def plain(row: Row) -> Row:
    """A row of the simulator as it is stored."""
    encoded: Row = cast(Any, CAPTION_FEATURES).encode_example(row)
    return {**encoded, "image": {"bytes": encoded["image"]["bytes"], "path": None}}


def write(folder: Path, some: Iterable[Row], features: Features = CAPTION_FEATURES) -> None:
    """Write rows of `captions` as a dataset, whole or not at all."""
    partial = partial_of(folder)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    write_dataset(partial, {"train": some}, features)
    write_readme(partial / "README.md", ["train"], folder.name, [])
    partial.rename(folder)
