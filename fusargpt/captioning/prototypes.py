"""Land cover by what is known of nine classes: their AlphaEarth vectors and their backscatter.

The prototypes are the class statistics that the simulator draws from (`fusargpt.simulator.landcover`), of 2,160 real
points in three regions of the United States. On points of another region they are right far less often than on these:
what they say is a claim with a margin, not a map.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from fusargpt.geo.land_classes import LANDCOVER_CLASSES
from fusargpt.simulator.landcover import EMBEDDING_DEGREES_OF_FREEDOM, load_statistics
from fusargpt.simulator.rendering import POLARIZATIONS


def embedding_log_odds(vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    """How well classes fit unit vectors [N, 64]: log densities [N, 9] of a multivariate Student t, up to a constant.

    All classes share the mean of their covariances, as in a linear discriminant: each has too few points for its own.
    """
    means, precision = _discriminant()
    size = means.shape[1]
    apart = vectors[:, None].astype(np.float64) - means
    distance = np.einsum("nci,ij,ncj->nc", apart, precision, apart)
    degrees = EMBEDDING_DEGREES_OF_FREEDOM
    return -0.5 * (degrees + size) * np.log1p(distance / degrees)


def backscatter_log_odds(decibels: float, polarization: str) -> NDArray[np.float64] | None:
    """Log densities [9] of a region's mean backscatter in each class; None for a polarization without statistics."""
    if polarization not in POLARIZATIONS:
        return None
    statistics, channel = load_statistics(), POLARIZATIONS.index(polarization)
    mean = statistics.backscatter_mean[:, channel]
    variance = np.einsum("cij,cij->ci", statistics.backscatter_factor, statistics.backscatter_factor)[:, channel]
    return -0.5 * ((decibels - mean) ** 2 / variance + np.log(variance))


def expected_decibels(landcover: int, polarization: str) -> tuple[float, float]:
    """Mean and standard deviation of a class's backscatter; `polarization` is one that has statistics."""
    statistics, channel = load_statistics(), POLARIZATIONS.index(polarization)
    factor = statistics.backscatter_factor[landcover, channel]
    return float(statistics.backscatter_mean[landcover, channel]), float(np.hypot(*factor))


@cache
def _discriminant() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Class means [9, 64] and the inverse of the mean covariance [64, 64]."""
    statistics = load_statistics()
    factor, diagonal = statistics.embedding_factor, statistics.embedding_diagonal
    covariance = np.einsum("cir,cjr->ij", factor, factor) / len(LANDCOVER_CLASSES)
    covariance += np.diag((diagonal**2).mean(0))
    return statistics.embedding_mean, np.linalg.inv(covariance)
