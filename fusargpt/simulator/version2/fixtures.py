"""What stands in water or on aprons and fields for good, bright in every pass: in the prior, and no target.

Seen from afar each is what a ship or an aircraft is: a few bright pixels on dark ground. Sizes are those of the things:
offshore platforms 35 to 90 m, islets 25 to 110 m, jetties and breakwaters 60 to 220 m (ships of version 1 are 50 to 180
m long), hangars and farmsteads 30 to 80 m.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fusargpt.geo.land_classes import BUILT, LANDCOVER_CLASSES
from fusargpt.simulator.simulated_scene import RESOLUTION_M

BARE = LANDCOVER_CLASSES.index("bare ground")
WATER_KINDS = {"platform": 0.4, "rock": 0.3, "jetty": 0.3}
MOST_FIXTURES = 5
_GAP = 4  # cells of 5 m to targets, and to each other


@dataclass(frozen=True)
class Fixture:
    """One of them.

    Attributes:
        kind: of `WATER_KINDS`, or "building" on land.
        mask: where it stands, bool [H, W] in cells of the place's map.
        landcover: what it is to a map.
        height: metres.
    """

    kind: str
    mask: NDArray[np.bool_]
    landcover: int
    height: float


def shape(kind: str, rng: np.random.Generator) -> NDArray[np.bool_]:
    """A footprint in cells of 5 m, cropped to itself."""
    length, width = {
        "platform": lambda: (size := rng.uniform(35, 90), size * rng.uniform(0.6, 1)),
        "rock": lambda: (size := rng.uniform(25, 110), size * rng.uniform(0.35, 0.9)),
        "jetty": lambda: (rng.uniform(60, 220), rng.uniform(10, 32)),
        "building": lambda: (size := rng.uniform(30, 80), size * rng.uniform(0.4, 1)),
    }[kind]()
    length, width = length / RESOLUTION_M, width / RESOLUTION_M
    half = int(np.ceil(np.hypot(length, width) / 2)) + 1
    angle = rng.uniform(0, np.pi)
    rows, columns = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float64)
    along = columns * np.cos(angle) + rows * np.sin(angle)
    across = rows * np.cos(angle) - columns * np.sin(angle)
    if kind == "rock":
        bearing = np.arctan2(across, along)
        bumps = sum(rng.uniform(0, 0.3 / n) * np.cos(n * bearing + rng.uniform(0, 2 * np.pi)) for n in (2, 3, 4, 5))
        mask = np.hypot(along / length, across / width) <= 0.5 * (1 + bumps)
    else:
        mask = (np.abs(along) <= length / 2) & (np.abs(across) <= width / 2)
    mask = mask | ((rows == 0) & (columns == 0))
    found = np.argwhere(mask)
    (top, left), (bottom, right) = found.min(0), found.max(0) + 1
    return mask[top:bottom, left:right]


def draw_fixtures(
    free: NDArray[np.bool_], kinds: dict[str, float], most: int, rng: np.random.Generator
) -> list[Fixture]:
    """Up to `most` fixtures wholly where `free` [H, W], apart from each other; how many is as likely each."""
    free = np.asarray(ndimage.binary_erosion(free, iterations=_GAP, border_value=1), bool)
    found: list[Fixture] = []
    for _ in range(int(rng.integers(0, most + 1))):
        kind = str(rng.choice(list(kinds), p=list(kinds.values())))
        mask = shape(kind, rng)
        height = rng.uniform(3, 12) if kind in ("jetty", "rock") else rng.uniform(8, 40)
        for _ in range(12):
            room = np.array(free.shape) - mask.shape
            if (room < 0).any():
                break
            top, left = rng.integers(0, room + 1)
            part = np.s_[top : top + mask.shape[0], left : left + mask.shape[1]]
            if free[part][mask].all():
                whole = np.zeros(free.shape, bool)
                whole[part] = mask
                found.append(Fixture(kind, whole, BARE if kind == "rock" else BUILT, height))
                free &= ~np.asarray(ndimage.binary_dilation(whole, iterations=_GAP), bool)
                break
    return found
