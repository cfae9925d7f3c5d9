"""Degrees on the WGS84 ellipsoid, float64, longitude first."""

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
"""[N, 2]: pixels (x, y), coordinates of a CRS (x, y), or degrees (longitude, latitude)."""

METRES_PER_DEGREE = 111_195.0
"""Of a great circle of a sphere of the Earth's mean radius; within 0.6 % of the ellipsoid."""

_SEMI_MAJOR = 6378137.0  # metres
_ECCENTRICITY_SQUARED = 0.0066943799901413165


def wrap_longitude(longitude: float | NDArray[np.float64]) -> NDArray[np.float64]:
    """Longitudes of any turn in [-180, 180]; those that are there already are not touched."""
    longitude = np.asarray(longitude, np.float64)
    return np.where(np.abs(longitude) > 180, (longitude + 180) % 360 - 180, longitude)


def degrees_between(lonlat: Points, centre: NDArray[np.float64]) -> NDArray[np.float64]:
    """Angles [N] at the centre of the Earth between the points [N, 2] and one point [2]."""
    longitude, latitude = np.radians(lonlat).T
    centre_longitude, centre_latitude = np.radians(centre)
    cosine = np.sin(latitude) * np.sin(centre_latitude) + np.cos(latitude) * np.cos(centre_latitude) * np.cos(
        longitude - centre_longitude
    )
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def earth_centred(lonlat: Points) -> NDArray[np.float64]:
    """Metres [N, 3] from the centre of the Earth of points on the ellipsoid; unlike degrees, even at the poles."""
    longitude, latitude = np.radians(lonlat).T
    normal = _SEMI_MAJOR / np.sqrt(1 - _ECCENTRICITY_SQUARED * np.sin(latitude) ** 2)
    ring = normal * np.cos(latitude)
    height = normal * (1 - _ECCENTRICITY_SQUARED) * np.sin(latitude)
    return np.stack([ring * np.cos(longitude), ring * np.sin(longitude), height], axis=1)
