"""How large boxes of an image are on the ground, and which way their longer side runs.

Lengths are straight lines between points on the WGS84 ellipsoid, so that they are the ground's and not those of a map's
grid, which stretches them.

The sides of a box are the image's, whatever lies in it: a slender target that lies across the grid fills a box that is
nearly a square. Of a target that is a rectangle and fills its box, the long axis lies within atan(width / length) of
the longer side. So the direction of that side is told as a heading only of boxes at least twice as long as wide, and by
how much it may be off beside it. Bow and stern are not told apart.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fusargpt.geo.earth import Points, earth_centred

LEAST_ELONGATION = 2.0
"""Length by width from which on a box has a heading, then within 26.6 degrees."""
_GRID_ERROR = 1e-3
"""By which pixels differ across and down on the ground where they are squares of a map."""


@dataclass(frozen=True)
class Measures:
    """Of one box on the ground.

    Attributes:
        length_m: of the longer side, through the middle.
        width_m: of the shorter one.
        area_m2: of the box, not of what is in it.
        heading_deg: of the longer side from true north, clockwise, in [0, 180); None for a box that is not elongated.
        heading_within_deg: how far from it a target that fills the box can lie; None likewise.
    """

    length_m: float
    width_m: float
    area_m2: float
    heading_deg: float | None
    heading_within_deg: float | None

    def as_json(self) -> dict[str, float | None]:
        """Plain JSON, rounded to what a pixel of any SAR can tell."""
        return {
            "length_m": round(self.length_m, 2),
            "width_m": round(self.width_m, 2),
            "area_m2": round(self.area_m2, 1),
            "heading_deg": None if self.heading_deg is None else round(self.heading_deg, 1) % 180,
            "heading_within_deg": None if self.heading_within_deg is None else round(self.heading_within_deg, 1),
        }


def measures(to_lonlat: Callable[[Points], Points], boxes: Sequence[Sequence[float]]) -> list[Measures]:
    """Of boxes [x1, y1, x2, y2] in pixels of an image.

    Args:
        to_lonlat: degrees [N, 2] of pixels (x, y) [N, 2], as `fusargpt.geo.geometry.Geometry.to_lonlat`.
        boxes: each with an area, small against the Earth.
    """
    if not len(boxes):
        return []
    x1, y1, x2, y2 = np.asarray(boxes, np.float64).T
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    points = [(x1, y), (x2, y), (x, y1), (x, y2), (x, y)]
    lonlat = to_lonlat(np.concatenate([np.stack(point, axis=1) for point in points])).reshape(5, -1, 2)
    left, right, top, bottom = (earth_centred(edge) for edge in lonlat[:4])
    across, down = right - left, bottom - top
    sides = np.stack([np.linalg.norm(across, axis=1), np.linalg.norm(down, axis=1)])
    areas = np.linalg.norm(np.cross(across, down), axis=1)
    along = np.where((sides[0] >= sides[1])[:, None], across, down)
    azimuths = _azimuths(along, lonlat[4])
    return [_measured(*of_one) for of_one in zip(sides.max(0), sides.min(0), areas, azimuths, strict=True)]


def _measured(length: float, width: float, area: float, azimuth: float) -> Measures:
    elongated = length >= LEAST_ELONGATION * width * (1 - _GRID_ERROR)
    within = float(np.degrees(np.arctan2(width, length))) if elongated else None
    return Measures(float(length), float(width), float(area), float(azimuth) if elongated else None, within)


def _azimuths(vectors: NDArray[np.float64], lonlat: Points) -> NDArray[np.float64]:
    """Degrees [N] in [0, 180) of vectors [N, 3] from north, clockwise, on the ground at places [N, 2]."""
    longitude, latitude = np.radians(lonlat).T
    zero = np.zeros_like(longitude)
    east = np.stack([-np.sin(longitude), np.cos(longitude), zero], axis=1)
    north = np.stack(
        [-np.sin(latitude) * np.cos(longitude), -np.sin(latitude) * np.sin(longitude), np.cos(latitude)], axis=1
    )
    return np.degrees(np.arctan2((vectors * east).sum(1), (vectors * north).sum(1))) % 180
