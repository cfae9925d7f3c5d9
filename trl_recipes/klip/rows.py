"""Rows of captions as training reads them: a batch's columns at once, without images where their states are cached."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import cast

import torch
from datasets import Dataset, List, Value
from torch.utils.data import Sampler

from fusargpt.errors import InputError
from fusargpt.geo.prior import PRIOR_COLUMNS
from fusargpt.tasks.eight_dimensions import Description
from fusargpt.tasks.facts import DIMENSIONS, LANDFORM_COLUMN, PART_WEIGHT_COLUMN, TARGET_COLUMN
from fusargpt.tasks.target_dimensions import TargetDescription
from trl_recipes.data.parts import check_columns, read_part
from trl_recipes.klip.arguments import KlipArguments
from trl_recipes.klip.image_arguments import ImageArguments

ACQUISITION_COLUMNS = ("resolution_m", "sensor", "polarization", "acquired")
EXPECTED = (
    "image and texts, the prior unless `prior: none`, the acquisition unless `acquisition: false`; `texts: caption` "
    "reads plain captions"
)
_WEIGHTS = List(Value("float32"))
Parts = list[tuple[str, Dataset]]
"""Datasets by name."""
Place = tuple[int, int]
"""A row, and the epoch in which it is asked for."""


def load_parts(recipe: KlipArguments, split: str) -> Parts:
    """The recipe's datasets by name, with the columns that training reads.

    Raises InputError for a dataset that cannot be loaded, or lacks a column that the recipe asks for.
    """
    columns = [*image_columns(recipe), *text_columns(recipe)]
    parts: Parts = []
    for name in recipe.dataset_name:
        part = read_part(name, recipe.dataset_config, split)
        check_columns(name, part, columns, EXPECTED)
        for column, known in text_columns(recipe).items():
            _check_texts(name, column, part.features[column], known)
        if not len(part):
            raise InputError(f"dataset {name}, split {split}: found no rows")
        weighted = recipe.texts == "parts" and PART_WEIGHT_COLUMN in part.column_names
        parts.append((name, part.select_columns([*columns, *([PART_WEIGHT_COLUMN] if weighted else [])])))
    return _weighted_alike(parts)


def image_columns(recipe: ImageArguments) -> list[str]:
    """Those of the image, and of what is told of it."""
    columns = ["image"]
    columns += PRIOR_COLUMNS if recipe.prior == "true" else ()
    columns += ACQUISITION_COLUMNS if recipe.acquisition else ()
    return columns


def _weighted_alike(parts: Parts) -> Parts:
    """With weights of 1 where one dataset has the column `part_weight` and another has not, so that they can be joined.

    Raises InputError for a column that holds no lists of numbers.
    """
    for name, part in parts:
        feature = part.features.get(PART_WEIGHT_COLUMN)
        item = feature.feature if isinstance(feature, List) else None
        if feature is not None and not (isinstance(item, Value) and "float" in item.dtype):
            raise InputError(
                f"dataset {name}: column {PART_WEIGHT_COLUMN}: found {feature}, expected lists of "
                f"{len(DIMENSIONS)} floats"
            )
    if not any(PART_WEIGHT_COLUMN in part.column_names for _, part in parts):
        return parts
    return [
        (
            name,
            part.cast_column(PART_WEIGHT_COLUMN, _WEIGHTS)
            if PART_WEIGHT_COLUMN in part.column_names
            else part.add_column(PART_WEIGHT_COLUMN, [[1.0] * len(DIMENSIONS)] * len(part), feature=_WEIGHTS),
        )
        for name, part in parts
    ]


def text_columns(recipe: KlipArguments) -> dict[str, tuple[str, ...]]:
    """Those that texts are made of, with the phrases that each holds; none for a plain text."""
    if recipe.texts == "caption":
        return {recipe.caption_column: ()}
    described = {LANDFORM_COLUMN: Description, TARGET_COLUMN: TargetDescription}
    return {column: tuple(item.name for item in fields(kind)) for column, kind in described.items()}


def _check_texts(name: str, column: str, feature: object, known: tuple[str, ...]) -> None:
    """Raises InputError for a column that holds something else than a text, or than phrases with `known` names."""
    found: object = feature if known else {"": feature}
    named = cast(Mapping[str, object], found) if isinstance(found, Mapping) else {None: found}
    is_text = all(isinstance(one, Value) and "string" in one.dtype for one in named.values())
    if not is_text or not set(named) <= set(known or ("",)):
        raise InputError(
            f"dataset {name}: column {column}: found {feature}, expected "
            + (f"texts named {', '.join(known)}" if known else "texts")
        )


class Places(torch.utils.data.Dataset[Place]):
    """The rows of a dataset in every epoch, by one number: epoch times rows, plus the row."""

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, index: int) -> Place:
        epoch, row = divmod(index, self.rows)
        return row, epoch


class EpochSampler(Sampler[int]):
    """All rows once, in an order of `seed` and `epoch` alone, as numbers of `Places`; `epoch` is set from outside."""

    def __init__(self, rows: int, seed: int) -> None:
        self.rows = rows
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return self.rows

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order: Sequence[int] = torch.randperm(self.rows, generator=generator).tolist()
        return (self.epoch * self.rows + row for row in order)
