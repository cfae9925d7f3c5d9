"""From pixels to places on Earth and back, one class for each kind of georeference."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.warp import transform as transform_coordinates

Points = NDArray[np.float64]
"""[N, 2]: pixels (x, y), coordinates of a CRS (x, y), or degrees (longitude, latitude)."""

WGS84 = "EPSG:4326"


class Mapping(Protocol):
    """Both ways between pixels and WGS84 degrees, [N, 2] each; NaN where there is no answer.

    Longitudes are continuous over the image: they may leave [-180, 180], and `to_pixel` is given longitudes near those
    that `to_lonlat` returns.
    """

    def to_lonlat(self, pixels: Points) -> Points: ...

    def to_pixel(self, lonlat: Points) -> Points: ...


def project(source: str, target: str, points: Points) -> Points:
    """Points [N, 2] of one CRS in another; NaN where the projection has no answer."""
    if source == target or len(points) == 0:
        return points.copy()
    try:
        x, y = transform_coordinates(source, target, *points.T)
    # One point without an answer fails them all; rasterio lets GDAL's own error through and exports no name for it.
    except CPLE_BaseError:
        if len(points) == 1:
            return np.full_like(points, np.nan)
        half = len(points) // 2
        return np.concatenate([project(source, target, part) for part in (points[:half], points[half:])])
    projected = np.stack([x, y], axis=1)
    projected[~np.isfinite(projected).all(axis=1)] = np.nan
    return projected


@dataclass(frozen=True)
class AffineMapping:
    """Six numbers, which may rotate, and the CRS they lead to."""

    transform: Affine
    crs: str

    def to_lonlat(self, pixels: Points) -> Points:
        return project(self.crs, WGS84, _apply(self.transform, pixels))

    def to_pixel(self, lonlat: Points) -> Points:
        return _apply(~self.transform, project(WGS84, self.crs, lonlat))


def _apply(transform: Affine, points: Points) -> Points:
    x, y = points.T
    return np.stack(
        [transform.a * x + transform.b * y + transform.c, transform.d * x + transform.e * y + transform.f], axis=1
    )
