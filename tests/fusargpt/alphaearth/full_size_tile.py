"""A tile of the size and layout of a published one, 8192 x 8192 x 64 int8 in 3 GB, of which little is on disk.

Published tiles are BigTIFF files with planes of 1024 x 1024 blocks, Zstandard, and overviews down to one pixel. Here
all blocks have their place in the file, as large as real ones, but only some hold data. The others are holes of a
sparse file: whoever reads one gets zeros, which no decoder takes for Zstandard.
"""

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

SIZE = 8192
BLOCK = 1024
BANDS = 64
LEVELS = 14
TYPICAL_BYTES = 590_000
"""Of one plane of a published block, compressed."""

_SHORT, _LONG8, _DOUBLE, _ASCII = 3, 16, 12, 2
_FORMATS = {_SHORT: "H", _LONG8: "Q", _DOUBLE: "d", _ASCII: "s"}


@dataclass
class FullSizeTile:
    """What was written.

    Attributes:
        file_bytes: length of the file.
        block_bytes: compressed bytes of all 64 planes of a block, by (level, block row, block column).
        codes: int8 [64, 1024, 1024] of the same blocks; nodata beyond the edge of the tile.
    """

    file_bytes: int
    block_bytes: dict[tuple[int, int, int], int]
    codes: dict[tuple[int, int, int], np.ndarray]


def write_full_size_tile(
    path: Path, *, epsg: int, west: float, south: float, blocks: list[tuple[int, int]], levels: tuple[int, ...]
) -> FullSizeTile:
    """Write the tile with data in `blocks` (row, column) of the full resolution and in all of the overviews `levels`.

    Overview `level` has 1 / 2^level of the size, at most one block; it is data of its own, not means.
    """
    rng = np.random.default_rng(0)
    codes = {(0, row, column): _codes(rng, BLOCK) for row, column in blocks}
    codes |= {(level, 0, 0): _codes(rng, SIZE >> level) for level in levels}
    codec = pa.Codec("zstd", compression_level=1)
    compressed = {
        key: [codec.compress(plane.tobytes(), asbytes=True) for plane in planes] for key, planes in codes.items()
    }
    directories = [_Directory(level, epsg, west, south) for level in range(LEVELS)]
    position = 16
    for directory in directories:
        position = directory.place(position)
    content: list[tuple[int, bytes]] = []
    for directory in reversed(directories):  # the smallest overview comes first, as in published files
        for band in range(BANDS):
            for row in range(directory.blocks):
                for column in range(directory.blocks):
                    planes = compressed.get((directory.level, row, column))
                    data = planes[band] if planes else b""
                    length = len(data) if planes else math.ceil(TYPICAL_BYTES * min(1, directory.side / BLOCK) ** 2)
                    index = (band * directory.blocks + row) * directory.blocks + column
                    directory.offsets[index], directory.lengths[index] = position, length
                    if planes:
                        content.append((position, data))
                    position += length
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        file.truncate(position)
        file.write(struct.pack("<2sHHHQ", b"II", 43, 8, 0, directories[0].start))
        for directory in directories:
            file.seek(directory.start)
            file.write(directory.encode(last=directory.level == LEVELS - 1))
        for offset, data in content:
            file.seek(offset)
            file.write(data)
    sizes = {key: sum(map(len, planes)) for key, planes in compressed.items()}
    return FullSizeTile(position, sizes, codes)


def _codes(rng: np.random.Generator, side: int) -> np.ndarray:
    """int8 [64, 1024, 1024], which compresses as published blocks do; nodata beyond `side`."""
    codes = np.full((BANDS, BLOCK, BLOCK), -128, np.int8)
    side = min(side, BLOCK)
    codes[:, :side, :side] = rng.integers(-12, 13, (BANDS, side, side), dtype=np.int8)
    centres = rng.choice(np.array([-44, 44], np.int8), (BANDS, 1, 1))
    codes[:, :side, :side] += centres
    return codes


class _Directory:
    """One image file directory: full resolution (level 0) or an overview."""

    def __init__(self, level: int, epsg: int, west: float, south: float) -> None:
        self.level = level
        self.side = SIZE >> level
        self.blocks = -(-self.side // BLOCK)
        self.offsets = [0] * (BANDS * self.blocks**2)
        self.lengths = [0] * (BANDS * self.blocks**2)
        self.epsg, self.west, self.south = epsg, west, south
        self.start = 0

    def place(self, start: int) -> int:
        """Put the directory at `start`; returns where the next may begin."""
        self.start = start
        return start + len(self.encode(last=True))

    def encode(self, last: bool) -> bytes:
        tags: dict[int, tuple[int, list[Any]]] = {
            254: (_LONG8, [int(self.level > 0)]),
            256: (_LONG8, [self.side]),
            257: (_LONG8, [self.side]),
            258: (_SHORT, [8] * BANDS),
            259: (_SHORT, [50000]),  # Zstandard
            262: (_SHORT, [1]),
            277: (_SHORT, [BANDS]),
            284: (_SHORT, [2]),  # planes
            322: (_SHORT, [BLOCK]),
            323: (_SHORT, [BLOCK]),
            324: (_LONG8, self.offsets),
            325: (_LONG8, self.lengths),
            338: (_SHORT, [0] * (BANDS - 1)),
            339: (_SHORT, [2] * BANDS),  # signed
            42113: (_ASCII, [b"-128\0"]),
        }
        if self.level == 0:
            # South-up needs the matrix: scale and tie point cannot say it.
            tags[34264] = (_DOUBLE, [10, 0, 0, self.west, 0, 10, 0, self.south, 0, 0, 0, 0, 0, 0, 0, 1])
            tags[34735] = (_SHORT, [1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, self.epsg])
        entries, values = b"", b""
        values_start = self.start + 8 + 20 * len(tags) + 8
        for tag, (kind, numbers) in sorted(tags.items()):
            if kind == _ASCII:
                data, count = numbers[0], len(numbers[0])
            else:
                data, count = struct.pack(f"<{len(numbers)}{_FORMATS[kind]}", *numbers), len(numbers)
            if len(data) <= 8:
                entries += struct.pack("<HHQ8s", tag, kind, count, data)
            else:
                entries += struct.pack("<HHQQ", tag, kind, count, values_start + len(values))
                values += data + b"\0" * (-len(data) % 8)
        end = values_start + len(values)
        return struct.pack("<Q", len(tags)) + entries + struct.pack("<Q", 0 if last else end) + values
