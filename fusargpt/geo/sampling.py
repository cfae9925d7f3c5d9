"""Which blocks of a large raster stand for all of it."""

from collections.abc import Iterator

import numpy as np
from rasterio.windows import Window

READ_PIXELS = 2**24
SAMPLE_PIXELS = 2**22
FEWEST_BLOCKS = 36
_MOST_PIXELS = 2**30  # of one list; where so many hold next to no data, the scene is taken to have none
# Thinner blocks, such as strips of one row, are taken several at a time: each read costs time of its own.
_FEWEST_PIXELS_A_READ = 2**16


def sample_windows(width: int, height: int, block_width: int, block_height: int) -> Iterator[tuple[list[Window], int]]:
    """Whole blocks of a raster, evenly spread, in growing numbers: each next list is for when the last held too little.

    The first list has all blocks where these are 16 million pixels or fewer, otherwise as many as make up that number
    and at least 36. Each next one has about four times as many, up to all or a billion pixels.

    Yields:
        Windows, and the step in both directions with which to take pixels of them so that about 4 million remain.
    """
    block_height *= max(1, _FEWEST_PIXELS_A_READ // (block_width * block_height))
    columns, rows = -(-width // block_width), -(-height // block_height)
    pixels = min(block_width, width) * min(block_height, height)
    wanted = max(READ_PIXELS // pixels, FEWEST_BLOCKS)
    while True:
        across, down = columns, rows
        if columns * rows > wanted:
            across = min(columns, max(1, round((wanted * width / height) ** 0.5)))
            down = min(rows, max(1, wanted // across))
            across = min(columns, max(1, wanted // down))
        windows = [
            Window.from_slices(
                (row * block_height, min((row + 1) * block_height, height)),
                (column * block_width, min((column + 1) * block_width, width)),
            )
            for row in _middles(rows, down)
            for column in _middles(columns, across)
        ]
        yield windows, max(1, int(np.ceil((across * down * pixels / SAMPLE_PIXELS) ** 0.5)))
        if across * down == columns * rows or across * down * pixels >= _MOST_PIXELS:
            return
        wanted *= 4


def _middles(count: int, parts: int) -> list[int]:
    """The middle ones of `parts` even parts of 0 to count - 1."""
    return [(2 * part + 1) * count // (2 * parts) for part in range(parts)]
