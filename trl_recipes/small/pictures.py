"""Pictures with what is known of them, and how they are cut, turned, scaled, put together and toned.

Boxes and cover follow the pixels exactly: what was inside a box is inside it afterwards. A picture that is turned is
not one that a sensor would take, as shadows and layover point elsewhere (`fusargpt.triplets.augment` says the same).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fusargpt.triplets.augment import turned_box

UNKNOWN = 255
"""In a cover map: nobody knows what is there."""
WAYS = 8
"""To turn and mirror a picture."""
DECIBELS = 25.0
"""From black to white in a picture of decibels, as `fusargpt.simulator.rendering.DISPLAY_DB` has it."""
_LARGE = 2.0  # median grey of an amplitude below which nothing would be left of its steps


@dataclass(frozen=True)
class Picture:
    """What a model is shown, and what is true of it.

    Attributes:
        pixels: uint8 [H, W], or [H, W, 3].
        boxes: float64 [N, 4], x1, y1, x2, y2 in pixels, edges of pixels where they are whole.
        labels: N classes.
        cover: uint8 [H, W], classes of land cover, `UNKNOWN` where none is known.
    """

    pixels: NDArray[np.uint8]
    boxes: NDArray[np.float64]
    labels: tuple[str, ...]
    cover: NDArray[np.uint8]

    @property
    def height(self) -> int:
        return self.pixels.shape[0]

    @property
    def width(self) -> int:
        return self.pixels.shape[1]


def turned(picture: Picture, way: int) -> Picture:
    """The picture in one of `WAYS`: 4 to 7 mirror it left to right first; then quarter turns counter-clockwise."""

    def turn(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.ascontiguousarray(np.rot90(values[:, ::-1] if way >= 4 else values, way % 4))

    boxes = [turned_box(box, picture.width, picture.height, way) for box in picture.boxes.tolist()]
    return replace(
        picture, pixels=turn(picture.pixels), boxes=np.array(boxes).reshape(-1, 4), cover=turn(picture.cover)
    )


def cut(picture: Picture, part: tuple[int, int, int, int]) -> Picture:
    """The part between whole edges x1, y1, x2, y2, with the boxes that lie wholly in it; cut ones are left out."""
    x1, y1, x2, y2 = part
    low, high = np.array([x1, y1, x1, y1]), np.array([x2, y2, x2, y2])
    inside: NDArray[np.bool_] = np.all((picture.boxes >= low) & (picture.boxes <= high), axis=1)
    return Picture(
        picture.pixels[y1:y2, x1:x2],
        picture.boxes[inside] - low,
        tuple(label for label, kept in zip(picture.labels, inside.tolist(), strict=True) if kept),
        picture.cover[y1:y2, x1:x2],
    )


def cuts(picture: Picture, part: tuple[int, int, int, int]) -> bool:
    """Whether the edge of a part goes through a box."""
    x1, y1, x2, y2 = part
    left, top, right, bottom = picture.boxes.T
    seen = (right > x1) & (left < x2) & (bottom > y1) & (top < y2)
    whole = (left >= x1) & (top >= y1) & (right <= x2) & (bottom <= y2)
    return bool((seen & ~whole).any())


def scaled(picture: Picture, width: int, height: int) -> Picture:
    """The picture in `width` x `height` pixels: bicubic as processors do it, cover of the nearest pixel."""
    by = np.array([width / picture.width, height / picture.height] * 2)
    if (width, height) == (picture.width, picture.height):
        return picture
    pixels = Image.fromarray(picture.pixels).resize((width, height), Image.Resampling.BICUBIC)
    cover = Image.fromarray(picture.cover).resize((width, height), Image.Resampling.NEAREST)
    return replace(picture, pixels=np.asarray(pixels), boxes=picture.boxes * by, cover=np.asarray(cover))


def together(pictures: Sequence[Picture], side: int) -> Picture:
    """n^2 grey pictures in n rows, each squeezed to its share of a square of `side` pixels, a multiple of n."""
    across = round(len(pictures) ** 0.5)
    cell = side // across
    pixels = np.empty((side, side), np.uint8)
    cover = np.empty((side, side), np.uint8)
    boxes: list[NDArray[np.float64]] = []
    for index, picture in enumerate(pictures):
        small = scaled(picture, cell, cell)
        top, left = index // across * cell, index % across * cell
        pixels[top : top + cell, left : left + cell] = small.pixels
        cover[top : top + cell, left : left + cell] = small.cover
        boxes.append(small.boxes + np.array([left, top, left, top]))
    labels = tuple(label for picture in pictures for label in picture.labels)
    return Picture(pixels, np.concatenate(boxes), labels, cover)


def as_amplitude(picture: Picture, median: float) -> Picture:
    """A picture of decibels as one of amplitudes, as chips are stored, that of the median pixel at `median`."""
    amplitude = 10 ** (picture.pixels * (DECIBELS / 255 / 20))
    grey = amplitude * (max(median, _LARGE) / np.median(amplitude))
    return replace(picture, pixels=np.clip(grey, 0, 255).astype(np.uint8))


def as_decibels(picture: Picture, median: float) -> Picture:
    """A picture of amplitudes as one of decibels, that of the median pixel at grey `median`."""
    decibels = 20 * np.log10(np.maximum(picture.pixels, 1))
    grey = (decibels - np.median(decibels)) * (255 / DECIBELS) + median
    return replace(picture, pixels=np.clip(grey, 0, 255).astype(np.uint8))


def in_whole_pixels(picture: Picture) -> Picture:
    """The picture with boxes of whole pixels inside it, a pixel wide at least."""
    edges = np.array([picture.width, picture.height] * 2)
    boxes = np.clip(np.round(picture.boxes), 0, edges)
    boxes[:, :2] = np.minimum(boxes[:, :2], edges[:2] - 1)
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
    return replace(picture, boxes=boxes)
