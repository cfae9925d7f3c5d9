"""From what a user names to what is embedded: a scene, image files, a folder of them, or a dataset."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import rasterio

from fusargpt.embedding.image_files import TIFF_SUFFIXES, ImageFiles
from fusargpt.embedding.scene_tiles import SceneTiles
from fusargpt.embedding.settings import EmbeddingSettings
from fusargpt.embedding.source import Source
from fusargpt.errors import InputError
from fusargpt.geo.remote import is_remote
from fusargpt.geo.safe_files import is_safe
from fusargpt.geo.sar_scene import SarScene
from fusargpt.geo.stac import is_item
from fusargpt.inference.image_folder import IMAGE_SUFFIXES, is_dataset
from fusargpt.scenes.ask_scene import GDAL_CACHE_MB

Kind = Literal["scene", "files", "folder", "dataset"]


@contextmanager
def open_source(names: Sequence[str], settings: EmbeddingSettings, seen: int) -> Generator[Source]:
    """The scene, files, folder or dataset that is named.

    Args:
        names: of one of them, or of several image files.
        settings: how it is read.
        seen: pixels of the square in which the model sees a tile.

    Raises:
        InputError: what cannot be read, or what the settings do not fit.
    """
    kind = kind_of(names)
    if kind == "scene":
        settings.check_prior()
        with rasterio.Env(GDAL_CACHEMAX=GDAL_CACHE_MB), SarScene.open(names[0], settings.reading) as scene:
            yield SceneTiles.of(scene, settings, seen)
    elif kind == "dataset":
        from fusargpt.embedding.dataset_rows import DatasetRows  # datasets takes seconds, and an extra

        yield DatasetRows(names[0], settings)
    else:
        yield ImageFiles(names, settings)


def kind_of(names: Sequence[str]) -> Kind:
    """What is named.

    Raises:
        InputError: nothing that can be embedded.
    """
    if len(names) > 1:
        return "files"
    name = names[0]
    path = Path(name)
    if is_remote(name) or is_safe(name) or is_item(name) or (path.is_file() and path.suffix.lower() in TIFF_SUFFIXES):
        return "scene"
    if path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES:
        return "files"
    if path.suffix.lower() in IMAGE_SUFFIXES and not path.is_dir():
        raise InputError(f"{name}: no such file; expected an image, a folder of images, a scene or a dataset")
    return "dataset" if is_dataset(name) else "folder"
