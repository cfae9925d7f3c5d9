"""How a scene is cut into chips, and the size in which the model sees each.

Chips cover the whole scene. Neighbours overlap by at least what is asked for; the rest that does not fit is spread over
all of them, so that none reaches over the edge. A scene that is smaller than a chip along one side gives chips of its
own size there, and with chip size 0 every scene is one chip.

Qwen2.5-VL's image processor resizes what it gets: both sides to multiples of 28 pixels, the area between two limits.
Answers are in pixels of the result, so chips are resized in the same way, with the same filter, when they are cut, and
their boxes with them; the processor then finds nothing left to do, and training sees exactly what inference sees. Chips
of 504 x 504 pixels come out as they are.
"""

import math

from PIL import Image
from rasterio.windows import Window

from fusargpt.errors import InputError
from fusargpt.geo.image import MAX_SIDE

CHIP_SIZE = 504
TOKEN_SIDE = 28
"""Pixels; one visual token covers 28 x 28."""
MIN_PIXELS, MAX_PIXELS = 3136, 12_845_056
"""Area within which the processor of the published Qwen2.5-VL checkpoints leaves images."""
_MAX_ASPECT_RATIO = 200
_NEIGHBOURHOOD = 1024
"""Pixels. Chips go square by square of this side: of a block of AlphaEarth in memory as many as lie on it are cut, and
of a file in strips, as Sentinel-1 products are, a thousand rows are enough."""


def chip_windows(width: int, height: int, size: int = CHIP_SIZE, overlap: int = 0) -> list[Window]:
    """Windows that cover a scene of `width` x `height` pixels, in the order of `by_neighbourhood`.

    Args:
        size: of a chip's side; 0 for the whole scene.
        overlap: pixels that neighbours share at least, below `size`.

    Raises:
        InputError: size 0 and a scene with more than 8,192 pixels on a side.
    """
    if size == 0:
        if max(width, height) > MAX_SIDE:
            raise InputError(
                f"{width:,} x {height:,} pixels as one chip; at most {MAX_SIDE:,} on each side, so choose a chip size"
            )
        return [_window(0, 0, width, height)]
    columns, rows = _starts(width, size, overlap), _starts(height, size, overlap)
    across, down = min(size, width), min(size, height)
    return [_window(x, y, across, down) for x, y in by_neighbourhood([(x, y) for y in rows for x in columns])]


def by_neighbourhood(corners: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Upper left corners (x, y) of chips so that those near each other follow each other: what lies beneath them is
    then read seldom. Squares of 1,024 pixels row by row, and within each its chips row by row."""
    return sorted(corners, key=lambda corner: (corner[1] // _NEIGHBOURHOOD, corner[0] // _NEIGHBOURHOOD, *corner[::-1]))


def _window(left: int, top: int, width: int, height: int) -> Window:
    return Window.from_slices((top, top + height), (left, left + width))


def _starts(side: int, size: int, overlap: int) -> list[int]:
    if side <= size:
        return [0]
    count = math.ceil((side - overlap) / (size - overlap))
    return [index * (side - size) // (count - 1) for index in range(count)]


def seen_size(
    width: int,
    height: int,
    min_pixels: int = MIN_PIXELS,
    max_pixels: int = MAX_PIXELS,
    token_side: int = TOKEN_SIDE,
) -> tuple[int, int]:
    """(width, height) to which the image processor of Qwen2.5-VL and Qwen3-VL resizes an image.

    Args:
        width: pixels.
        height: pixels.
        min_pixels: the processor's `size.shortest_edge`, which despite its name is an area.
        max_pixels: its `size.longest_edge`, likewise.
        token_side: pixels that one visual token covers each way: its `patch_size` times its `merge_size`.

    Raises:
        InputError: one side is more than 200 times the other.
    """
    if max(width, height) > _MAX_ASPECT_RATIO * min(width, height):
        raise InputError(f"{width} x {height} pixels; one side may be at most {_MAX_ASPECT_RATIO} times the other")
    # round() to even, as the processor rounds.
    tokens_across, tokens_down = round(width / token_side), round(height / token_side)
    area = tokens_across * tokens_down * token_side**2
    if area > max_pixels:
        shrink = math.sqrt(width * height / max_pixels)
        tokens_across, tokens_down = (max(1, math.floor(side / shrink / token_side)) for side in (width, height))
    elif area < min_pixels:
        grow = math.sqrt(min_pixels / (width * height))
        tokens_across, tokens_down = (math.ceil(side * grow / token_side) for side in (width, height))
    return tokens_across * token_side, tokens_down * token_side


def resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The image in `size` (width, height), by the filter of the model's image processor."""
    return image if image.size == size else image.resize(size, Image.Resampling.BICUBIC)
