"""One pass of one radar over a place: pixel size, resolution, looks, geometry."""

import math
from dataclasses import dataclass

import numpy as np

PLACE_M = 840.0
"""Side of a place: that of a scene of version 1."""
FINEST_M, COARSEST_M = 2.5, 30.0
PIXEL_SIZES_M = (5.0, 30.0)
"""Between which the pixel size is drawn, uniform in its logarithm."""
INCIDENCE = (29.1, 46.0)
"""Degrees, of Sentinel-1's interferometric wide swath (ESA, Sentinel-1 User Handbook, 2013, table 5-1)."""
# Looks and their shares. Of the 928 training chips of SSDD, calm water has a coefficient of variation of its amplitude
# of 0.49 in the median (quartiles 0.46, 0.52): a single look has 0.523, four have 0.26. Sentinel-1's GRD has five
# looks (5.3 equivalent ones measured on the sea off Los Angeles), and coarser pixels are means of such.
_FINE_LOOKS = ((1, 2, 5), (0.75, 0.1, 0.15))
_COARSE_LOOKS = ((1, 5, 9), (0.2, 0.5, 0.3))
_COARSE_FROM_M = 9.0
# Resolution by pixel size, of fine products: at these shares of them at most so much, in range and in azimuth. Pixels
# of calm water beside each other correlate with 0.16, 0.50, 0.66, 0.82 and 0.88 across (5th, 25th, 50th, 75th and 95th
# percentile of the training chips of SSDD) and with 0.00, 0.18, 0.51, 0.77 and 0.89 down, 0.74 between the two: chips
# are sampled finer than they resolve, and some are enlarged. At the mean weight below that is what these give.
_SHARES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
_RANGE_OVERSAMPLING = (0.85, 0.95, 1.55, 2.0, 2.8, 3.6, 3.9)
_AZIMUTH_OVERSAMPLING = (0.8, 0.8, 1.0, 1.6, 2.5, 3.6, 3.9)
_ALIKE = 0.7
# Of coarse ones: Sentinel-1's GRD resolves 20 x 22 m at 10 m a pixel, means of its pixels less than a pixel.
_COARSE_OVERSAMPLING = (0.9, 2.2)
# Of a weighted spectrum a + (1 - a) cos(2 pi f / B): the first side lobe is at -13 dB for a = 1, at -21 dB for
# Sentinel-1's 0.75 (its specification asks for -21.2 dB), at -31 dB for 0.6.
_WEIGHT = (0.54, 0.76)
_HEADING = (8.0, 14.0)  # degrees between track and north, for scenes turned to north; Sentinel-1's is some 10 to 13
_TURNED_SHARE = 0.4
_EARTH_RADIUS_M, _ALTITUDE_M = 6_371_000.0, 693_000.0  # of Sentinel-1
_NOISE_DB = {"VV": (-29.0, -23.0), "VH": (-34.0, -27.0)}
# Noise equivalent backscatter: Sentinel-1's specification is -22 dB, most of the swath is some decibels better.


@dataclass(frozen=True)
class View:
    """What a radar is and where it looks from.

    Attributes:
        side: pixels along each side of the image.
        looks: independent ones, averaged.
        resolution_m: in azimuth and in range.
        weight: of the spectrum, 0.5 to 1; the side lobes follow from it.
        range_direction: unit vector (down, right) in the image, from near to far range.
        azimuth_direction: likewise, along the track.
        incidence: degrees at the centre.
        noise_db: backscatter that the receiver's noise equals.
        polarization: "VV" or "VH".
    """

    side: int
    looks: int
    resolution_m: tuple[float, float]
    weight: float
    range_direction: tuple[float, float]
    azimuth_direction: tuple[float, float]
    incidence: float
    noise_db: float
    polarization: str

    @property
    def pixel_m(self) -> float:
        return PLACE_M / self.side

    def layover_m(self, height: float) -> float:
        """How far towards the radar the top of something `height` metres high is mapped."""
        return height / math.tan(math.radians(self.incidence))

    def shadow_m(self, height: float) -> float:
        """How far behind itself it hides the ground."""
        return height * math.tan(math.radians(self.incidence))

    @property
    def incidence_per_metre(self) -> float:
        """Degrees that the incidence grows with a metre of ground range: 4e-5 to 6e-5, so 0.05 across a place."""
        incidence = math.radians(self.incidence)
        look = math.asin(math.sin(incidence) * _EARTH_RADIUS_M / (_EARTH_RADIUS_M + _ALTITUDE_M))
        slant = _EARTH_RADIUS_M * math.sin(incidence - look) / math.sin(look)
        return math.degrees(math.cos(incidence) / slant + 1 / _EARTH_RADIUS_M)


def draw_view(rng: np.random.Generator, side: int, polarization: str) -> View:
    """A radar and a pass that show a place in `side` pixels along each side."""
    pixel_m = PLACE_M / side
    numbers, shares = _FINE_LOOKS if pixel_m < _COARSE_FROM_M else _COARSE_LOOKS
    looks = int(rng.choice(numbers, p=shares))
    if pixel_m < _COARSE_FROM_M:
        at = rng.random()
        range_by = float(np.interp(at, _SHARES, _RANGE_OVERSAMPLING))
        at = at if rng.random() < _ALIKE else rng.random()
        azimuth_by = float(np.interp(at, _SHARES, _AZIMUTH_OVERSAMPLING))
    else:
        range_by, azimuth_by = (float(value) for value in rng.uniform(*_COARSE_OVERSAMPLING, 2))
    # Columns are range and rows azimuth in radar geometry; north-up scenes are turned by the heading.
    turn = math.radians(rng.uniform(*_HEADING)) * rng.choice([-1.0, 1.0]) if rng.random() < _TURNED_SHARE else 0.0
    towards = rng.choice([-1.0, 1.0])
    range_direction = (towards * math.sin(turn), towards * math.cos(turn))
    low, high = _NOISE_DB[polarization]
    return View(
        side=side,
        looks=looks,
        resolution_m=(azimuth_by * pixel_m, range_by * pixel_m),
        weight=rng.uniform(*_WEIGHT),
        range_direction=range_direction,
        azimuth_direction=(range_direction[1], -range_direction[0]),
        incidence=rng.uniform(*INCIDENCE),
        noise_db=rng.uniform(low, high),
        polarization=polarization,
    )
