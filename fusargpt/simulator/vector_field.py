"""The AlphaEarth field of simulated ground: vectors of its regions, which vary a little from place to place and year
to year."""

from dataclasses import dataclass

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from fusargpt.geo.embeddings import EMBEDDING_SIZE, NODATA, quantize
from fusargpt.geo.geometry import Geometry
from fusargpt.simulator.rendering import noise
from fusargpt.simulator.simulated_scene import SIMULATOR_VERSION, WITHIN_REGION_SPREAD, Scene

YEARLY_DRIFT = 0.006  # of a component from one year to the next: small against what lies between regions
_PATTERNS = 4
_ROWS_AT_ONCE = 256


@dataclass(frozen=True)
class VectorField:
    """The field over `ground` in one year.

    Attributes:
        ground: the regions.
        geometry: of the ground's pixels.
        vectors: unit vectors of the regions in this year, float64 [R, 64].
        patterns: how the vectors vary from pixel to pixel, float32 [H, W, P].
        directions: what the patterns are multiplied by, [P, 64].
    """

    ground: Scene
    geometry: Geometry
    vectors: NDArray[np.float64]
    patterns: NDArray[np.float32]
    directions: NDArray[np.float64]

    @staticmethod
    def of(ground: Scene, geometry: Geometry, year: int) -> "VectorField":
        """The field of `year`, 2017 or later; the same ground always has the same."""
        rng = np.random.default_rng([SIMULATOR_VERSION, ground.seed, 12])
        shape = ground.region.shape
        patterns = np.stack([noise(rng, 4, (shape[0], shape[1])) for _ in range(_PATTERNS)], -1)
        directions = rng.standard_normal((_PATTERNS, EMBEDDING_SIZE))
        directions *= WITHIN_REGION_SPREAD / np.sqrt(_PATTERNS)
        # A walk from the first year on, so that years far apart differ more.
        drift = np.random.default_rng([SIMULATOR_VERSION, ground.seed, 13])
        vectors = ground.embedding
        for _ in range(year - 2017):
            vectors = vectors + YEARLY_DRIFT * drift.standard_normal(vectors.shape)
        vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return VectorField(ground, geometry, vectors, patterns, directions)

    def codes_at(self, lonlat: NDArray[np.float64]) -> NDArray[np.int8]:
        """Codes int8 [N, 64] of the ground pixels at places [N, 2]; -128 where the ground ends."""
        pixels = self.geometry.to_pixel(lonlat)
        height, width = self.ground.region.shape
        # Comparisons with NaN, for places on the other side of the Earth, are False.
        inside = ((pixels >= 0) & (pixels < (width, height))).all(1)
        columns, rows = pixels[inside].astype(np.int64).T
        vectors = self.vectors[self.ground.region[rows, columns]] + self.patterns[rows, columns] @ self.directions
        codes = np.full((len(lonlat), EMBEDDING_SIZE), NODATA, np.int8)
        codes[inside] = quantize(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
        return codes

    def tile(
        self, crs: str, transform: Affine, height: int, width: int, west: float = -180.0, east: float = 180.0
    ) -> NDArray[np.int8]:
        """Codes int8 [height, width, 64] at the pixel centres of a tile; -128 where they lie west or east of that."""
        place = Geometry.from_affine(transform, crs, width, height)
        codes = np.empty((height, width, EMBEDDING_SIZE), np.int8)
        for top in range(0, height, _ROWS_AT_ONCE):
            rows, columns = np.indices((min(_ROWS_AT_ONCE, height - top), width), np.float64)
            lonlat = place.to_lonlat(np.stack([columns.ravel() + 0.5, rows.ravel() + top + 0.5], -1))
            found = self.codes_at(lonlat)
            found[(lonlat[:, 0] < west) | (lonlat[:, 0] > east)] = NODATA
            codes[top : top + _ROWS_AT_ONCE] = found.reshape(-1, width, EMBEDDING_SIZE)
        return codes
