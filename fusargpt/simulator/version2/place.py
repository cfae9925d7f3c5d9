"""What lies where, in cells of 5 m: the place of version 1, moored ships, sand banks and fixtures."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fusargpt.geo.land_classes import CROPS
from fusargpt.simulator.landcover import LandcoverStatistics, load_statistics
from fusargpt.simulator.simulated_scene import MAX_TARGETS, TARGET_GAP, Scene, Target, silhouette, smooth_noise
from fusargpt.simulator.simulated_scene import simulate_scene as simulate_first
from fusargpt.simulator.version2.fixtures import BARE, MOST_FIXTURES, WATER_KINDS, Fixture, draw_fixtures
from fusargpt.tasks.questions import box_order

SECOND_VERSION = 2
MOST_MOORED = 2
_BANK_SHARE = 0.25  # of places with water: how many have a sand bank
_MOORED_SHARE = 0.6  # of places with a coast: how many have ships alongside
_QUAY_CELLS = 3  # cells of 5 m that a moored ship is from the shore at most
_TRIES = 60


@dataclass(frozen=True)
class Place:
    """A place, always the same for a seed.

    Attributes:
        scene: its map in cells of 5 m: regions, their covers, vectors and levels; every fixture and sand bank is a
            region of its own. Targets are those of version 1, and moored ships.
        fixtures: with the regions they are.
        moored: of the targets, bool [T].
    """

    scene: Scene
    fixtures: tuple[Fixture, ...]
    moored: tuple[bool, ...]


def simulate_place(seed: int) -> Place:
    """The place of `seed` >= 0."""
    scene = simulate_first(seed)
    rng = np.random.default_rng([SECOND_VERSION, seed, 0])
    statistics = load_statistics()
    wet = scene.kind in ("sea", "harbour")
    regions = _Regions(scene, statistics, rng)
    if wet and rng.random() < _BANK_SHARE:
        regions.add(_bank(_open(regions.region == 0, scene.targets), rng), BARE, half_water=True)
    if wet:
        free = _open(regions.region == 0, scene.targets)
        fixtures = draw_fixtures(free, WATER_KINDS, MOST_FIXTURES, rng)
    else:
        ground = [scene.apron] if scene.apron is not None else np.flatnonzero(scene.landcover == CROPS)
        free = _open(np.isin(regions.region, ground), scene.targets)
        fixtures = draw_fixtures(free, {"building": 1.0}, 3, rng)
    for fixture in fixtures:
        regions.add(fixture.mask, fixture.landcover)
    targets, moored = scene.targets, [False] * len(scene.targets)
    if scene.kind == "harbour" and rng.random() < _MOORED_SHARE:
        added = _moor(regions.region, targets, rng)
        pairs = [*zip(targets, moored, strict=True), *((target, True) for target in added)]
        pairs.sort(key=lambda pair: box_order(pair[0].box))
        targets, moored = tuple(target for target, _ in pairs), [at_quay for _, at_quay in pairs]
    return Place(regions.of(replace(scene, targets=targets)), tuple(fixtures), tuple(moored))


class _Regions:
    """A map that regions are added to."""

    def __init__(self, scene: Scene, statistics: LandcoverStatistics, rng: np.random.Generator) -> None:
        self.region = scene.region.copy()
        self._landcover = [int(index) for index in scene.landcover]
        self._backscatter, self._embedding = list(scene.backscatter), list(scene.embedding)
        self._statistics, self._rng = statistics, rng

    def add(self, mask: NDArray[np.bool_], landcover: int, half_water: bool = False) -> None:
        """A region where `mask`; what the tide leaves bare for half of the year is half water to a vector of it."""
        if not mask.any():
            return
        self.region[mask] = len(self._landcover)
        vector = self._statistics.draw_embedding(landcover, self._rng)
        if half_water:
            vector = vector + self._embedding[0]
            vector /= np.linalg.norm(vector)
        self._landcover.append(landcover)
        self._backscatter.append(self._statistics.draw_backscatter(landcover, self._rng))
        self._embedding.append(vector)

    def of(self, scene: Scene) -> Scene:
        return replace(
            scene,
            region=self.region,
            landcover=np.array(self._landcover),
            backscatter=np.stack(self._backscatter),
            embedding=np.stack(self._embedding),
        )


def _open(ground: NDArray[np.bool_], targets: tuple[Target, ...]) -> NDArray[np.bool_]:
    """Where nothing of the targets is."""
    free = ground.copy()
    for target in targets:
        x1, y1, x2, y2 = target.box
        free[y1:y2, x1:x2] = False
    return free


def _bank(free: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    """A long low bank of sand, ragged, where `free`."""
    size = free.shape[0]
    rows, columns = np.indices(free.shape).astype(np.float32)
    rows, columns = rows + 6 * smooth_noise(rng, 14), columns + 6 * smooth_noise(rng, 14)
    angle = rng.uniform(0, np.pi)
    down, right = rng.uniform(0.1, 0.9, 2) * size
    along = (columns - right) * np.cos(angle) + (rows - down) * np.sin(angle)
    across = (rows - down) * np.cos(angle) - (columns - right) * np.sin(angle)
    inside = np.hypot(along / rng.uniform(25, 70), across / rng.uniform(5, 16)) < 1
    return inside & ndimage.binary_erosion(free, iterations=TARGET_GAP)


def _moor(region: NDArray[np.integer], targets: tuple[Target, ...], rng: np.random.Generator) -> list[Target]:
    """Ships alongside what is not water, as parallel to it as tries find."""
    water = region == 0
    quay = ndimage.binary_dilation(~water, iterations=_QUAY_CELLS) & water
    free = _open(water, targets)
    added: list[Target] = []
    for _ in range(int(rng.integers(1, MOST_MOORED + 1))):
        if len(targets) + len(added) >= MAX_TARGETS or not quay.any():
            break
        best, found = 0.35, None  # of its cells that are close to the shore
        starts = np.argwhere(quay & free)
        for _ in range(_TRIES if len(starts) else 0):
            mask, fine_label = silhouette("ship", rng)
            top, left = starts[rng.integers(0, len(starts))] - np.array(mask.shape) // 2
            bottom, right = top + mask.shape[0], left + mask.shape[1]
            if top < 0 or left < 0 or bottom > water.shape[0] or right > water.shape[1]:
                continue
            part = np.s_[top:bottom, left:right]
            close = float(quay[part][mask].mean())
            if close > best and free[part][mask].all():
                best, found = close, Target("ship", fine_label, (int(left), int(top), int(right), int(bottom)), mask)
        if found is not None:
            added.append(found)
            x1, y1, x2, y2 = found.box
            free[max(y1 - TARGET_GAP, 0) : y2 + TARGET_GAP, max(x1 - TARGET_GAP, 0) : x2 + TARGET_GAP] = False
    return added
