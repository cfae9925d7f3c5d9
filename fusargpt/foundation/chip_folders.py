"""Real chips in folders: SAR-ACD as it is published, and SSDD. Neither comes with this package."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fusargpt.errors import InputError
from fusargpt.foundation.places import Target, View
from fusargpt.geo.image import read_image
from fusargpt.simulator.simulated_scene import IMAGE_SIZE
from fusargpt.triplets.annotations import read_boxes
from fusargpt.triplets.boxes import LabelNames

PICTURES = {".jpg", ".jpeg", ".png", ".tif", ".tiff"}
_NUMBER = re.compile(r"(\d+)(?!.*\d)")  # the last in a name
FOLDS = 5
FEWEST_CHIPS = 10
"""Of a class: five blocks of two."""


@dataclass(frozen=True, eq=False)
class ClassChip:
    """A chip of one object.

    Attributes:
        path: of its file.
        label: number of its class, from 0.
    """

    path: Path
    label: int

    def view(self) -> View:
        """The chip, squeezed to a square. Raises InputError for a file that cannot be read."""
        return View(_square(read_image(self.path)), None)


@dataclass(frozen=True, eq=False)
class BoxedChip:
    """A chip with the boxes of its ships, in pixels of the square that `view` shows.

    Attributes:
        view: the chip, squeezed to a square, without a prior.
        targets: its ships.
        seed: the number in its name.
    """

    view: View
    targets: Sequence[Target]
    seed: int
    shape: tuple[int, int] = (IMAGE_SIZE, IMAGE_SIZE)


def class_folders(folder: Path) -> tuple[list[str], list[ClassChip]]:
    """The chips of `CLASS/NUMBER.jpg`, as SAR-ACD is published, those of a class in the order of their numbers.

    Raises:
        InputError: no such folder, fewer than two classes, a class of fewer than `FEWEST_CHIPS` chips, or a name
            without a number.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected one with a folder of chips for each class")
    names = sorted(path.name for path in folder.iterdir() if path.is_dir())
    if len(names) < 2:
        raise InputError(f"{folder}: found {len(names)} folders; expected one of chips for each of two classes or more")
    chips: list[ClassChip] = []
    for label, name in enumerate(names):
        paths = [path for path in (folder / name).iterdir() if path.suffix.lower() in PICTURES]
        if len(paths) < FEWEST_CHIPS:
            raise InputError(f"{folder / name}: found {len(paths)} pictures; expected at least {FEWEST_CHIPS}")
        chips += [ClassChip(path, label) for path in sorted(paths, key=lambda path: (_number(path), path.name))]
    return names, chips


def fold_of_chips(count: int) -> NDArray[np.int64]:
    """The fold of each of `count` chips of a class in the order of their numbers: blocks of neighbours."""
    return np.arange(count) * FOLDS // count


def ssdd(folder: Path) -> dict[str, list[BoxedChip]]:
    """The chips of SSDD by split: "train", every fifth of which is "validation" instead, and "test".

    Args:
        folder: with `images`, `annotations` (VOC), and the names of the chips in `train_full.txt` or, where there is
            none, `train.txt`, and in `validation.txt`, which are only scored.

    Raises:
        InputError: a file that is missing or cannot be read.
    """
    lists = [path for name in ("train_full.txt", "train.txt") if (path := folder / name).is_file()]
    if not lists:
        raise InputError(f"{folder}: no train_full.txt or train.txt; expected the names of SSDD's training chips")
    known = sorted(_names(lists[0]))
    return {
        "train": [_boxed(folder, name) for index, name in enumerate(known) if index % 5 != 4],
        "validation": [_boxed(folder, name) for name in known[4::5]],
        "test": [_boxed(folder, name) for name in sorted(_names(folder / "validation.txt"))],
    }


def _names(path: Path) -> list[str]:
    try:
        names = path.read_text(encoding="utf-8").split()
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read; expected the name of a chip a line") from error
    if len(names) < FEWEST_CHIPS:
        raise InputError(f"{path}: found {len(names)} names; expected at least {FEWEST_CHIPS}")
    return names


def _boxed(folder: Path, name: str) -> BoxedChip:
    picture = read_image(folder / "images" / f"{name}.jpg")
    annotations = str(folder / "annotations" / f"{name}.xml")
    found = read_boxes(annotations, name, *picture.size, geometry=None, names=LabelNames(("ship",), {}))
    across, down = (IMAGE_SIZE / side for side in picture.size)
    edges = [box.edges for box in found.boxes]
    targets = [Target((x1 * across, y1 * down, x2 * across, y2 * down), "ship", "") for x1, y1, x2, y2 in edges]
    return BoxedChip(View(_square(picture), None), targets, _number(Path(name)))


def _square(picture: Image.Image) -> Image.Image:
    return picture.convert("L").resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC)


def _number(path: Path) -> int:
    found = _NUMBER.search(path.stem)
    if found is None:
        raise InputError(f"{path}: no number in its name; expected one, by which chips of one target stay together")
    return int(found[1])
