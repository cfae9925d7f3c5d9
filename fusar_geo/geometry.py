"""Where on Earth the pixels of an image lie: affine transforms, ground control points or RPCs behind one interface.

Pixel coordinates are continuous, x along columns and y along rows: (0, 0) is the outer corner of the first pixel and
pixel centres are at +0.5. Longitude and latitude are WGS84 degrees, longitude first.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.windows import Window

from fusar_geo.errors import InputError
from fusar_geo.mapping import AffineMapping, Mapping, Points

Bounds = tuple[float, float, float, float]
"""West, south, east, north in degrees."""

_ROUND_TRIP_TOLERANCE = 0.01  # pixels
_FINEST_RESOLUTION_M = 0.01
_EDGE_POINTS = 64
_MARGIN_DEGREES = 5.0
# Of the WGS84 ellipsoid, metres.
_SEMI_MAJOR = 6378137.0
_ECCENTRICITY_SQUARED = 0.0066943799901413165


@dataclass(frozen=True)
class Geometry:
    """The georeference of one image. Can be pickled and used in several threads.

    Attributes:
        kind: what it is made of.
        crs: of the transform, the control points or the RPCs, as "EPSG:32611", or WKT where it has no such code.
        width: pixels.
        height: pixels.

    Raises:
        InputError: pixels that do not lie on Earth, or that are not found again from where they lie: the CRS or the
            transform is wrong.
    """

    kind: Literal["affine", "gcps", "rpcs"]
    crs: str
    width: int
    height: int
    _mapping: Mapping = field(repr=False)

    def __post_init__(self) -> None:
        _check(self._mapping, self.crs, self.width, self.height)

    @staticmethod
    def of(dataset: rasterio.DatasetReader, *, crs: str | None = None) -> "Geometry | None":
        """The georeference of an open raster; None where it has none.

        Args:
            dataset: may have an affine transform, ground control points or RPCs; the first of these counts.
            crs: instead of the one that the file names.

        Raises:
            InputError: a transform without a CRS, an unknown CRS, or pixels that do not lie on Earth.
        """
        transform = dataset.transform
        if transform.is_identity:
            return None
        chosen = crs or dataset.crs
        if not chosen:
            raise InputError(f"{dataset.name}: a geotransform without a CRS; say which with crs=, as in 'EPSG:32611'")
        return Geometry.from_affine(transform, chosen, dataset.width, dataset.height)

    @staticmethod
    def from_affine(transform: Affine, crs: str | CRS, width: int, height: int) -> "Geometry":
        """The georeference of a transform from pixels to the coordinates of `crs`.

        Raises:
            InputError: a transform that cannot be inverted, an unknown CRS, or pixels that do not lie on Earth.
        """
        if transform.is_degenerate or not np.isfinite(transform[:6]).all():
            raise InputError(f"geotransform {tuple(transform[:6])}: expected finite numbers that span an area")
        name = crs_name(crs)
        return Geometry("affine", name, width, height, AffineMapping(transform, name))

    def to_lonlat(self, pixels: Points) -> Points:
        """Degrees float64 [N, 2], longitude in [-180, 180], of `pixels` float64 [N, 2] (x, y); NaN where undefined."""
        lonlat = self._mapping.to_lonlat(_points(pixels))
        lonlat[:, 0] = wrap_longitude(lonlat[:, 0])
        return lonlat

    def to_pixel(self, lonlat: Points) -> Points:
        """Pixels (x, y) float64 [N, 2] of places float64 [N, 2] in degrees, inside the image and out.

        NaN for places that the georeference has no pixel for, as on the other side of the Earth.
        """
        lonlat = _points(lonlat).copy()
        centre, reach = self._centre_and_reach
        lonlat[:, 0] += 360 * np.round((centre[0] - lonlat[:, 0]) / 360)
        near = _degrees_between(lonlat, centre) <= reach
        pixels = np.full_like(lonlat, np.nan)
        pixels[near] = self._mapping.to_pixel(lonlat[near])
        return pixels

    def bounds(self, window: Window | None = None) -> Bounds:
        """West, south, east, north of the true outline of the image or of a window of it, in degrees.

        West is in [-180, 180). East is larger than west, and larger than 180 where the antimeridian is crossed; see
        `wrap_longitude`.

        Raises:
            InputError: a pole lies inside, or a part of the window lies nowhere on Earth.
        """
        outline = self._mapping.to_lonlat(_outline(window or Window(0, 0, self.width, self.height)))
        if not np.isfinite(outline).all():
            raise InputError(f"{window}: reaches beyond what {self.crs} can place on Earth")
        longitudes = np.unwrap(outline[:, 0], period=360)
        latitudes = outline[:, 1]
        if abs(longitudes[-1] - longitudes[0]) > 180:
            pole = "north" if latitudes.mean() > 0 else "south"
            raise InputError(f"the {pole} pole is inside: no bounds in degrees hold it; use windows beside the pole")
        west = wrap_longitude(longitudes.min())
        west = -180.0 if west == 180 else float(west)
        return west, float(latitudes.min()), west + float(np.ptp(longitudes)), float(latitudes.max())

    def resolution_m(self, window: Window | None = None) -> float:
        """Ground metres per pixel at the centre of the image or of a window: the root of one pixel's area."""
        window = window or Window(0, 0, self.width, self.height)
        return _resolution_m(self._mapping, window.col_off + window.width / 2, window.row_off + window.height / 2)

    @cached_property
    def _centre_and_reach(self) -> tuple[Points, float]:
        """The centre (longitude, latitude) [2] and how many degrees about it the mapping is asked for."""
        centre = self._mapping.to_lonlat(np.array([[self.width / 2, self.height / 2]]))[0]
        outline = self._mapping.to_lonlat(_outline(Window(0, 0, self.width, self.height)))
        return centre, 2 * float(_degrees_between(outline, centre).max()) + _MARGIN_DEGREES


def wrap_longitude(longitude: float | np.ndarray) -> np.ndarray:
    """Longitudes of any turn in [-180, 180]; those that are there already are not touched."""
    longitude = np.asarray(longitude, np.float64)
    return np.where(np.abs(longitude) > 180, (longitude + 180) % 360 - 180, longitude)


def crs_name(crs: str | CRS) -> str:
    """The CRS as "EPSG:32611", or as WKT where it has no such code.

    Raises:
        InputError: not a CRS.
    """
    try:
        # GDAL would print its error, too, outside an environment.
        with rasterio.Env():
            return CRS.from_user_input(crs).to_string()
    except CRSError as error:
        raise InputError(
            f"CRS {crs!r}: not known ({' '.join(str(error).split())}); expected one as 'EPSG:32611'"
        ) from error


def _points(points: Points) -> Points:
    points = np.asarray(points, np.float64)
    if points.ndim != 2 or points.shape[1] != 2:
        raise InputError(f"points of shape {list(points.shape)}; expected [N, 2]")
    return points


def _outline(window: Window) -> Points:
    """Points along the edges, closed, float64 [4 * 64 + 1, 2]."""
    steps = np.linspace(0, 1, _EDGE_POINTS, endpoint=False)
    edge = np.concatenate([steps, np.ones_like(steps), 1 - steps, np.zeros_like(steps), [0.0]])
    # Down the left edge a quarter behind along the top one.
    x = window.col_off + window.width * edge
    y = window.row_off + window.height * np.roll(edge[:-1], _EDGE_POINTS)[np.r_[: 4 * _EDGE_POINTS, 0]]
    return np.stack([x, y], axis=1)


def _degrees_between(lonlat: Points, centre: Points) -> np.ndarray:
    longitude, latitude = np.radians(lonlat).T
    centre_longitude, centre_latitude = np.radians(centre)
    cosine = np.sin(latitude) * np.sin(centre_latitude) + np.cos(latitude) * np.cos(centre_latitude) * np.cos(
        longitude - centre_longitude
    )
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def _resolution_m(mapping: Mapping, x: float, y: float) -> float:
    left, right, above, below = _earth_centred(
        mapping.to_lonlat(np.array([[x - 0.5, y], [x + 0.5, y], [x, y - 0.5], [x, y + 0.5]]))
    )
    return float(np.sqrt(np.linalg.norm(np.cross(right - left, below - above))))


def _earth_centred(lonlat: Points) -> np.ndarray:
    """Metres [N, 3] from the centre of the Earth, on the ellipsoid; unlike degrees they are even at the poles."""
    longitude, latitude = np.radians(lonlat).T
    normal = _SEMI_MAJOR / np.sqrt(1 - _ECCENTRICITY_SQUARED * np.sin(latitude) ** 2)
    ring = normal * np.cos(latitude)
    return np.stack(
        [
            ring * np.cos(longitude),
            ring * np.sin(longitude),
            normal * (1 - _ECCENTRICITY_SQUARED) * np.sin(latitude),
        ],
        axis=1,
    )


def _check(mapping: Mapping, crs: str, width: int, height: int) -> None:
    grid = np.stack(np.meshgrid(np.linspace(0, width, 5), np.linspace(0, height, 5)), axis=-1).reshape(-1, 2)
    lonlat = mapping.to_lonlat(grid)
    off_earth = ~(np.isfinite(lonlat).all(axis=1) & (np.abs(lonlat[:, 1]) <= 90 + 1e-9))
    if off_earth.any():
        (x, y), (longitude, latitude) = grid[off_earth][0], lonlat[off_earth][0]
        raise InputError(
            f"pixel ({x:g}, {y:g}) at longitude {longitude:g}, latitude {latitude:g} by {crs}: not on Earth; "
            "the CRS or the transform is wrong"
        )
    error = np.abs(mapping.to_pixel(lonlat) - grid).max()
    if not error <= _ROUND_TRIP_TOLERANCE:
        raise InputError(
            f"pixels and places do not agree by {crs}: the way back is {error:.3g} pixels off; the georeference is "
            "wrong, or its CRS does not suit the place"
        )
    resolution = _resolution_m(mapping, width / 2, height / 2)
    if resolution < _FINEST_RESOLUTION_M:
        raise InputError(
            f"pixels of {resolution:.2g} m by {crs}: finer than any SAR; coordinates in degrees with a CRS in metres?"
        )
