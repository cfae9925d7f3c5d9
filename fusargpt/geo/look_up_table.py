"""Look-up tables of a Sentinel-1 product: values at some lines and pixels, read between them.

Lines and pixels count from 0, as in the product. Between the points of a vector, and between vectors, values are
interpolated linearly; beyond the first and last they stay what they are there. So the product's calibration annotation
says (Sentinel-1 Product Specification, S1-RS-MDA-52-7441), and ESA's note on thermal denoising (MPC-0392) of its noise.
"""

from dataclasses import dataclass
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from fusargpt.errors import InputError
from fusargpt.geo.annotation_xml import number, numbers, vectors, whole


@dataclass(frozen=True, eq=False)
class LookUpTable:
    """Values at points of lines that are not all at the same pixels.

    Attributes:
        lines: [V], ascending.
        pixels: of each line's points, [P] ascending.
        values: at each, [P].
    """

    lines: NDArray[np.float64]
    pixels: tuple[NDArray[np.float64], ...]
    values: tuple[NDArray[np.float64], ...]

    @staticmethod
    def of(element: Element, path: str, values: str) -> "LookUpTable":
        """From the vectors at `path` below an element, whose values are in their element `values`.

        Raises:
            InputError: no vector, points that do not ascend, or another number of values than of points.
        """
        found = vectors(element, path)
        lines = np.array([number(vector, "line") for vector in found])
        _check_ascending(lines, path)
        pixels = tuple(numbers(vector, "pixel") for vector in found)
        read = tuple(numbers(vector, values) for vector in found)
        for line, at, value in zip(lines, pixels, read, strict=True):
            _check_ascending(at, f"{path}, line {line:g}")
            _check_as_many(at, value, f"{path}, line {line:g}")
        return LookUpTable(lines, pixels, read)

    def over(self, top: int, left: int, height: int, width: int) -> NDArray[np.float64]:
        """Values [height, width] at the pixels of a window."""
        rows, columns = top + np.arange(height), left + np.arange(width)
        if len(self.lines) == 1:
            return np.broadcast_to(np.interp(columns, self.pixels[0], self.values[0]), (height, width))
        above = np.clip(np.searchsorted(self.lines, rows, "right") - 1, 0, len(self.lines) - 2)
        first = int(above[0])
        needed = range(first, int(above[-1]) + 2)
        at_columns = np.stack([np.interp(columns, self.pixels[index], self.values[index]) for index in needed])
        start, end = self.lines[above], self.lines[above + 1]
        share = np.clip((rows - start) / (end - start), 0, 1)[:, None]
        return at_columns[above - first] * (1 - share) + at_columns[above + 1 - first] * share


@dataclass(frozen=True, eq=False)
class AzimuthBlock:
    """By what the noise of a part of an image, the whole of a swath's burst or more, is multiplied along its lines.

    Attributes:
        rows: first and last line.
        columns: first and last pixel.
        lines: [P], ascending.
        values: at each, [P].
    """

    rows: tuple[int, int]
    columns: tuple[int, int]
    lines: NDArray[np.float64]
    values: NDArray[np.float64]

    @staticmethod
    def of(vector: Element) -> "AzimuthBlock":
        """From a `noiseAzimuthVector`; raises InputError for one that says of no part what it is."""
        rows = whole(vector, "firstAzimuthLine"), whole(vector, "lastAzimuthLine")
        columns = whole(vector, "firstRangeSample"), whole(vector, "lastRangeSample")
        if rows[0] > rows[1] or columns[0] > columns[1]:
            raise InputError(f"<{vector.tag}>: lines {rows} and samples {columns}; expected the first before the last")
        lines, values = numbers(vector, "line"), numbers(vector, "noiseAzimuthLut")
        _check_ascending(lines, vector.tag)
        _check_as_many(lines, values, vector.tag)
        return AzimuthBlock(rows, columns, lines, values)

    def multiply(self, noise: NDArray[np.float64], top: int, left: int) -> None:
        """Multiply, in place, the part of a window's noise [height, width] that lies in the block."""
        height, width = noise.shape
        rows = slice(max(self.rows[0] - top, 0), min(self.rows[1] + 1 - top, height))
        columns = slice(max(self.columns[0] - left, 0), min(self.columns[1] + 1 - left, width))
        if rows.start < rows.stop and columns.start < columns.stop:
            at = top + np.arange(rows.start, rows.stop)
            noise[rows, columns] *= np.interp(at, self.lines, self.values)[:, None]


def _check_ascending(points: NDArray[np.float64], where: str) -> None:
    if (np.diff(points) <= 0).any():
        raise InputError(f"{where}: points that do not ascend")


def _check_as_many(points: NDArray[np.float64], values: NDArray[np.float64], where: str) -> None:
    if len(points) != len(values):
        raise InputError(f"{where}: {len(values)} values for {len(points)} points")
