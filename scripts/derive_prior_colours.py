"""Derive `prior_colours.csv`, the false colours of the prior: python -m scripts.derive_prior_colours

The table turns the 64 numbers of an AlphaEarth vector into red, green and blue, by one affine map for all pictures. It
is the linear fit, over the class means and covariances of `landcover_statistics.npz`, that comes nearest to a colour
chosen for each land-cover class; a share of the spread within the classes keeps it from following single vectors, and
the contrast is lowered until hardly a vector leaves the range. The colours chosen are muted and as one expects them on
a map: water blue, trees green, fields ochre, buildings red.
"""

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fusargpt.geo import prior_colours
from fusargpt.geo.land_classes import LANDCOVER_CLASSES
from fusargpt.simulator.landcover import LandcoverStatistics, load_statistics

CHOSEN = {
    "water": (70, 110, 165),
    "trees": (50, 105, 70),
    "grass": (140, 170, 95),
    "flooded vegetation": (75, 150, 150),
    "crops": (205, 175, 85),
    "shrubs": (150, 125, 85),
    "built area": (190, 85, 85),
    "bare ground": (200, 165, 140),
    "snow": (205, 200, 215),
}
WITHIN = 0.3
"""Weight of the spread within classes against that between them: more gives calmer colours and less distinct ones."""
CONTRAST = 0.75
"""What is kept of the fit about mid-grey: under 1 % of the vectors, real and drawn, then leave the range."""
DIGITS = 4


def derive(statistics: LandcoverStatistics) -> NDArray[np.float64]:
    """The table [65, 3]: the colour of the vector 0, then what each of the 64 numbers adds; 1 is the full colour."""
    means, factors = statistics.embedding_mean, statistics.embedding_factor
    chosen = np.array([CHOSEN[name] for name in LANDCOVER_CLASSES]) / 255
    within = (factors @ factors.transpose(0, 2, 1)).mean(0) + np.diag((statistics.embedding_diagonal**2).mean(0))
    between = np.cov(means.T, bias=True)
    shared = (means - means.mean(0)).T @ (chosen - chosen.mean(0)) / len(means)
    directions = CONTRAST * np.linalg.solve(WITHIN * within + between, shared)
    middle = 0.5 + CONTRAST * (chosen.mean(0) - 0.5)
    return np.vstack([middle - means.mean(0) @ directions, directions]).round(DIGITS)


def main() -> None:
    with Path(prior_colours.__file__).with_suffix(".csv").open("w", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(prior_colours.COLUMNS)
        for name, row in zip(prior_colours.ROWS, derive(load_statistics()), strict=True):
            writer.writerow([name, *(f"{value:.{DIGITS}f}" for value in row)])


if __name__ == "__main__":
    main()
