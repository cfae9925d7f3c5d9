"""What a name of many images is: a folder of image files, or a dataset of rows."""

import os
from pathlib import Path

from fusargpt.errors import InputError
from fusargpt.inference.questions import Failure
from modeling_fusargpt.artefacts import HUB_ID

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")


def images_below(folder: Path) -> tuple[dict[str, Path], list[Failure]]:
    """The image files in a folder and the folders below, by their names in it, in order; and what cannot be read.

    Raises:
        InputError: there is none.
    """
    paths = [path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and not path.is_dir()]
    if not paths:
        raise InputError(f"{folder}: no image; expected {', '.join(IMAGE_SUFFIXES)} files, or Parquet files")
    images: dict[str, Path] = {}
    failures: list[Failure] = []
    for path in sorted(paths):
        name = path.relative_to(folder).as_posix()
        shown = os.fsencode(name).decode("utf-8", "backslashreplace")
        if shown != name:
            failures.append(Failure(shown, "the name of the file is no UTF-8; rename it"))
        elif not path.is_file():
            failures.append(Failure(name, "a pipe, a device or a broken link; expected a file"))
        else:
            images[name] = path
    return images, failures


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
