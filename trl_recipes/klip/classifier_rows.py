"""Rows of labelled images as a classifier's training reads them."""

from collections.abc import Sequence
from typing import cast

import numpy as np
import pyarrow as pa
from datasets import ClassLabel, Dataset
from numpy.typing import NDArray

from fusargpt.errors import InputError
from fusargpt.foundation.labelled_rows import NO_CLASS, class_names, class_numbers, read_labelled
from modeling_fusarklip.processing_fusarklip import FusarKlipProcessor
from trl_recipes.data.parts import check_columns
from trl_recipes.klip.classifier_arguments import ClassifierArguments
from trl_recipes.klip.row_checks import find_problems
from trl_recipes.klip.rows import Parts, image_columns

_EXPECTED = "an image, the prior with `prior: true`, the acquisition with `acquisition: true`"


def load_labelled(recipe: ClassifierArguments, splits: Sequence[str]) -> tuple[list[str], list[Parts]]:
    """The names of the classes, and the recipe's datasets by name for each split, the class of each row a number.

    Raises InputError for a dataset that cannot be loaded, lacks a column that the recipe asks for, or has classes that
    the training rows do not.
    """
    read: list[Parts] = []
    for split in splits:
        parts: Parts = []
        for name in recipe.dataset_name:
            part = read_labelled(name, recipe.dataset_config, split)
            check_columns(name, part, image_columns(recipe), _EXPECTED)
            if not len(part):
                raise InputError(f"dataset {name}, split {split}: found no rows")
            parts.append((name, part))
        read.append(parts)
    column = recipe.label_column
    names = class_names(read[0], column)
    numbered: list[Parts] = []
    for parts in read:
        numbered.append([])
        for name, part in parts:
            numbers = class_numbers(name, part, column, names)
            rows = part.select_columns(image_columns(recipe))
            numbered[-1].append((name, rows.add_column(column, numbers, feature=ClassLabel(names=names))))
    return names, numbered


def find_labelled_problems(rows: Dataset, processor: FusarKlipProcessor, column: str, name: str) -> dict[int, str]:
    """What is wrong with each row that could not be trained on, by its number."""
    problems = find_problems(rows.remove_columns([column]), processor, None, (), name)
    for row in np.flatnonzero(_numbers(rows, column) == NO_CLASS).tolist():
        problems.setdefault(row, f"{column}: found nothing, expected the class of the image")
    return dict(sorted(problems.items()))


def balanced_weights(rows: Dataset, column: str, classes: int) -> list[float]:
    """Of each class, by which all count alike however many rows they have; their mean over the rows is 1."""
    counts = np.bincount(_numbers(rows, column), minlength=classes)
    return (len(rows) / (classes * counts)).tolist()


def _numbers(rows: Dataset, column: str) -> NDArray[np.int64]:
    table = cast(pa.Table, rows.select_columns([column]).with_format("arrow")[:])
    return np.array(table[column].to_pylist(), np.int64)
