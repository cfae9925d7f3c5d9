"""Images with one class each: rows of a dataset, or folders of chips as SAR-ACD is published, split by blocks."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa
from datasets import ClassLabel, Dataset, Features, Image, Value
from numpy.typing import NDArray

from fusargpt.errors import InputError, one_line
from fusargpt.foundation.chip_folders import PICTURES, class_folders, fold_of_chips
from fusargpt.inference.read_split import read_split

LABEL = "label"
SPLITS = ("train", "validation", "test")
_BLOCKS = {"test": (0,), "validation": (1,), "train": (2, 3, 4)}
"""Of the five blocks of a class, the first reports, the second chooses, the others are learned from."""
NO_CLASS = -1


def read_labelled(name: str, config: str | None, split: str) -> Dataset:
    """A split of a dataset, or of a folder `CLASS/NUMBER.jpg`, whose chips are split by blocks of neighbouring numbers.

    Raises:
        InputError: what cannot be loaded or holds no images, or a split that a folder of classes does not have.
    """
    if is_class_folder(Path(name)):
        if split not in SPLITS:
            raise InputError(f"{name}: found the split {split}; a folder of classes has {', '.join(SPLITS)}")
        return _blocks(Path(name), split)
    try:
        found = read_split(name, config, split)
    # No such folder, repository, config or split, no network, files of another kind: datasets raises of any type.
    except Exception as error:
        raise InputError(f"{name}, split {split}, cannot be loaded: {one_line(error)}") from error
    if not isinstance(found.features.get("image"), Image):
        raise InputError(f"dataset {name}: found the columns {', '.join(found.column_names)}; expected images in image")
    return found


def is_class_folder(folder: Path) -> bool:
    """Whether it holds folders of pictures that are named after classes, and not after splits."""
    if not folder.is_dir():
        return False
    folders = [path for path in folder.iterdir() if path.is_dir()]
    holding = [path for path in folders if any(inner.suffix.lower() in PICTURES for inner in path.iterdir())]
    return bool(holding) and not {path.name for path in folders} & set(SPLITS)


def _blocks(folder: Path, split: str) -> Dataset:
    names, chips = class_folders(folder)
    labels = np.array([chip.label for chip in chips])
    folds = np.concatenate([fold_of_chips(int((labels == label).sum())) for label in range(len(names))])
    chosen = np.flatnonzero(np.isin(folds, _BLOCKS[split]))
    columns = {"image": [str(chips[row].path) for row in chosen], LABEL: labels[chosen].tolist()}
    return Dataset.from_dict(columns, features=Features({"image": Image(), LABEL: ClassLabel(names=names)}))


def class_names(parts: Sequence[tuple[str, Dataset]], column: str) -> list[str]:
    """The names of the classes, by their numbers: those that a column declares, or the different texts in it, sorted.

    Args:
        parts: names and training rows of datasets.
        column: of the classes.

    Raises:
        InputError: a column that is missing or holds neither, datasets that declare different classes, or fewer than
            two classes with rows.
    """
    declared: dict[str, list[str]] = {}
    for name, part in parts:
        if column not in part.column_names:
            raise InputError(
                f"dataset {name} has no column {column}; found {', '.join(part.column_names)}; expected the class of "
                "each image"
            )
        feature = part.features[column]
        if isinstance(feature, ClassLabel):
            declared[name] = list(cast(Sequence[str], feature.names))
        elif not (isinstance(feature, Value) and "string" in feature.dtype):
            raise InputError(
                f"dataset {name}: column {column}: found {feature}, expected texts, or numbers with names (ClassLabel)"
            )
    said = [text for _, part in parts for text in texts_of(part, column) if text]
    if len(declared) == len(parts):
        (first, names), *others = declared.items()
        for name, found in others:
            if found != names:
                raise InputError(
                    f"dataset {name}: column {column}: found the classes {', '.join(found)}, expected those of "
                    f"{first}, {', '.join(names)}"
                )
    else:
        names = sorted(set(said))
    absent = [name for name in names if name not in set(said)]
    if absent:
        raise InputError(f"{column}: found no training row of {absent[0]}, expected some of each class it declares")
    if len(names) < 2:
        raise InputError(f"{column}: found {len(names)} classes in the training rows, expected two or more")
    return names


def texts_of(part: Dataset, column: str) -> list[str | None]:
    """The class of each row as a text; None where there is none."""
    feature = part.features[column]
    values = cast(pa.Table, part.select_columns([column]).with_format("arrow")[:])[column].to_pylist()
    if isinstance(feature, ClassLabel):
        return [None if value is None or value < 0 else feature.names[value] for value in values]
    return [value or None for value in values]


def class_numbers(name: str, part: Dataset, column: str, names: Sequence[str]) -> NDArray[np.int64]:
    """The number of each row's class [N]; `NO_CLASS` where it has none.

    Raises:
        InputError: no such column, or a class that is not among `names`, which the training rows have shown.
    """
    if column not in part.column_names:
        raise InputError(f"dataset {name} has no column {column}; found {', '.join(part.column_names)}")
    numbers = {text: number for number, text in enumerate(names)}
    texts = texts_of(part, column)
    unknown = sorted({text for text in texts if text is not None and text not in numbers})
    if unknown:
        raise InputError(
            f"dataset {name}: column {column}: found {unknown[0]!r}, expected one of the classes of the training rows, "
            f"{', '.join(names)}"
        )
    return np.array([NO_CLASS if text is None else numbers[text] for text in texts], np.int64)
