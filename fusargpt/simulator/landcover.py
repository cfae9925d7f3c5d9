"""Land-cover classes and the statistics of real points that the simulator draws from.

The table `landcover_statistics.npz` is derived by `derive_statistics.py` from 2,160 labelled points (nine Dynamic World
classes, 240 points each) with their AlphaEarth vectors and annual median Sentinel-1 backscatter.
"The AlphaEarth Foundations Satellite Embedding dataset is produced by Google and Google DeepMind." (CC BY 4.0)
"""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np

# Heavier tails than a Gaussian: with these degrees of freedom a linear probe names the class of drawn vectors as often
# as that of real ones (tests/fusargpt/simulator/test_calibration.py).
EMBEDDING_DEGREES_OF_FREEDOM = 6.0


@dataclass(frozen=True)
class LandcoverStatistics:
    """Per-class statistics, classes in the order of `LANDCOVER_CLASSES`.

    embedding_mean [9, 64]; embedding_factor [9, 64, R] and embedding_diagonal [9, 64]: covariance = F F^T + diag(d)^2;
    backscatter_mean [9, 2] and backscatter_factor [9, 2, 2] (Cholesky): VV and VH in dB.
    """

    embedding_mean: np.ndarray
    embedding_factor: np.ndarray
    embedding_diagonal: np.ndarray
    backscatter_mean: np.ndarray
    backscatter_factor: np.ndarray

    def draw_embedding(self, landcover: int, rng: np.random.Generator) -> np.ndarray:
        """One AlphaEarth-like unit vector [64] of a class: multivariate Student t about the class mean, normalised."""
        degrees = EMBEDDING_DEGREES_OF_FREEDOM
        factor = self.embedding_factor[landcover]
        deviation = factor @ rng.standard_normal(factor.shape[1])
        deviation += self.embedding_diagonal[landcover] * rng.standard_normal(factor.shape[0])
        vector = self.embedding_mean[landcover] + deviation * np.sqrt(degrees / rng.chisquare(degrees))
        return vector / np.linalg.norm(vector)

    def draw_backscatter(self, landcover: int, rng: np.random.Generator) -> np.ndarray:
        """VV and VH of one region of a class, dB [2]."""
        return self.backscatter_mean[landcover] + self.backscatter_factor[landcover] @ rng.standard_normal(2)


@cache
def load_statistics() -> LandcoverStatistics:
    """The committed table."""
    with (files("fusargpt.simulator") / "landcover_statistics.npz").open("rb") as handle:
        table = np.load(handle, allow_pickle=False)
        return LandcoverStatistics(**{name: table[name].astype(np.float64) for name in table.files})
