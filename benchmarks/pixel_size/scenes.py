"""Places with water, their images at one pixel size, their priors, and how many ships lie where."""

from dataclasses import dataclass, fields
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


@dataclass(frozen=True)
class Scenes:
    """Places with water at one pixel size.

    Attributes:
        images: uint8 [N, side, side], VV.
        codes: priors, int8 [N, S, 64].
        positions: of their anchors, float32 [S, 2].
        counts: ships of each, int64 [N].
        middles: of all ships, the places one after the other, float64 [M, 2]: row and column in [0, 1).
    """

    images: NDArray[np.uint8]
    codes: NDArray[np.int8]
    positions: NDArray[np.float32]
    counts: NDArray[np.int64]
    middles: NDArray[np.float64]

    def prior(self, index: int) -> Prior:
        return Prior(dequantize(self.codes[index]), self.positions)

    def ships(self, per_side: int) -> NDArray[np.int64]:
        """How many ships have their middle in each of `per_side` x `per_side` tokens, row by row: [N, tokens]."""
        found = np.zeros((len(self.counts), per_side, per_side), np.int64)
        rows, columns = (self.middles * per_side).astype(int).T
        np.add.at(found, (np.repeat(np.arange(len(self.counts)), self.counts), rows, columns), 1)
        return found.reshape(len(self.counts), -1)


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
        middles: list[NDArray[np.float64]] = []
        positions = np.zeros((0, 2), np.float32)
        for seed in tqdm(seeds(split, count), unit="scene", desc=f"{pixel_size:g} m, {split}"):
            scene = simulate_pixels(seed, (pixel_size, pixel_size))
            images.append(np.asarray(render_sar(scene)))
            vectors, positions = scene.anchors(PER_SIDE)
            codes.append(quantize(vectors))
            boxes = np.array([target.box for target in scene.targets], float).reshape(-1, 2, 2)
            middles.append(boxes.mean(1)[:, ::-1] / scene.region.shape[0])
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as part, part.open("wb") as handle:
            np.savez_compressed(
                handle,
                images=images,
                codes=codes,
                positions=positions,
                counts=[len(of_scene) for of_scene in middles],
                middles=np.concatenate(middles),
            )
    with np.load(path, allow_pickle=False) as table:
        return Scenes(*(table[field.name] for field in fields(Scenes)))
