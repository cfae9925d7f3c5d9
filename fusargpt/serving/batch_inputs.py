"""What a batch asks: every image of a folder one question, or every row of a dataset of triplets its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from datasets import Dataset
from PIL import Image

from fusargpt.errors import InputError
from fusargpt.geo.image import read_image_as
from fusargpt.geo.prior import PRIOR_COLUMNS, Prior, load_prior
from fusargpt.geo.reading import Reading
from fusargpt.inference.questions import Item
from fusargpt.inference.rows import load_rows, read_picture, read_prior
from fusargpt.tasks.prompts import TASKS
from modeling_fusargpt.artefacts import HUB_ID

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
_COLUMNS = ("id", "image", "task", "prompt")


class Source(Protocol):
    """Can be pickled; image and prior are read in the process that asks."""

    def items(self) -> list[Item]:
        """All there is to ask, in a fixed order, at least one. InputError when it cannot be listed."""
        ...

    def read(self, item: Item) -> tuple[Image.Image, Prior | None, str]:
        """Image and prior of an item, and what its image was read as, "" where it has no file of its own.

        Raises InputError, OSError or ValueError when they cannot be read.
        """
        ...


@dataclass(frozen=True)
class ImageFolder:
    """Every image in a folder and the folders below, with the prior in an `.npz` file of the same name beside it.

    Attributes:
        folder: exists.
        question: put to each image.
        task: which the question is of, or "".
        reading: how files are to be read; the band is that of TIFF files, others have the one.
        with_prior: False leaves the `.npz` files alone.
    """

    folder: Path
    question: str
    task: str = ""
    reading: Reading = field(default_factory=Reading)
    with_prior: bool = True

    def items(self) -> list[Item]:
        paths = sorted(path for path in self.folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
        if not paths:
            raise InputError(f"{self.folder}: no image; expected {', '.join(IMAGE_SUFFIXES)} files, or Parquet files")
        names = [path.relative_to(self.folder).as_posix() for path in paths]
        return [
            Item(name, self.task, self.question, name, _pixels(path)) for name, path in zip(names, paths, strict=True)
        ]

    def read(self, item: Item) -> tuple[Image.Image, Prior | None, str]:
        path = self.folder / item.place
        prior = path.with_suffix(".npz")
        reading = self.reading if path.suffix.lower() in (".tif", ".tiff") else replace(self.reading, band=None)
        image, read_as = read_image_as(path, reading)
        return image, load_prior(prior) if self.with_prior and prior.exists() else None, str(read_as)


@dataclass(frozen=True)
class TripletDataset:
    """Every row of a split with its own question and prior.

    Attributes:
        name: a folder, a Parquet file, or a dataset on the Hub.
        split: as the dataset names it.
        configs: None takes all.
        tasks: None takes all.
        with_prior: False leaves the prior's columns alone.
    """

    name: str
    split: str = "test"
    configs: tuple[str, ...] | None = None
    tasks: tuple[str, ...] | None = None
    with_prior: bool = True

    def items(self) -> list[Item]:
        rows = _rows(self).select_columns(["id", "task", "prompt"])
        items = []
        for index, row in enumerate(rows):
            assert isinstance(row, Mapping)
            if row["task"] not in TASKS:
                raise InputError(f"{row['id']}: task: found {row['task']!r}; expected one of {', '.join(TASKS)}")
            if self.tasks is None or row["task"] in self.tasks:
                items.append(Item(row["id"], row["task"], _question(row), str(index), 0))
        if not items:
            raise InputError(f"{self.name}: split {self.split!r} has no row of {', '.join(self.tasks or ())}")
        return items

    def read(self, item: Item) -> tuple[Image.Image, Prior | None, str]:
        row: Mapping[str, object] = _rows(self)[int(item.place)]
        return read_picture(row), read_prior(row) if self.with_prior else None, ""


def _pixels(path: Path) -> int:
    """Of an image, from its header; 0 for one that cannot be read, which is told when it is asked about."""
    try:
        with Image.open(path) as image:
            return image.width * image.height
    except (OSError, ValueError, Image.DecompressionBombError):
        return 0


@cache
def _rows(source: TripletDataset) -> Dataset:
    """Opened once in a process; a worker opens what the others have prepared."""
    columns = (*_COLUMNS, *(PRIOR_COLUMNS if source.with_prior else ()))
    return load_rows(source.name, source.configs, source.split, columns)


def _question(row: Mapping[str, Any]) -> str:
    turns: Sequence[Mapping[str, object]] = row["prompt"]
    if len(turns) != 1 or turns[0]["role"] != "user" or not isinstance(turns[0]["content"], str):
        raise InputError(f"{row['id']}: prompt: expected one message of the user, whose content is a text")
    return turns[0]["content"]


def is_dataset(name: str) -> bool:
    """Whether `name` is to be read as a dataset: a Hub name, a Parquet file, or a folder with Parquet files.

    Raises:
        InputError: neither that nor a folder.
    """
    path = Path(name)
    if path.is_dir():
        return any(path.rglob("*.parquet"))
    if not (path.suffix == ".parquet" if path.is_file() else HUB_ID.fullmatch(name)):
        found = "a file" if path.is_file() else "there is no such folder"
        raise InputError(f"{name}: {found}; expected a folder of images, or a dataset's folder, Parquet or Hub name")
    return True
