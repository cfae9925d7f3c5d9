"""Pictures drawn from what there is: simulated scenes and real chips, a new one for every number.

Of the real chips only those of the training list are read. A share of the pictures are several put together, so that
what is small is learned, and some show a part without any object: every chip of SSDD holds a ship.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fusargpt.errors import InputError, naming
from fusargpt.geo.image import PICTURE_FORMATS
from fusargpt.tasks.questions import box_order
from fusargpt.triplets.voc import voc_entries
from trl_recipes.small.pictures import (
    UNKNOWN,
    WAYS,
    Picture,
    as_amplitude,
    as_decibels,
    cut,
    cuts,
    in_whole_pixels,
    scaled,
    together,
    turned,
)

TRAINING_LIST, VALIDATION_LIST = "train_full.txt", "validation.txt"
_ROWS = (1, 2, 3)
_SMALLEST_PART = 0.4  # of either side
_EMPTY_SHARE = 0.15  # of parts: those that show no object, where one is found
_TRIES = 20
_OTHER_TONE_SHARE = 0.4
_GAMMA = (0.7, 1.4)


@dataclass(frozen=True)
class Mix:
    """How pictures are put together.

    Attributes:
        row_shares: of pictures of one part, of two rows of two, and of three rows of three.
        whole_share: of parts, those that are a source's whole picture.
    """

    row_shares: tuple[float, float, float]
    whole_share: float


PARTS = Mix((0.65, 0.25, 0.1), 0.3)
WHOLE = Mix((0.85, 0.12, 0.03), 0.75)
"""Most are as a user shows them."""


class Source(Protocol):
    """Pictures by number."""

    def __len__(self) -> int: ...

    def picture(self, index: int) -> Picture: ...


@dataclass(frozen=True)
class Chips:
    """Real chips in memory; grey of amplitudes."""

    pictures: Sequence[Picture]
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.pictures)

    def picture(self, index: int) -> Picture:
        return self.pictures[index]


def read_chips(folder: Path, names: str = TRAINING_LIST) -> Chips:
    """The chips of a list in a folder of SSDD: `images`, `annotations` in VOC's XML, and the list.

    Raises:
        InputError: no such list, an empty one, or a chip that cannot be read.
    """
    path = folder / names
    if not path.is_file():
        raise InputError(f"{path}: not a file; expected the folder of SSDD with images, annotations and {names}")
    stems = [Path(name).stem for name in path.read_text(encoding="utf-8").split()]
    if not stems:
        raise InputError(f"{path}: names no chip; expected one a line")
    return Chips([_chip(folder, stem) for stem in stems], stems)


def _chip(folder: Path, stem: str) -> Picture:
    image = folder / "images" / f"{stem}.jpg"
    try:
        with Image.open(image, formats=PICTURE_FORMATS) as opened:
            pixels = np.asarray(opened.convert("L"))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{image}: cannot be read ({error}); expected a JPEG or PNG") from error
    height, width = pixels.shape
    entries = voc_entries(str(folder / "annotations" / f"{stem}.xml"), width, height)
    with naming(stem):
        boxes = np.array([[float(edge) for edge in entry["bbox_2d"]] for entry in entries]).reshape(-1, 4)
        labels = tuple(str(entry["label"]) for entry in entries)
    # Published edges leave the canvas by a pixel here and there.
    boxes = np.clip(boxes, 0, [width, height, width, height])
    return Picture(pixels, boxes, labels, np.full(pixels.shape, UNKNOWN, np.uint8))


@dataclass(frozen=True)
class Drawing:
    """What pictures are drawn from, and how large they are.

    Attributes:
        sources: of pictures of decibels, and of amplitudes (`Chips`).
        shares: of the pictures, one for each source.
        side: pixels of the square that a picture becomes.
        most_objects: that a picture has; one with more is replaced by one of its own parts, or by another one.
        seed: a picture follows from it and its number.
        mix: how they are put together.
    """

    sources: Sequence[Source]
    shares: Sequence[float]
    side: int
    most_objects: int
    seed: int
    mix: Mix = PARTS

    def draw(self, number: int) -> tuple[int, Picture]:
        """The source of picture `number` and the picture, with whole boxes in the order of answers."""
        rng = np.random.default_rng([self.seed, number])
        shares = np.array(self.shares) / sum(self.shares)
        which = int(rng.choice(len(self.sources), p=shares))
        source = self.sources[which]
        while True:
            count = int(rng.choice(_ROWS, p=self.mix.row_shares)) ** 2
            parts = [
                _part(source.picture(int(rng.integers(len(source)))), self.mix.whole_share, rng) for _ in range(count)
            ]
            if sum(len(part.labels) for part in parts) <= self.most_objects:
                break
        whole = together(parts, self.side) if count > 1 else scaled(parts[0], self.side, self.side)
        whole = turned(whole, int(rng.integers(WAYS)))
        return which, ordered(in_whole_pixels(_toned(whole, isinstance(source, Chips), rng)))


def ordered(picture: Picture) -> Picture:
    """The picture with its boxes in the order in which answers name them."""
    boxes = picture.boxes.astype(int).tolist()
    order = sorted(range(len(boxes)), key=lambda index: box_order(boxes[index]))
    return replace(picture, boxes=picture.boxes[order], labels=tuple(picture.labels[index] for index in order))


def _part(picture: Picture, whole_share: float, rng: np.random.Generator) -> Picture:
    """A part that cuts no object, or the whole."""
    if rng.random() < whole_share:
        return picture
    wants_empty = rng.random() < _EMPTY_SHARE
    for _ in range(_TRIES):
        # Sides of their own: ships are slimmer or stouter then, as a squeezed picture shows them.
        share = rng.uniform(_SMALLEST_PART, 1)
        across, down = (
            max(1, round(length * min(1.0, share * rng.uniform(0.8, 1.25))))
            for length in (picture.width, picture.height)
        )
        left, top = int(rng.integers(picture.width - across + 1)), int(rng.integers(picture.height - down + 1))
        part = (left, top, left + across, top + down)
        if not cuts(picture, part):
            found = cut(picture, part)
            if not picture.labels or bool(found.labels) != wants_empty:
                return found
    return picture


def _toned(picture: Picture, amplitudes: bool, rng: np.random.Generator) -> Picture:
    """Some in the tone of the other kind: chips are amplitudes, scenes are shown in decibels."""
    if rng.random() < _OTHER_TONE_SHARE:
        return as_decibels(picture, rng.uniform(20, 130)) if amplitudes else as_amplitude(picture, rng.uniform(3, 60))
    return replace(picture, pixels=_curve(picture.pixels, rng.uniform(*_GAMMA)))


def _curve(pixels: NDArray[np.uint8], gamma: float) -> NDArray[np.uint8]:
    table = np.round(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)
    return table[pixels]
