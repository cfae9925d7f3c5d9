"""What a batch asks: every image of a folder one question, or every row of a dataset of triplets its own."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Protocol

from datasets import Dataset
from PIL import Image

from fusargpt.alphaearth.anchor_settings import AnchorSettings
from fusargpt.alphaearth.scene_prior import scene_prior
from fusargpt.errors import InputError
from fusargpt.geo.headers import check_header
from fusargpt.geo.image import PICTURE_FORMATS, read_image_as
from fusargpt.geo.prior import PRIOR_COLUMNS, Prior, load_prior
from fusargpt.geo.reading import Reading
from fusargpt.geo.sar_scene import SarScene
from fusargpt.inference.image_folder import images_below
from fusargpt.inference.questions import Failure, Item
from fusargpt.inference.rows import SharedReading, load_rows, name_rows, question_of
from fusargpt.tasks.prompts import check_question

_WITHOUT_FIELD = "leave --aef out to answer from the image alone"
_COLUMNS = ("id", "image", "task", "prompt")


class Source(Protocol):
    """Can be pickled; image and prior are read in the process that asks."""

    def items(self) -> tuple[list[Item], list[Failure]]:
        """All that can be asked, in a fixed order, at least one, and what cannot. InputError when nothing can."""
        ...

    def read(self, item: Item) -> tuple[Image.Image, Prior | None, str]:
        """Image and prior of an item, and what its image was read as, "" where it has no file of its own.

        Raises InputError, OSError or ValueError when they cannot be read.
        """
        ...


@dataclass(frozen=True)
class ImageFolder:
    """Every image in a folder and the folders below, with the prior of its `.npz` file beside it, or of a field.

    Attributes:
        folder: exists.
        question: put to each image.
        task: which the question is of, or "".
        reading: how files are to be read; the band is that of TIFF files, others have the one.
        with_prior: False leaves the `.npz` files alone.
        anchors: where priors come from instead; None reads the `.npz` files.
    """

    folder: Path
    question: str
    task: str = ""
    reading: Reading = field(default_factory=Reading)
    with_prior: bool = True
    anchors: AnchorSettings | None = None

    def items(self) -> tuple[list[Item], list[Failure]]:
        check_question(self.question)
        images, failures = images_below(self.folder)
        items = [Item(name, self.task, self.question, name, _pixels(path)) for name, path in images.items()]
        return _some(str(self.folder), items, failures)

    def read(self, item: Item) -> tuple[Image.Image, Prior | None, str]:
        path = self.folder / item.place
        reading = self.reading if path.suffix.lower() in (".tif", ".tiff") else replace(self.reading, band=None)
        image, read_as = read_image_as(path, reading)
        return image, self._prior(path, reading), str(read_as)

    def _prior(self, path: Path, reading: Reading) -> Prior | None:
        if self.anchors is not None:
            with SarScene.open(path, reading) as scene:
                return scene_prior(scene, self.anchors, _WITHOUT_FIELD)[0]
        beside = path.with_suffix(".npz")
        return load_prior(beside) if self.with_prior and beside.exists() else None


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

    def items(self) -> tuple[list[Item], list[Failure]]:
        rows = _rows(self)
        named, failures = name_rows(rows, self.tasks)
        if not named and not failures:
            raise InputError(f"{self.name}: split {self.split!r} has no row of {', '.join(self.tasks or ())}")
        names = {name.number: name for name in named}
        items: list[Item] = []
        for number, row in enumerate(rows.select_columns(["prompt"])):
            name = names.get(number)
            if name is None:
                continue
            try:
                assert isinstance(row, Mapping)
                items.append(Item(name.id, name.task, question_of(row), str(number), 0))
            except InputError as error:
                failures.append(Failure(name.id, str(error)))
        return _some(self.name, items, failures)

    def read(self, item: Item) -> tuple[Image.Image, Prior | None, str]:
        row: Mapping[str, object] = _rows(self)[int(item.place)]
        shared = _shared(self)
        return shared.picture(row), shared.prior(row) if self.with_prior else None, ""


def _some(name: str, items: list[Item], failures: list[Failure]) -> tuple[list[Item], list[Failure]]:
    if not items:
        first = failures[0]
        raise InputError(f"{name}: none of {len(failures):,} items can be asked; {first.id}: {first.reason}")
    return items, failures


def _pixels(path: Path) -> int:
    """Of an image, from its header; 0 for one that cannot be read, which is told when it is asked about."""
    try:
        check_header(path)
        with Image.open(path, formats=PICTURE_FORMATS) as image:
            return image.width * image.height
    # Pillow raises whatever a damaged file leads it to.
    except Exception:
        return 0


@cache
def _rows(source: TripletDataset) -> Dataset:
    """Opened once in a process; a worker opens what the others have prepared."""
    columns = (*_COLUMNS, *(PRIOR_COLUMNS if source.with_prior else ()))
    return load_rows(source.name, source.configs, source.split, columns)


@cache
def _shared(source: TripletDataset) -> SharedReading:
    """One in a process, as the rows are."""
    return SharedReading()
