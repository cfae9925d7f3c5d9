"""Scenes of real points: what lies in their cells, how they look, what is asked about them and what is true."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.real_prior.regions import STRIPS, Region, strips
from fusargpt.geo.land_classes import LANDCOVER_CLASSES
from fusargpt.geo.prior import Prior
from fusargpt.simulator.rendering import render_sar
from fusargpt.simulator.simulated_scene import Scene
from fusargpt.tasks.prompts import format_cells

SIDES = (3, 4)
"""Cells along each side of a scene; scenes take turns."""
CELL_PIXELS = 28
"""Of a cell along each side: one visual token."""
TASKS = ("count", "localize", "any")
DESCRIBE = "describe"
QUESTIONS = {
    "count": "How many cells of the {side}x{side} grid are flooded?",
    "localize": "Which cells of the {side}x{side} grid are flooded?",
    "any": "Are there flooded cells in the {side}x{side} grid?",
    DESCRIBE: "Describe this image.",
}
# Ground without a texture of its own, so that the image tells of a point what its VV tells, and no more.
_PLAIN = LANDCOVER_CLASSES.index("bare ground")


@dataclass(frozen=True)
class Ground:
    """What lies in the cells of a scene, in reading order.

    Attributes:
        seed: of the speckle.
        side: cells along each side.
        strip: of places of the region that the cells are from; scenes of other strips share none of them.
        embedding: float64 [side^2, 64], unit vectors of the places.
        backscatter: float64 [side^2, 2], VV and VH, dB; that of a water point where a cell is flooded.
        landcover: int [side^2], of the places.
        flooded: bool [side^2].
    """

    seed: int
    side: int
    strip: int
    embedding: NDArray[np.float64]
    backscatter: NDArray[np.float64]
    landcover: NDArray[np.int64]
    flooded: NDArray[np.bool_]

    def image(self) -> Image.Image:
        """SAR, 8-bit grey, `CELL_PIXELS` a cell."""
        cells = np.arange(self.side * CELL_PIXELS) // CELL_PIXELS
        scene = Scene(
            seed=self.seed,
            kind="inland",
            region=cells[:, None] * self.side + cells,
            landcover=np.full(self.side**2, _PLAIN),
            backscatter=self.backscatter,
            embedding=self.embedding,
            apron=None,
            targets=(),
        )
        return render_sar(scene)

    def prior(self) -> Prior:
        """One anchor at the centre of each cell."""
        size = self.side * CELL_PIXELS
        nodes = ((np.arange(self.side) + 0.5) * CELL_PIXELS - 0.5) / (size - 1)
        positions = np.stack(np.meshgrid(nodes, nodes, indexing="ij"), -1).reshape(-1, 2)
        return Prior(self.embedding.astype(np.float32), positions.astype(np.float32))

    def question(self, task: str) -> str:
        return QUESTIONS[task].format(side=self.side)

    def answer(self, task: str) -> str:
        """The true one; raises KeyError for a task that is not asked."""
        return {
            "count": str(int(self.flooded.sum())),
            "localize": format_cells((np.flatnonzero(self.flooded) + 1).tolist()),
            "any": "Yes" if self.flooded.any() else "No",
            DESCRIBE: "; ".join(
                ", ".join(LANDCOVER_CLASSES[index] for index in row)
                for row in self.landcover.reshape(self.side, self.side)
            ),
        }[task]


def compose(
    region: Region, pool: NDArray[np.integer], side: int, floods: bool, strip: int, rng: np.random.Generator
) -> Ground:
    """A scene of the places `pool` of a region.

    With floods, every number of flooded cells is as likely, and of the cells left each is permanent water or dry land,
    as likely; without, any point may be any cell.
    """
    cells = side**2
    water = region.water
    flooded = np.zeros(cells, dtype=bool)
    if floods:
        flooded[rng.permutation(cells)[: rng.integers(0, cells + 1)]] = True
        wet = ~flooded & (rng.random(cells) < 0.5)
        places = np.where(wet, rng.choice(pool[water[pool]], cells), rng.choice(pool[~water[pool]], cells))
    else:
        places = rng.choice(pool, cells)
    points = region.points.take(places)
    backscatter = points.backscatter.copy()
    backscatter[flooded] = region.points.backscatter[rng.choice(np.flatnonzero(water), int(flooded.sum()))]
    seed = int(rng.integers(2**31))
    return Ground(seed, side, strip, points.embedding, backscatter, points.landcover, flooded)


def training_scenes(regions: Sequence[Region], count: int, floods: bool) -> Iterator[Ground]:
    """Scenes of all points, regions and sides in turn; the same for the same regions."""
    for index in range(count):
        region = regions[index // len(SIDES) % len(regions)]
        rng = np.random.default_rng([1, int(floods), index])
        yield compose(region, np.arange(len(region.points)), SIDES[index % len(SIDES)], floods, 0, rng)


def test_scenes(regions: Sequence[Region], count: int, floods: bool = True) -> Iterator[Ground]:
    """Scenes of `STRIPS` strips of places, or a few less, strips and sides in turn."""
    laid = [(region, pool) for region in regions for pool in strips(region, max(STRIPS // len(regions), 1))]
    for index in range(count):
        strip = index // len(SIDES) % len(laid)
        rng = np.random.default_rng([2, int(floods), index])
        yield compose(*laid[strip], SIDES[index % len(SIDES)], floods, strip, rng)


def following(scenes: Sequence[Ground]) -> list[Ground]:
    """For each scene the next one of its side, in a circle: whose prior it is given when priors are shuffled.

    Raises:
        ValueError: a side with one scene.
    """
    found = list(scenes)
    for side in SIDES:
        places = [index for index, scene in enumerate(scenes) if scene.side == side]
        if len(places) == 1:
            raise ValueError(f"scenes of side {side}: found one, expected at least 2 to exchange priors")
        for index, other in zip(places, places[1:] + places[:1], strict=True):
            found[index] = scenes[other]
    return found
