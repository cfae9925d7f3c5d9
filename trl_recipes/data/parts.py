"""The datasets of a recipe, one by one, with the columns that training reads."""

from collections.abc import Sequence

from datasets import Dataset, Image

from fusargpt.errors import InputError, one_line
from fusargpt.inference.read_split import read_split


def read_part(name: str, config: str | None, split: str) -> Dataset:
    """A split of one dataset; InputError where it cannot be loaded."""
    try:
        return read_split(name, config, split)
    # No such folder, repository, config or split, no network, files of another kind: datasets raises of any type.
    except Exception as error:
        raise InputError(f"dataset_name: {name}, split {split}, cannot be loaded: {one_line(error)}") from error


def check_columns(name: str, part: Dataset, columns: Sequence[str], expected: str) -> None:
    """Raises InputError for a column that is missing, naming what is `expected`, and for an `image` that is none."""
    missing = [column for column in columns if column not in part.column_names]
    if missing:
        raise InputError(
            f"dataset {name} has no column {', '.join(missing)}; found {', '.join(part.column_names)}; expected "
            f"{expected}"
        )
    if not isinstance(part.features["image"], Image):
        raise InputError(f"dataset {name}: column image: found {part.features['image']}, expected images")
