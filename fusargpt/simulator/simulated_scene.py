"""Layout of one simulated place: land-cover regions, the targets on it and the AlphaEarth vectors beneath it.

Version `SIMULATOR_VERSION` is frozen before any ablation runs on it: a change of what a seed yields is a new version.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from fusargpt.geo.land_classes import BUILT, LANDCOVER_CLASSES, WATER
from fusargpt.simulator.landcover import load_statistics
from fusargpt.tasks.questions import box_order

SIMULATOR_VERSION = 1
NAME = "simulated-v"  # how the ids of simulated rows begin, whatever the version
IMAGE_SIZE = 168  # pixels: 36 visual tokens of 28 px in a 6 x 6 grid
RESOLUTION_M = 5.0
SCENE_KINDS = {"sea": 0.2, "harbour": 0.3, "airfield": 0.32, "inland": 0.18}
MAX_TARGETS = 6
TARGET_GAP = 3  # pixels between the boxes of two targets
WITHIN_REGION_SPREAD = 0.02  # of a 10 m pixel's vector about its region's; small against the spread between regions


@dataclass(frozen=True)
class Target:
    """One object: `box` [x1, y1, x2, y2] are pixel edges (x2, y2 exclusive), `mask` covers the box, bool [h, w]."""

    label: str
    fine_label: str
    box: tuple[int, int, int, int]
    mask: np.ndarray


@dataclass(frozen=True)
class Scene:
    """A place.

    region [H, W] int: region of each pixel; landcover, backscatter and embedding per region: int [R], dB (VV, VH)
    [R, 2], unit [R, 64]; apron: index of the paved region that is dark in SAR, or None; resolution_m: of a pixel.
    """

    seed: int
    kind: str
    region: np.ndarray
    landcover: np.ndarray
    backscatter: np.ndarray
    embedding: np.ndarray
    apron: int | None
    targets: tuple[Target, ...]
    resolution_m: float = RESOLUTION_M

    @property
    def name(self) -> str:
        """With the version of the simulator."""
        return f"{NAME}{SIMULATOR_VERSION}-{self.seed:08d}"

    def anchors(self, per_side: int = 8) -> tuple[np.ndarray, np.ndarray]:
        """A regular grid of `per_side`^2 anchors at the centres of equal cells.

        Returns the AlphaEarth-like unit vectors float32 [S, 64] of the pixels beneath the nodes and the nodes'
        normalised (y, x) float32 [S, 2], where 0 and 1 are the centres of the first and last pixel row and column.
        """
        rng = np.random.default_rng([SIMULATOR_VERSION, self.seed, 2])
        nodes = ((np.arange(per_side) + 0.5) / per_side * IMAGE_SIZE - 0.5) / (IMAGE_SIZE - 1)
        positions = np.stack(np.meshgrid(nodes, nodes, indexing="ij"), -1).reshape(-1, 2)
        rows, columns = np.round(positions * (IMAGE_SIZE - 1)).astype(int).T
        vectors = self.embedding[self.region[rows, columns]]
        vectors = vectors + WITHIN_REGION_SPREAD * rng.standard_normal(vectors.shape)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors.astype(np.float32), positions.astype(np.float32)


def smooth_noise(rng: np.random.Generator, cells: int, size: int = IMAGE_SIZE) -> np.ndarray:
    """Standard-normal noise on a `cells` x `cells` grid, interpolated to float32 [size, size]."""
    coarse = rng.standard_normal((cells, cells)).astype(np.float32)
    return np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC))


def _voronoi(rng: np.random.Generator, count: int, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    seeds = rng.uniform(0, IMAGE_SIZE, (count, 2))
    return np.argmin([(rows - y) ** 2 + (columns - x) ** 2 for y, x in seeds], axis=0)


def _rotated(rng: np.random.Generator, rows: np.ndarray, columns: np.ndarray, low: float, high: float):
    """Coordinates along and across a random direction, about a random centre in [low, high] of the image."""
    angle = rng.uniform(0, np.pi)
    y, x = rng.uniform(low, high, 2) * IMAGE_SIZE
    along = (columns - x) * np.cos(angle) + (rows - y) * np.sin(angle)
    across = (rows - y) * np.cos(angle) - (columns - x) * np.sin(angle)
    return along, across


def _regions(kind: str, rng: np.random.Generator) -> tuple[np.ndarray, list[int], int | None]:
    """Region map, land cover of each region, and the index of the apron."""
    grid_rows, grid_columns = np.mgrid[0:IMAGE_SIZE, 0:IMAGE_SIZE].astype(np.float32)
    rows = grid_rows + 7 * smooth_noise(rng, 6)
    columns = grid_columns + 7 * smooth_noise(rng, 6)
    if kind == "sea":
        return np.zeros((IMAGE_SIZE, IMAGE_SIZE), dtype=np.int64), [WATER], None
    land = [index for index in range(len(LANDCOVER_CLASSES)) if index != WATER]
    if kind == "harbour":
        count = int(rng.integers(1, 4))
        landcover = [WATER] + [int(value) for value in rng.choice(land, count, replace=False)]
        if rng.random() < 0.4 and BUILT not in landcover:
            landcover[1] = BUILT
        region = 1 + _voronoi(rng, count, rows, columns)
        along, _ = _rotated(rng, rows, columns, 0.3, 0.7)
        region[along * rng.choice([-1.0, 1.0]) > rng.uniform(-30, 10)] = 0
        if rng.random() < 0.4:  # a dock: dark and straight-edged as an apron is
            along, across = _rotated(rng, grid_rows, grid_columns, 0.3, 0.7)
            region[(np.abs(along) < rng.uniform(40, 75)) & (np.abs(across) < rng.uniform(18, 45))] = 0
        return region, landcover, None
    count = int(rng.integers(2, 5))
    classes = range(len(LANDCOVER_CLASSES)) if kind == "inland" else land
    landcover = [int(value) for value in rng.choice(list(classes), count, replace=False)]
    region = _voronoi(rng, count, rows, columns)
    if kind == "inland":
        return region, landcover, None
    # Straight edges: an apron is paved, so it takes the coordinates before they were warped.
    along, across = _rotated(rng, grid_rows, grid_columns, 0.35, 0.65)
    half_length, half_width = rng.uniform(45, 75), rng.uniform(28, 50)
    region[(np.abs(along) < half_length) & (np.abs(across) < half_width)] = count
    if rng.random() < 0.5:
        runway = across - rng.choice([-1.0, 1.0]) * (half_width + rng.uniform(6, 14))
        region[np.abs(runway) < rng.uniform(3, 5)] = count
    return region, [*landcover, BUILT], count


def silhouette(label: str, rng: np.random.Generator) -> tuple[np.ndarray, str]:
    """A target's mask, cropped to itself, and its fine label."""
    if label == "ship":
        length = rng.uniform(10, 36)  # 50 to 180 m
        width = max(2.5, length * rng.uniform(0.15, 0.22))
        fine_label = "fishing vessel" if length < 17 else "cargo ship" if length < 27 else "tanker"
        extent = length
    else:
        length = rng.uniform(8, 16)  # 40 to 80 m
        width = length * rng.uniform(0.85, 1.0)
        fine_label = "narrow-body airliner" if length < 12 else "wide-body airliner"
        extent = max(length, width)
    half = int(np.ceil(extent / 2)) + 1
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float64)
    along = x * np.cos(angle) + y * np.sin(angle)
    across = np.abs(y * np.cos(angle) - x * np.sin(angle))
    if label == "ship":
        bow = np.clip((length / 2 - along) / (0.25 * length), 0, 1)
        mask = (np.abs(along) <= length / 2) & (across <= width / 2 * np.where(along > length / 4, bow, 1))
    else:
        fuselage = (np.abs(along) <= length / 2) & (across <= max(0.8, length / 16))
        wings = (np.abs(along - 0.08 * length + 0.35 * across) <= max(0.9, length / 11)) & (across <= width / 2)
        tail = (np.abs(along + 0.43 * length + 0.3 * across) <= max(0.7, length / 20)) & (across <= width / 5)
        mask = fuselage | wings | tail
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], fine_label


def _place_targets(label: str, ground: np.ndarray, rng: np.random.Generator) -> tuple[Target, ...]:
    """Up to MAX_TARGETS targets wholly on `ground` (bool [H, W]) and TARGET_GAP apart, in reading order."""
    free = ground.copy()
    targets: list[Target] = []
    wanted = int(rng.integers(0, MAX_TARGETS + 1))
    for _ in range(4 * wanted):
        if len(targets) == wanted:
            break
        mask, fine_label = silhouette(label, rng)
        height, width = mask.shape
        y, x = int(rng.integers(0, IMAGE_SIZE - height + 1)), int(rng.integers(0, IMAGE_SIZE - width + 1))
        if not free[y : y + height, x : x + width].all():
            continue
        targets.append(Target(label, fine_label, (x, y, x + width, y + height), mask))
        top, left = max(y - TARGET_GAP, 0), max(x - TARGET_GAP, 0)
        free[top : y + height + TARGET_GAP, left : x + width + TARGET_GAP] = False
    return tuple(sorted(targets, key=lambda target: box_order(target.box)))


def simulate_scene(seed: int) -> Scene:
    """The place of `seed` >= 0, always the same for the same `SIMULATOR_VERSION`."""
    rng = np.random.default_rng([SIMULATOR_VERSION, seed, 0])
    statistics = load_statistics()
    kind = str(rng.choice(list(SCENE_KINDS), p=list(SCENE_KINDS.values())))
    region, landcover, apron = _regions(kind, rng)
    backscatter = np.stack([statistics.draw_backscatter(index, rng) for index in landcover])
    embedding = np.stack([statistics.draw_embedding(index, rng) for index in landcover])
    targets: tuple[Target, ...] = ()
    if apron is not None:
        # Smooth pavement mirrors the pulse away as calm water does: what backscatter cannot tell, the prior can.
        backscatter[apron] = statistics.draw_backscatter(WATER, rng)
        targets = _place_targets("aircraft", region == apron, rng)
    elif kind in ("sea", "harbour"):
        targets = _place_targets("ship", region == 0, rng)
    return Scene(seed, kind, region, np.array(landcover), backscatter, embedding, apron, targets)
