"""Image files to embed, each whole."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fusargpt.embedding.settings import EmbeddingSettings
from fusargpt.embedding.source import TASK, Box, acquisition_of, outline_of
from fusargpt.errors import InputError
from fusargpt.geo.image import read_image_as
from fusargpt.geo.prior import load_prior
from fusargpt.geo.reading import Reading
from fusargpt.geo.sar_scene import SarScene
from fusargpt.inference.image_folder import images_below
from fusargpt.inference.questions import Answer, Failure, Item, Question

TIFF_SUFFIXES = (".tif", ".tiff")


class ImageFiles:
    """Image files, each whole, with the prior in an `.npz` file of the same name beside it.

    Args:
        names: of files, or of one folder, with the folders below.
        settings: how they are read.
    """

    def __init__(self, names: Sequence[str], settings: EmbeddingSettings) -> None:
        self._names, self._settings = names, settings
        self.name = names[0] if len(names) == 1 else f"{len(names)} files"

    def items(self) -> tuple[list[Item], list[Failure]]:
        if len(self._names) == 1 and Path(self._names[0]).is_dir():
            images, failures = images_below(Path(self._names[0]))
            if not images:
                raise InputError(f"{self.name}: none of {len(failures):,} images can be read; {failures[0].reason}")
            return [Item(name, TASK, "", str(path), 0) for name, path in images.items()], failures
        if len(set(self._names)) < len(self._names):
            raise InputError("images: one is named twice; name each once")
        return [Item(name, TASK, "", name, 0) for name in self._names], []

    def read(self, item: Item) -> Question | Answer:
        path = Path(item.place)
        image, read_as = read_image_as(path, self._reading(path))
        beside = path.with_suffix(".npz")
        prior = load_prior(beside) if beside.exists() and not self._settings.no_prior else None
        acquisition = None
        if _is_tiff(path):
            with SarScene.open(path, self._reading(path)) as scene:
                acquisition = acquisition_of(scene)
        return Question(item, image, "", prior, read_as=str(read_as), acquisition=acquisition)

    def box(self, item: Item, answer: Answer) -> Box:
        return (0, 0, *answer.size)

    def outline(self, item: Item, box: Box) -> dict[str, object] | None:
        path = Path(item.place)
        if not _is_tiff(path):
            return None
        with SarScene.open(path, self._reading(path)) as scene:
            return outline_of(scene.geometry, box)

    def _reading(self, path: Path) -> Reading:
        return self._settings.reading if _is_tiff(path) else replace(self._settings.reading, band=None)


def _is_tiff(path: Path) -> bool:
    return path.suffix.lower() in TIFF_SUFFIXES
