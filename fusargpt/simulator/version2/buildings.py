"""Built ground: blocks along streets, whose walls and roofs lie where the radar maps them, towards itself."""

import numpy as np
from numpy.typing import NDArray

from fusargpt.geo.land_classes import BUILT
from fusargpt.simulator.simulated_scene import Scene
from fusargpt.simulator.version2.grid import Grid
from fusargpt.simulator.version2.imaging import Points
from fusargpt.simulator.version2.view import View

_HEIGHT_M, _HEIGHT_SPREAD, _TALLEST_M = 9.0, 0.55, 70.0  # median and logarithmic spread
_STREET_M = (9.0, 16.0)
_BLOCK_M = ((25.0, 90.0), (16.0, 45.0))
_STREET_DB, _ROOF_DB, _SHADE_DB = -6.0, 0.0, -12.0
# A wall and the ground before it are a corner. Where streets run along the track all walls send back to the radar (the
# "cardinal effect": Raney, in Manual of Remote Sensing 2, 1998).
_WALL_DB, _ALIGNED_DB = (-16.0, 6.0), 10.0
_CROSS_POLARISED_DB = -8.0


def raise_buildings(
    power: NDArray[np.float64], scene: Scene, grid: Grid, view: View, rng: np.random.Generator
) -> Points:
    """Change the ground's `power` [H, W] where it is built, in place; returns the corners of walls."""
    built = [index for index, cover in enumerate(scene.landcover) if cover == BUILT and index != scene.apron]
    region = grid.regions(scene.region)
    on = np.isin(region, built)
    if not on.any():
        return Points.together([])
    height, block, street_angle = _heights(scene, grid)
    height = np.where(on, height, 0)
    house = height > 0
    ground = power.copy()
    power[on & ~house] *= 10 ** (_STREET_DB / 10)
    power *= np.where(_shaded(height, grid, view) & ~house, 10 ** (_SHADE_DB / 10), 1)
    # Roofs and facades leave their ground and lie nearer to the radar, over whatever is there.
    roofs = np.argwhere(house)
    power[house] *= 0.3
    spread = rng.random(len(roofs)) ** 0.5
    moved = np.array([view.layover_m(1.0)]) * height[house] * spread / grid.cell_m
    target = roofs - np.round(moved[:, None] * np.array(view.range_direction)).astype(int)
    inside = ((target >= 0) & (target < grid.size)).all(1)
    rows, columns = target[inside].T
    np.add.at(power, (rows, columns), ground[house][inside] * 10 ** (_ROOF_DB / 10))
    return _walls(height, block, street_angle, grid, view, rng)


def _heights(scene: Scene, grid: Grid) -> tuple[NDArray[np.float64], NDArray[np.int64], float]:
    """Metres above ground [H, W] as if all was built, the number of each block, and the angle of the streets."""
    rng = np.random.default_rng([scene.seed, 22])
    angle = float(rng.uniform(0, np.pi))
    along, across = grid.turned(angle)
    length, width, street = (float(rng.uniform(*limits)) for limits in (*_BLOCK_M, _STREET_M))
    row = np.floor(across / (width + street)).astype(int)
    shifted = along + rng.uniform(0, length, 64)[row % 64]
    block = (row % 64) * 64 + np.floor(shifted / (length + street)).astype(int) % 64
    heights = np.minimum(_HEIGHT_M * np.exp(_HEIGHT_SPREAD * rng.standard_normal(4096)), _TALLEST_M)
    heights[rng.random(4096) < rng.uniform(0.05, 0.5)] = 0  # yards and parks
    # Houses of a block differ, and leave gaps.
    parts = np.floor((shifted % (length + street)) / rng.uniform(12, 40)).astype(int)
    lower = rng.uniform(0.2, 1.2, (4096, 16))
    lower[rng.random(lower.shape) < 0.15] = 0
    open_ground = (shifted % (length + street) > length) | (across % (width + street) > width)
    return np.where(open_ground, 0, heights[block] * lower[block, parts % 16]), block, angle


def _shaded(height: NDArray[np.float64], grid: Grid, view: View) -> NDArray[np.bool_]:
    """Ground that something nearer to the radar hides."""
    shaded = np.zeros(height.shape, bool)
    back = (-view.range_direction[0], -view.range_direction[1])
    reach = min(view.shadow_m(float(height.max())), 60.0)
    for distance in np.arange(grid.cell_m, reach, grid.cell_m):
        shaded |= view.shadow_m(1.0) * grid.shifted(height, back, float(distance)) > distance
    return shaded


def _walls(
    height: NDArray[np.float64],
    block: NDArray[np.int64],
    street_angle: float,
    grid: Grid,
    view: View,
    rng: np.random.Generator,
) -> Points:
    """Corners where something rises, seen from the radar."""
    back = (-view.range_direction[0], -view.range_direction[1])
    rise = height - grid.shifted(height, back, grid.cell_m)
    places = np.argwhere(rise > 1.5)
    if not len(places):
        return Points.together([])
    track = np.arctan2(view.azimuth_direction[0], view.azimuth_direction[1])
    # Streets along the track or across it: walls face the radar either way.
    aligned = abs(np.cos(2 * (street_angle - track))) ** 12
    rows, columns = places.T
    of_block = rng.uniform(*_WALL_DB, 4096)[block[rows, columns]]
    decibels = of_block + _ALIGNED_DB * aligned
    if view.polarization == "VH":
        decibels += _CROSS_POLARISED_DB
    size = np.minimum(rise[rows, columns], 20) / 8 * grid.cell_m**2
    section = 10 ** (decibels / 10) * size * rng.gamma(0.4, 2.5, len(places))
    metres = grid.centres[places].astype(np.float64)
    return Points(metres, section)
