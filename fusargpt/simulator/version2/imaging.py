"""What a radar makes of the ground: speckle, impulse response with side lobes, looks, noise.

The field is complex: a cell of ground is many scatterers of random phase, so circular Gaussian with the variance of
its backscatter (Goodman, J. Opt. Soc. Am. 66, 1976), a building's corner is one of a phase of its own. Both pass the
same linear response, a rectangular band in range and azimuth with a raised cosine as its weight; the intensity is the
square. Correlation of speckle, side lobes, and the blooming of bright points all follow from that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from fusargpt.simulator.version2.grid import Grid
from fusargpt.simulator.version2.view import View


@dataclass(frozen=True)
class Points:
    """Single scatterers. metres: float64 [N, 2], down and right; cross_section: m^2 [N]."""

    metres: NDArray[np.float64]
    cross_section: NDArray[np.float64]

    @staticmethod
    def together(parts: "Sequence[Points]") -> "Points":
        """All of them; there may be none."""
        metres = np.concatenate([np.zeros((0, 2)), *(part.metres for part in parts)])
        return Points(metres, np.concatenate([np.zeros(0), *(part.cross_section for part in parts)]))


def response(grid: Grid, view: View) -> NDArray[np.float32]:
    """The transfer function [H, W], in the order of `scipy.fft.fft2`."""
    frequency = fft.fftfreq(grid.size, grid.cell_m).astype(np.float32)
    azimuth_m, range_m = view.resolution_m
    total = np.ones((grid.size, grid.size), np.float32)
    for (down, right), resolution in ((view.range_direction, range_m), (view.azimuth_direction, azimuth_m)):
        share = (frequency[:, None] * np.float32(down) + frequency * np.float32(right)) * np.float32(resolution)
        weight = view.weight + (1 - view.weight) * np.cos(2 * np.pi * share)
        total *= np.where(np.abs(share) <= 0.5, weight, 0).astype(np.float32)
    return total


def image(
    grid: Grid, view: View, backscatter: NDArray[np.floating], points: Points, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Backscatter with speckle, power [side, side].

    Args:
        grid: of the computation.
        view: the radar.
        backscatter: of the ground, power [H, W], without noise.
        points: single scatterers beside it.
        rng: of speckle, noise and phases.
    """
    area = grid.cell_m**2
    transfer = response(grid, view)
    spread = np.sqrt((backscatter + 10 ** (view.noise_db / 10)) * (area / 2)).astype(np.float32)
    index = grid.index(points.metres)
    inside = ((index >= 0) & (index < grid.size)).all(1)
    rows, columns = index[inside].T
    amplitude = np.sqrt(points.cross_section[inside])
    total = np.zeros((grid.side, grid.side))
    for _ in range(view.looks):
        field = np.empty(spread.shape, np.complex64)
        field.real = spread * rng.standard_normal(spread.shape, np.float32)
        field.imag = spread * rng.standard_normal(spread.shape, np.float32)
        # Each look sees a complex target from an aspect of its own.
        phases = np.exp(2j * np.pi * rng.random(len(amplitude)))
        np.add.at(field, (rows, columns), (amplitude * phases).astype(np.complex64))
        spectrum = cast(NDArray[np.complex64], fft.fft2(field, overwrite_x=True))
        seen = cast(NDArray[np.complex64], fft.ifft2(spectrum * transfer, overwrite_x=True))
        total += np.abs(grid.pixels(seen)) ** 2
    return total / (view.looks * area * float(np.mean(transfer.astype(np.float64) ** 2)))
