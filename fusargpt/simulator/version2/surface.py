"""What the ground itself sends back: water under wind, fields that may be flooded, woods, roads, shores."""

import numpy as np
from numpy.typing import NDArray

from fusargpt.geo.land_classes import BUILT, CROPS, LANDCOVER_CLASSES, WATER
from fusargpt.simulator.landcover import load_statistics
from fusargpt.simulator.rendering import POLARIZATIONS
from fusargpt.simulator.simulated_scene import Scene
from fusargpt.simulator.version2.grid import Grid
from fusargpt.simulator.version2.view import PLACE_M, View

_TREES = LANDCOVER_CLASSES.index("trees")
_FARMED = (CROPS, LANDCOVER_CLASSES.index("grass"), LANDCOVER_CLASSES.index("flooded vegetation"))
# Backscatter falls with the incidence: of water by some 0.5 to 0.8 dB a degree between 30 and 45 degrees in VV, by wind
# (the geophysical model function CMOD5: Hersbach et al., J. Geophys. Res. 112, 2007), of land by 0.1 to 0.2.
_SLOPE_DB = {"water": -0.7, "land": -0.15}
_REFERENCE_INCIDENCE = 37.5
_ROUGHENED_DB = (0.3, 1.6)  # gusts, in patches of some 200 m
_SLICK_SHARE, _SLICK_DB = 0.2, -5.0
_SWELL_SHARE, _SWELL_DB, _SWELL_M = 0.4, (0.3, 1.6), (70.0, 220.0)
_FLOODED_SHARE = 0.3  # of passes: how many see some of the fields under water
_PARCEL_DB, _HEDGE_DB = 1.9, 2.5
_ROAD_DB, _ROAD_M = -4.0, 9.0
# Texture: the shape of the gamma distribution of backscatter from cell to cell (K-distributed intensity: Jakeman and
# Pusey, IEEE Trans. AP 24, 1976; sea clutter 1 to 20 by roughness, woods some 5, fields 20 and more).
_TEXTURE_SHAPE = {_TREES: 4.0, BUILT: 1.5, WATER: 25.0}
_PLAIN_SHAPE, _TEXTURE_M = 14.0, 9.0
_SLOW_DB, _SLOW_M = 0.9, 90.0
_RELIEF_SHARE, _RELIEF_DB = 0.45, (1.0, 3.0)
_SHORE_M = 9.0


def surface(scene: Scene, grid: Grid, view: View, rng: np.random.Generator) -> NDArray[np.float64]:
    """Backscatter of a place's ground in one pass, power [H, W], on the fine grid.

    What the regions are comes of the place, wind, floods and tide of the pass. Buildings and targets are not in it.
    """
    channel = POLARIZATIONS.index(view.polarization)
    region = _natural(scene, grid)
    cover = scene.landcover[region]
    wet = cover == WATER
    dark = wet if scene.apron is None else wet | (region == scene.apron)
    decibels = scene.backscatter[:, channel][region]
    fields, flooded = _fields(scene, grid, rng)
    farmed = np.isin(cover, _FARMED)
    decibels = decibels + np.where(farmed, fields, 0)
    flooded &= farmed
    water = load_statistics().draw_backscatter(WATER, rng)[channel]
    decibels = np.where(flooded, water, decibels)
    wet = wet | flooded
    decibels += np.where(wet, _sea_state(grid, rng), _SLOW_DB * grid.noise(rng, _SLOW_M))
    if rng.random() < _RELIEF_SHARE and scene.kind in ("harbour", "inland"):
        decibels += np.where(dark | farmed, 0, _relief(grid, view, rng))
    decibels += _shores(wet, grid, view)
    incidence = view.incidence + view.incidence_per_metre * (
        (grid.rows - PLACE_M / 2) * view.range_direction[0] + (grid.columns - PLACE_M / 2) * view.range_direction[1]
    )
    decibels += (incidence - _REFERENCE_INCIDENCE) * np.where(wet, _SLOPE_DB["water"], _SLOPE_DB["land"])
    return 10 ** (decibels / 10) * _texture(np.where(dark | flooded, WATER, cover), grid, rng)


def _natural(scene: Scene, grid: Grid) -> NDArray[np.int64]:
    """The map on the fine grid, its borders ragged by some metres but where they are built."""
    region = grid.regions(scene.region)
    rng = np.random.default_rng([scene.seed, 20])
    ragged = [np.round(grid_noise * 4 / grid.cell_m).astype(int) for grid_noise in (grid.noise(rng, 18) for _ in "yx")]
    rows, columns = np.indices(region.shape)
    last = grid.size - 1
    moved = region[np.clip(rows + ragged[0], 0, last), np.clip(columns + ragged[1], 0, last)]
    built = np.isin(scene.landcover, [BUILT])
    return np.where(built[region] | built[moved], region, moved)


def _fields(scene: Scene, grid: Grid, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Of farmed land: decibels about its level, and where water stands; parcels are those of the place."""
    of_place = np.random.default_rng([scene.seed, 21])
    along, across = grid.turned(of_place.uniform(0, np.pi))
    length, width = of_place.uniform(90, 260), of_place.uniform(35, 110)
    strip = np.floor(across / width).astype(int)
    # Strips are shifted, so that no row of parcels crosses all of them.
    shift = of_place.uniform(0, length, 64)[strip % 64]
    parcel = (strip % 64) * 64 + np.floor((along + shift) / length).astype(int) % 64
    levels, rows = of_place.normal(0, _PARCEL_DB, 4096), of_place.uniform(0, 1, 4096)
    edge = np.minimum((along + shift) % length, across % width)
    decibels = levels[parcel] + np.where(edge < 5, of_place.choice([_HEDGE_DB, _ROAD_DB]), 0.0)
    # Furrows, where a field shows them.
    decibels += np.where(rows[parcel] > 0.7, 0.7, 0) * np.sin(2 * np.pi * across / of_place.uniform(14, 30))
    if of_place.random() < 0.5:
        road = np.abs(across + 12 * np.sin(along / 150) - width * round(PLACE_M / 3 / width)) < _ROAD_M / 2
        decibels = np.where(road, _ROAD_DB, decibels)
    if rng.random() >= _FLOODED_SHARE:
        return decibels, np.zeros(decibels.shape, bool)
    share = rng.uniform(0.15, 0.7)
    # Water does not keep to a parcel's middle: shallow edges fall dry.
    flooded = (rng.random(4096) < share)[parcel] & (edge > 6 + 4 * grid.noise(rng, 25))
    return decibels, flooded


def _sea_state(grid: Grid, rng: np.random.Generator) -> NDArray[np.floating]:
    """Decibels about the level of water: gusts, streaks of wind, slicks, swell."""
    total = rng.uniform(*_ROUGHENED_DB) * grid.noise(rng, 220)
    angle = rng.uniform(0, np.pi)
    along, across = grid.turned(angle)
    if rng.random() < _SWELL_SHARE:
        length = rng.uniform(*_SWELL_M)
        total += rng.uniform(*_SWELL_DB) * np.sin(2 * np.pi * (along + length * 0.35 * grid.noise(rng, 260)) / length)
    if rng.random() < _SLICK_SHARE:
        band = across / 160 + 0.9 * grid.noise(rng, 240)
        total += _SLICK_DB / (1 + np.exp(-8 * (np.sin(band) - 0.5)))
    return total


def _relief(grid: Grid, view: View, rng: np.random.Generator) -> NDArray[np.float64]:
    """Decibels of slopes: those that face the radar are bright and narrow, the others dark and wide."""
    height = grid.noise(rng, 170) + 0.45 * grid.noise(rng, 60) + 0.15 * grid.noise(rng, 25)
    down, right = np.gradient(height, grid.cell_m)
    slope = down * view.range_direction[0] + right * view.range_direction[1]
    slope = slope / slope.std()
    strength = rng.uniform(*_RELIEF_DB)
    return strength * (np.exp(0.6 * np.clip(slope, -3, 2.5)) - 1.2)


def _shores(wet: NDArray[np.bool_], grid: Grid, view: View) -> NDArray[np.float64]:
    """Decibels of banks: the first metres of land that face the radar are bright, those behind it in the shade."""
    nearer = grid.shifted(wet, (-view.range_direction[0], -view.range_direction[1]), _SHORE_M)
    farther = grid.shifted(wet, view.range_direction, _SHORE_M)
    return np.where(~wet & nearer, 4.0, 0) - np.where(~wet & farther & ~nearer, 2.5, 0)


def _texture(cover: NDArray[np.integer], grid: Grid, rng: np.random.Generator) -> NDArray[np.float64]:
    """Factors of mean 1 from cell to cell, near to gamma distributed, correlated over some metres."""
    shapes = np.array([_TEXTURE_SHAPE.get(index, _PLAIN_SHAPE) for index in range(len(LANDCOVER_CLASSES))])
    spread = np.sqrt(np.log1p(1 / shapes))[cover]
    rough = grid.noise(rng, _TEXTURE_M)
    rough = rough / rough.std()
    return np.exp(spread * rough - spread**2 / 2)
