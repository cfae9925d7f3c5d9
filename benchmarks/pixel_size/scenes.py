"""Places with water, their images at one pixel size, their priors, and how many ships lie where."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.pixel_size.cells import PER_SIDE
from fusargpt.files import written_whole
from fusargpt.geo.embeddings import dequantize, quantize
from fusargpt.geo.prior import Prior
from fusargpt.simulator.records import SPLIT_SEEDS
from fusargpt.simulator.rendering import render_sar
from fusargpt.simulator.simulated_scene import simulate_scene
from fusargpt.simulator.version2.scene import simulate_pixels

KINDS = ("sea", "harbour")
START = 600_000
"""Of a split: places that no other benchmark uses."""
TOKENS = 6
"""Visual tokens along each side, whatever the pixel size: images are enlarged or shrunk to 168 pixels."""


@dataclass(frozen=True)
class Scenes:
    """Images uint8 [N, side, side] (VV); priors int8 [N, S, 64] and positions float32 [S, 2]; ships int [N, tokens]."""

    images: NDArray[np.uint8]
    codes: NDArray[np.int8]
    positions: NDArray[np.float32]
    ships: NDArray[np.int64]

    def prior(self, index: int) -> Prior:
        return Prior(dequantize(self.codes[index]), self.positions)

    @property
    def counts(self) -> NDArray[np.int64]:
        return self.ships.sum(1)


def seeds(split: str, count: int) -> list[int]:
    """The first `count` places of a split that have ships' ground."""
    found: list[int] = []
    seed = SPLIT_SEEDS[split] + START
    while len(found) < count:
        if simulate_scene(seed).kind in KINDS:
            found.append(seed)
        seed += 1
    return found


def scenes(split: str, count: int, pixel_size: float, build: Path) -> Scenes:
    """Scenes at one pixel size, kept in `build`; the same for the same arguments."""
    path = build / "scenes" / f"{pixel_size:g}m-{split}-{count}.npz"
    if not path.exists():
        images: list[NDArray[np.uint8]] = []
        codes: list[NDArray[np.int8]] = []
        ships: list[NDArray[np.int64]] = []
        positions = np.zeros((0, 2), np.float32)
        for seed in tqdm(seeds(split, count), unit="scene", desc=f"{pixel_size:g} m, {split}"):
            scene = simulate_pixels(seed, (pixel_size, pixel_size))
            images.append(np.asarray(render_sar(scene)))
            vectors, positions = scene.anchors(PER_SIDE)
            codes.append(quantize(vectors))
            ships.append(ships_by_token([target.box for target in scene.targets], scene.region.shape[0]))
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as part, part.open("wb") as handle:
            np.savez_compressed(handle, images=images, codes=codes, positions=positions, ships=ships)
    with np.load(path, allow_pickle=False) as table:
        return Scenes(table["images"], table["codes"], table["positions"], table["ships"])


def ships_by_token(boxes: list[tuple[int, int, int, int]], side: int) -> NDArray[np.int64]:
    """How many boxes have their middle in each of the tokens of an image of `side` pixels, row by row."""
    found = np.zeros(TOKENS**2, np.int64)
    for x1, y1, x2, y2 in boxes:
        row, column = (min(int((low + high) / 2 / side * TOKENS), TOKENS - 1) for low, high in ((y1, y2), (x1, x2)))
        found[row * TOKENS + column] += 1
    return found
