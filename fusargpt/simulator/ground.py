"""Ground of any size, of the same land covers, backscatter, AlphaEarth vectors and targets as simulated scenes.

Lengths are metres, so that the same ships lie on ground of 5 m and of 10 m pixels.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fusargpt.geo.land_classes import BUILT, LANDCOVER_CLASSES, WATER
from fusargpt.simulator.landcover import load_statistics
from fusargpt.simulator.rendering import noise
from fusargpt.simulator.simulated_scene import RESOLUTION_M, SIMULATOR_VERSION, TARGET_GAP, Scene, Target, silhouette

GROUND_KINDS = ("harbour", "airfield", "sea", "inland")
MOST_TARGETS = 40
_CELL_M = 700.0  # side of a typical patch of one land cover
_TARGET_SPACE_M = 400.0  # one target at most for a square of such side
_WATER_REGION = 0


def simulate_ground(seed: int, kind: str, height: int, width: int, resolution_m: float) -> Scene:
    """Ground without targets, [height, width] pixels, always the same for a seed; region 0 is water.

    Raises:
        ValueError: another kind than those of `GROUND_KINDS`.
    """
    if kind not in GROUND_KINDS:
        raise ValueError(f"kind: found {kind!r}, expected one of {', '.join(GROUND_KINDS)}")
    rng = np.random.default_rng([SIMULATOR_VERSION, seed, 10])
    rows, columns = np.indices((height, width), dtype=np.float32)
    plain = _Plane(rows, columns, resolution_m)
    bends = [90 * noise(rng, 2, (height, width)) + 30 * noise(rng, 6, (height, width)) for _ in range(2)]
    warped = _Plane(rows + bends[0] / resolution_m, columns + bends[1] / resolution_m, resolution_m)
    cells = max(2, round(height * width * resolution_m**2 / _CELL_M**2))
    region = 1 + warped.nearest(rng.uniform(0, (height, width), (cells, 2)))
    land = [index for index in range(len(LANDCOVER_CLASSES)) if index != WATER]
    palette = rng.choice(land, int(rng.integers(3, 6)), replace=False)
    landcover = [WATER, *(int(index) for index in rng.choice(palette, cells))]
    apron = None
    if kind == "sea":
        _sea(region, warped, rng)
    elif kind == "harbour":
        landcover.append(BUILT)
        _harbour(region, warped, plain, len(landcover) - 1, rng)
    else:
        _inland_water(region, warped, rng)
    if kind == "airfield":
        landcover.append(BUILT)
        apron = len(landcover) - 1
        _airfield(region, plain, apron, rng)
    statistics = load_statistics()
    backscatter = np.stack([statistics.draw_backscatter(index, rng) for index in landcover])
    embedding = np.stack([statistics.draw_embedding(index, rng) for index in landcover])
    if apron is not None:
        # As in scenes of version 1: smooth pavement is as dark as water, and the prior tells them apart.
        backscatter[apron] = statistics.draw_backscatter(WATER, rng)
    return Scene(seed, kind, region, np.array(landcover), backscatter, embedding, apron, (), resolution_m)


def with_targets(ground: Scene, free: NDArray[np.bool_], resolution_m: float) -> Scene:
    """The same ground with ships on its water or aircraft on its aprons, all of each wholly where `free` [H, W]."""
    if ground.kind == "inland":
        return ground
    label = "ship" if ground.apron is None else "aircraft"
    free = free & (ground.region == (_WATER_REGION if ground.apron is None else ground.apron))
    places = np.argwhere(free)
    rng = np.random.default_rng([SIMULATOR_VERSION, ground.seed, 11])
    most = max(6, round(len(places) * resolution_m**2 / _TARGET_SPACE_M**2))
    wanted = int(rng.integers(1, min(most, MOST_TARGETS) + 1))
    targets: list[Target] = []
    for _ in range(8 * wanted):
        if len(targets) == wanted or not len(places):
            break
        mask, fine_label = silhouette(label, rng)
        mask = _coarser(mask, round(resolution_m / RESOLUTION_M))
        y, x = (int(value) for value in places[rng.integers(0, len(places))])
        bottom, right = y + mask.shape[0], x + mask.shape[1]
        if bottom > free.shape[0] or right > free.shape[1] or not free[y:bottom, x:right].all():
            continue
        targets.append(Target(label, fine_label, (x, y, right, bottom), mask))
        free[max(y - TARGET_GAP, 0) : bottom + TARGET_GAP, max(x - TARGET_GAP, 0) : right + TARGET_GAP] = False
    return replace(ground, targets=tuple(sorted(targets, key=lambda target: (target.box[1], target.box[0]))))


def _coarser(mask: NDArray[np.bool_], factor: int) -> NDArray[np.bool_]:
    """A mask in pixels `factor` times as large: what touches a pixel fills it."""
    height, width = (-(-side // factor) for side in mask.shape)
    padded = np.pad(mask, ((0, height * factor - mask.shape[0]), (0, width * factor - mask.shape[1])))
    return np.asarray(padded.reshape(height, factor, width, factor).any((1, 3)))


class _Plane:
    """Coordinates of all pixels, [H, W] each, bent or not, and shapes measured in metres on them."""

    def __init__(self, rows: NDArray[np.floating], columns: NDArray[np.floating], resolution_m: float) -> None:
        self.rows, self.columns, self.resolution_m = rows, columns, resolution_m

    def nearest(self, points: NDArray[np.float64]) -> NDArray[np.int64]:
        """Index of the nearest of `points` [N, 2] (row, column) to each pixel."""
        found = np.zeros(self.rows.shape, np.int64)
        best = np.full(self.rows.shape, np.inf, np.float32)
        # One after the other: all at once would hold N maps.
        for index, (row, column) in enumerate(points.astype(np.float32)):
            distance = (self.rows - row) ** 2 + (self.columns - column) ** 2
            nearer = distance < best
            found[nearer], best[nearer] = index, distance[nearer]
        return found

    def axes(self, angle: float, centre: tuple[float, float]) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Metres along and across a direction from `centre` (row, column in pixels)."""
        down, right = self.rows - centre[0], self.columns - centre[1]
        along = (right * np.cos(angle) + down * np.sin(angle)) * self.resolution_m
        return along, (down * np.cos(angle) - right * np.sin(angle)) * self.resolution_m

    def rectangle(self, angle: float, centre: tuple[float, float], length: float, width: float) -> NDArray[np.bool_]:
        along, across = self.axes(angle, centre)
        return (np.abs(along) < length / 2) & (np.abs(across) < width / 2)

    def point(self, rng: np.random.Generator, low: float, high: float) -> tuple[float, float]:
        """A random pixel between two shares of height and width."""
        row, column = rng.uniform(low, high, 2) * self.rows.shape
        return float(row), float(column)


def _sea(region: NDArray[np.int64], warped: _Plane, rng: np.random.Generator) -> None:
    land = np.zeros(region.shape, bool)
    for _ in range(int(rng.integers(0, 3))):
        along, across = warped.axes(rng.uniform(0, np.pi), warped.point(rng, 0, 1))
        land |= np.hypot(along / rng.uniform(300, 900), across / rng.uniform(200, 500)) < 1
    region[~land] = _WATER_REGION


def _harbour(region: NDArray[np.int64], warped: _Plane, plain: _Plane, port: int, rng: np.random.Generator) -> None:
    """A coast, a port on it and docks in the port: straight-edged, unlike the coast."""
    angle = rng.uniform(0, 2 * np.pi)
    along, _ = warped.axes(angle, warped.point(rng, 0.35, 0.65))
    water = along > 0
    # The coast is where land has water beside it.
    coast = np.argwhere(water[:, 1:] != water[:, :-1])
    middle = np.abs(coast / region.shape - 0.5).max(1) < 0.3 if len(coast) else np.zeros(0, bool)
    region[water] = _WATER_REGION
    if not middle.any():
        return
    row, column = coast[middle][rng.integers(0, int(middle.sum()))]
    port_along, port_across = warped.axes(angle, (float(row), float(column)))
    region[(np.hypot(port_along, port_across / 2) < rng.uniform(350, 600)) & ~water] = port
    for _ in range(int(rng.integers(2, 5))):
        # A dock reaches from the sea into the land.
        shift = rng.uniform(-700, 700) / plain.resolution_m
        centre = row + shift * np.cos(angle), column - shift * np.sin(angle)
        region[plain.rectangle(angle, centre, rng.uniform(300, 700), rng.uniform(80, 200))] = _WATER_REGION


def _airfield(region: NDArray[np.int64], plain: _Plane, apron: int, rng: np.random.Generator) -> None:
    """A runway and aprons beside it."""
    angle = rng.uniform(0, np.pi)
    row, column = plain.point(rng, 0.4, 0.6)
    region[plain.rectangle(angle, (row, column), rng.uniform(1800, 2800), rng.uniform(40, 60))] = apron
    for _ in range(int(rng.integers(1, 4))):
        width = rng.uniform(250, 450)
        across = rng.choice([-1.0, 1.0]) * (width / 2 + rng.uniform(80, 150)) / plain.resolution_m
        along = rng.uniform(-700, 700) / plain.resolution_m
        centre = (
            row + along * np.sin(angle) + across * np.cos(angle),
            column + along * np.cos(angle) - across * np.sin(angle),
        )
        region[plain.rectangle(angle, centre, rng.uniform(450, 800), width)] = apron


def _inland_water(region: NDArray[np.int64], warped: _Plane, rng: np.random.Generator) -> None:
    """A river, a lake, both or neither."""
    if rng.random() < 0.5:
        _, across = warped.axes(rng.uniform(0, np.pi), warped.point(rng, 0.2, 0.8))
        region[np.abs(across) < rng.uniform(30, 90)] = _WATER_REGION
    if rng.random() < 0.5:
        along, across = warped.axes(rng.uniform(0, np.pi), warped.point(rng, 0.1, 0.9))
        region[np.hypot(along / rng.uniform(250, 700), across / rng.uniform(150, 400)) < 1] = _WATER_REGION
