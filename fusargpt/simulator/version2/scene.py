"""Scenes of version 2: a place in the pixels of one view."""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fusargpt.geo.land_classes import WATER
from fusargpt.simulator.rendering import DISPLAY_DB, render_backscatter, render_optical
from fusargpt.simulator.simulated_scene import NAME, RESOLUTION_M, WITHIN_REGION_SPREAD, Scene, Target
from fusargpt.simulator.version2.buildings import raise_buildings
from fusargpt.simulator.version2.grid import Grid
from fusargpt.simulator.version2.imaging import Points, image
from fusargpt.simulator.version2.place import SECOND_VERSION, Place, simulate_place
from fusargpt.simulator.version2.scatterers import fixture_points, stray_points, target_points
from fusargpt.simulator.version2.surface import surface
from fusargpt.simulator.version2.view import COARSEST_M, FINEST_M, PIXEL_SIZES_M, PLACE_M, draw_view


@dataclass(frozen=True)
class PixelScene(Scene):
    """A place as an image of some pixel size shows it: regions and targets are those of its pixels.

    Attributes:
        place: in metres.
        resolution_m: of a pixel; 840 m by the number of pixels along a side.
    """

    place: Place = field(kw_only=True)

    @property
    def name(self) -> str:
        """With the version and the pixels along a side: a place has many pixel sizes."""
        return f"{NAME}{SECOND_VERSION}-{self.seed:08d}-{self.region.shape[0]}px"

    def anchors(self, per_side: int = 8) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """A grid of `per_side`^2 anchors, the means of AlphaEarth over equal cells of the place.

        As `spatiotemporal_anchors` reads overviews of a field: what is small in a cell has its share in the vector.
        Shapes and positions are those of `Scene.anchors`. They depend on the place alone: no pixel size, no pass.

        Raises:
            ValueError: more anchors than the place's map has cells.
        """
        scene = self.place.scene
        size = scene.region.shape[0]
        if not 1 <= per_side <= size:
            raise ValueError(f"anchors: found {per_side} a side, expected 1 to {size}")
        rng = np.random.default_rng([SECOND_VERSION, self.seed, 2])
        cell = np.arange(size) * per_side // size
        cell = cell[:, None] * per_side + cell
        regions = len(scene.embedding)
        counts = np.bincount((cell * regions + scene.region).ravel(), minlength=per_side**2 * regions)
        vectors = counts.reshape(-1, regions) @ scene.embedding
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors = vectors + WITHIN_REGION_SPREAD * rng.standard_normal(vectors.shape)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        side = self.region.shape[0]
        nodes = ((np.arange(per_side) + 0.5) / per_side * side - 0.5) / (side - 1)
        positions = np.stack(np.meshgrid(nodes, nodes, indexing="ij"), -1).reshape(-1, 2)
        return vectors.astype(np.float32), positions.astype(np.float32)


def simulate_pixels(seed: int, pixel_sizes: tuple[float, float] = PIXEL_SIZES_M) -> PixelScene:
    """The place of `seed` at a pixel size between two, metres in 2.5 to 30, drawn uniform in its logarithm.

    840 m are a whole number of pixels, so that 25 m become 24.7. The same for the same arguments; place, targets and
    prior are the same at every pixel size.

    Raises:
        ValueError: another pixel size.
    """
    low, high = pixel_sizes
    if not FINEST_M <= low <= high <= COARSEST_M:
        raise ValueError(f"pixel sizes: found {low:g} {high:g}, expected {FINEST_M:g} to {COARSEST_M:g} m, ascending")
    place = _place(seed)
    rng = np.random.default_rng([SECOND_VERSION, seed, 3])
    pixel_size = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    side = round(PLACE_M / pixel_size)
    scene = place.scene
    pixel_m = PLACE_M / side
    index = np.floor((np.arange(side) + 0.5) * pixel_m / RESOLUTION_M).astype(int)
    return PixelScene(
        seed=seed,
        kind=scene.kind,
        region=scene.region[index[:, None], index],
        landcover=scene.landcover,
        backscatter=scene.backscatter,
        embedding=scene.embedding,
        apron=scene.apron,
        targets=tuple(_in_pixels(target, pixel_m, side) for target in scene.targets),
        resolution_m=pixel_m,
        place=place,
    )


@lru_cache(maxsize=4)
def _place(seed: int) -> Place:
    return simulate_place(seed)


def _in_pixels(target: Target, pixel_m: float, side: int) -> Target:
    """The target in pixels: what it touches."""
    cells = np.argwhere(target.mask) + np.array([target.box[1], target.box[0]])
    # Corners and middle of every cell, which is two pixels wide at most.
    inner = np.array([0.01, 0.5, 0.99])
    offsets = np.stack(np.meshgrid(inner, inner, indexing="ij"), -1).reshape(-1, 1, 2)
    pixels = np.floor((cells + offsets) * RESOLUTION_M / pixel_m).astype(int).reshape(-1, 2)
    pixels = np.clip(pixels, 0, side - 1)
    (top, left), (bottom, right) = pixels.min(0), pixels.max(0) + 1
    mask = np.zeros((bottom - top, right - left), bool)
    mask[tuple((pixels - (top, left)).T)] = True
    return Target(target.label, target.fine_label, (int(left), int(top), int(right), int(bottom)), mask)


@render_backscatter.register
def render_pixels(scene: PixelScene, polarization: str = "VV") -> NDArray[np.float64]:
    """Backscatter of one pass with speckle, everything bright and side lobes, dB, float64 [side, side].

    Raises KeyError for a polarization other than "VV" and "VH".
    """
    low, _ = DISPLAY_DB[polarization]
    rng = np.random.default_rng([SECOND_VERSION, scene.seed, 1, scene.region.shape[0]])
    view = draw_view(rng, scene.region.shape[0], polarization)
    grid = Grid.of(view)
    ground = scene.place.scene
    power = surface(ground, grid, view, rng)
    corners = raise_buildings(power, ground, grid, view, rng)
    wet = bool((ground.landcover == WATER).any())
    points = [corners, *stray_points(view, wet, rng)]
    points += [fixture_points(fixture, view, rng) for fixture in scene.place.fixtures]
    for target, moored in zip(ground.targets, scene.place.moored, strict=True):
        points.append(target_points(target, moored, view, rng))
    seen = image(grid, view, power, Points.together(points), rng)
    return 10 * np.log10(np.maximum(seen, 10 ** (low / 10 - 2)))


@render_optical.register
def render_optical_pixels(scene: PixelScene) -> Image.Image:
    """The place as version 1 shows it, with its fixtures, in as many pixels as the scene has."""
    side = scene.region.shape[0]
    return render_optical(scene.place.scene).resize((side, side), Image.Resampling.BOX)
