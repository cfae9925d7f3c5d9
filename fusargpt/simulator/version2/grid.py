"""The fine grid that a view is computed on, and fields over it."""

from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from fusargpt.simulator.simulated_scene import RESOLUTION_M, smooth_noise
from fusargpt.simulator.version2.view import PLACE_M, View

Value = TypeVar("Value", bound=np.generic)

_CELL_M = 2.5  # at least as fine as the finest resolution
_MARGIN_M = 60.0


@dataclass(frozen=True)
class Grid:
    """Square cells, `factor` of them along a pixel, beyond the place's edges too.

    Attributes:
        side: of the image, in pixels.
        factor: cells along a pixel.
        margin: pixels beyond each edge.
    """

    side: int
    factor: int
    margin: int

    @staticmethod
    def of(view: View) -> "Grid":
        factor = max(1, round(view.pixel_m / _CELL_M))
        margin = int(np.ceil(_MARGIN_M / view.pixel_m))
        while cast(int, fft.next_fast_len(size := (view.side + 2 * margin) * factor)) != size:
            margin += 1
        return Grid(view.side, factor, margin)

    @property
    def size(self) -> int:
        """Cells along each side."""
        return (self.side + 2 * self.margin) * self.factor

    @property
    def cell_m(self) -> float:
        return PLACE_M / self.side / self.factor

    @cached_property
    def centres(self) -> NDArray[np.float32]:
        """Metres from the place's upper left corner, of cells along either axis; some are the centres of pixels."""
        first = self.margin * self.factor + self.factor // 2
        pixel_m = self.cell_m * self.factor
        return ((np.arange(self.size) - first) * self.cell_m + pixel_m / 2).astype(np.float32)

    @cached_property
    def rows(self) -> NDArray[np.float32]:
        """Metres down of each cell, [H, W]."""
        return np.broadcast_to(self.centres[:, None], (self.size, self.size)).copy()

    @cached_property
    def columns(self) -> NDArray[np.float32]:
        """Metres to the right of each cell, [H, W]."""
        return np.broadcast_to(self.centres, (self.size, self.size)).copy()

    def index(self, metres: NDArray[np.floating]) -> NDArray[np.int64]:
        """The cells of places [N, 2] (down, right), metres; may lie outside."""
        return np.round((metres - self.centres[0]) / self.cell_m).astype(np.int64)

    def pixels(self, field: NDArray[Value]) -> NDArray[Value]:
        """What a field [H, W] is at the centres of pixels, [side, side]."""
        start = self.margin * self.factor + self.factor // 2
        stop = start + self.side * self.factor
        return field[start : stop : self.factor, start : stop : self.factor]

    def noise(self, rng: np.random.Generator, scale_m: float) -> NDArray[np.float32]:
        """Standard-normal noise [H, W] whose bumps are `scale_m` apart."""
        cells = max(2, round(self.size * self.cell_m / scale_m))
        return smooth_noise(rng, cells, self.size)

    def regions(self, region: NDArray[np.integer]) -> NDArray[np.int64]:
        """The map of a place, in cells of `RESOLUTION_M`, on this grid; its edges go on beyond the place."""
        last = region.shape[0] - 1
        index = np.clip(np.floor(self.centres / RESOLUTION_M).astype(np.int64), 0, last)
        return region[index[:, None], index].astype(np.int64)

    def turned(self, angle: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Metres along and across a direction, [H, W] each."""
        cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        along, across = self.columns * cosine + self.rows * sine, self.rows * cosine - self.columns * sine
        return along.astype(np.float32, copy=False), across.astype(np.float32, copy=False)

    def shifted(self, field: NDArray[Value], direction: tuple[float, float], metres: float) -> NDArray[Value]:
        """The field at the place `metres` along `direction` from each cell; edges wrap."""
        down, right = (-round(part * metres / self.cell_m) for part in direction)
        return np.roll(field, (down, right), (0, 1))
