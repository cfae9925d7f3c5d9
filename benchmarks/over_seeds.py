"""How far the mean of a few seeds can be trusted."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import t as student


def over_seeds(values: Sequence[float]) -> tuple[float, float] | None:
    """95 % interval of the mean of seeds (Student's t), in the unit of `values`; None for fewer than two."""
    if len(values) < 2:
        return None
    half = float(student.ppf(0.975, len(values) - 1)) * float(np.std(values, ddof=1)) / len(values) ** 0.5
    return float(np.mean(values)) - half, float(np.mean(values)) + half
