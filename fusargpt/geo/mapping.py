"""From pixels to places on Earth and back, one class for each kind of georeference.

Points are float64 [N, 2]: pixels (x, y) with (0, 0) the outer corner of the first, or WGS84 degrees (longitude,
latitude) of any turn. NaN where there is no answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.rpc import RPC
from rasterio.transform import GCPTransformer, RPCTransformer
from rasterio.warp import transform as transform_coordinates

from fusargpt.errors import InputError
from fusargpt.geo.earth import Points, wrap_longitude
from fusargpt.private_names import gdal_error

WGS84 = "EPSG:4326"

_CONTROL_POINTS_PER_SIDE = 20
_SPLINE_ERROR_M = 0.1
_RPC_PIXEL_ERROR = 1e-6


class Mapping(Protocol):
    def to_lonlat(self, pixels: Points) -> Points: ...

    def to_pixel(self, lonlat: Points) -> Points: ...


@dataclass(frozen=True)
class AffineMapping:
    """Six numbers, which may rotate, and the CRS they lead to. Exact both ways.

    `turn` is what a full turn about the Earth adds to x, as 360 where the CRS is in degrees and 40,075,017 in Web
    Mercator; None where x does not come back. `centre_x` is that of the image in the numbers' own terms, as 181 or 243.
    """

    transform: Affine
    crs: str
    centre_x: float
    turn: float | None

    @staticmethod
    def of(transform: Affine, crs: str, width: int, height: int) -> "AffineMapping":
        x, y = np.meshgrid(np.linspace(0, width, 5), np.linspace(0, height, 5))
        coordinates = _apply(transform, np.stack([x.ravel(), y.ravel()], axis=1))
        # The middle one of 5 x 5.
        return AffineMapping(transform, crs, float(coordinates[12, 0]), _turn(crs, coordinates))

    def to_lonlat(self, pixels: Points) -> Points:
        return project(self.crs, WGS84, _apply(self.transform, pixels))

    def to_pixel(self, lonlat: Points) -> Points:
        coordinates = project(WGS84, self.crs, lonlat)
        if self.turn is not None:
            coordinates[:, 0] += self.turn * np.round((self.centre_x - coordinates[:, 0]) / self.turn)
        return _apply(~self.transform, coordinates)


@dataclass(frozen=True)
class ControlPointMapping:
    """A thin plate spline through ground control points: exact at each, smooth between.

    The way back is solved by iteration, to 1e-6 of a pixel. The spline is fitted in metres on a plane that touches the
    Earth inside the image, so that neither the antimeridian nor a pole disturbs it.
    """

    points: tuple[tuple[float, float, float, float], ...]
    """Row, column and the plane's x, y of each."""
    plane: str

    @staticmethod
    def of(points: Sequence[GroundControlPoint], crs: str, width: int, height: int) -> "ControlPointMapping":
        """Of more than 400 points those count that are nearest to the nodes of a 20 x 20 grid over the image.

        Raises:
            InputError: fewer than three points, or all on one line.
        """
        pixels = np.array([(point.col, point.row) for point in points], np.float64)
        lonlat = project(crs, WGS84, np.array([(point.x, point.y) for point in points], np.float64))
        off_earth = ~(np.isfinite(lonlat).all(axis=1) & (np.abs(lonlat[:, 1]) <= 90))
        if off_earth.any():
            point = points[int(np.argmax(off_earth))]
            raise InputError(f"a ground control point at ({point.x:g}, {point.y:g}) of {crs}: not on Earth")
        chosen = _nearest_to_grid(pixels, width, height)
        pixels, lonlat = pixels[chosen], lonlat[chosen]
        middle = np.argmin(np.abs(pixels - (width / 2, height / 2)).sum(axis=1))
        longitude, latitude = lonlat[middle]
        plane = f"+proj=aeqd +lat_0={latitude:.6f} +lon_0={wrap_longitude(longitude):.6f} +datum=WGS84"
        metres = project(WGS84, plane, lonlat)
        if not np.isfinite([pixels, metres]).all():
            raise InputError("ground control points without finite coordinates")
        if len(pixels) < 3 or _on_one_line(pixels) or _on_one_line(metres):
            raise InputError(f"{len(points)} ground control points that span no area; expected three or more that do")
        rows = zip(pixels[:, 1], pixels[:, 0], metres[:, 0], metres[:, 1], strict=True)
        return ControlPointMapping(tuple((float(r), float(c), float(x), float(y)) for r, c, x, y in rows), plane)

    def to_lonlat(self, pixels: Points) -> Points:
        with self._spline() as spline:
            x, y = spline.xy(pixels[:, 1], pixels[:, 0], offset="ul")
        return project(self.plane, WGS84, np.stack([x, y], axis=1))

    def to_pixel(self, lonlat: Points) -> Points:
        metres = project(WGS84, self.plane, lonlat)
        with self._spline() as spline:
            rows, columns = spline.rowcol(metres[:, 0], metres[:, 1], op=np.positive)
            x, y = spline.xy(rows, columns, offset="ul")
        pixels = np.stack([columns, rows], axis=1)
        # Far outside the image the iteration may end anywhere.
        pixels[~(np.hypot(x - metres[:, 0], y - metres[:, 1]) <= _SPLINE_ERROR_M)] = np.nan
        return pixels

    def _spline(self) -> GCPTransformer:
        try:
            return GCPTransformer([GroundControlPoint(*point) for point in self.points], tps=True)
        except gdal_error() as error:
            raise InputError(f"ground control points that no spline goes through ({error})") from error


@dataclass(frozen=True)
class RationalPolynomialMapping:
    """Rational polynomials at one height above the ellipsoid. The way to places is iterated to 1e-6 of a pixel."""

    rpcs: RPC
    height_m: float

    def to_lonlat(self, pixels: Points) -> Points:
        with self._polynomials() as polynomials:
            x, y = polynomials.xy(pixels[:, 1], pixels[:, 0], zs=self._heights(pixels), offset="ul")
        return np.stack([x, y], axis=1)

    def to_pixel(self, lonlat: Points) -> Points:
        with self._polynomials() as polynomials:
            rows, columns = polynomials.rowcol(lonlat[:, 0], lonlat[:, 1], zs=self._heights(lonlat), op=np.positive)
        return np.stack([columns, rows], axis=1)

    def _polynomials(self) -> RPCTransformer:
        try:
            return RPCTransformer(self.rpcs, RPC_PIXEL_ERROR_THRESHOLD=_RPC_PIXEL_ERROR, RPC_MAX_ITERATIONS=50)
        except gdal_error() as error:
            raise InputError(f"RPCs that cannot be used ({error})") from error

    def _heights(self, points: Points) -> NDArray[np.float64]:
        return np.full(len(points), self.height_m)


def project(source: str, target: str, points: Points) -> Points:
    """Points [N, 2] of one CRS in another; NaN where the projection has no answer."""
    if source == target or len(points) == 0:
        return points.copy()
    try:
        x, y = transform_coordinates(source, target, *points.T)[:2]
    # One point without an answer fails them all.
    except gdal_error():
        if len(points) == 1:
            return np.full_like(points, np.nan)
        half = len(points) // 2
        return np.concatenate([project(source, target, part) for part in (points[:half], points[half:])])
    projected = np.stack([x, y], axis=1)
    projected[~np.isfinite(projected).all(axis=1)] = np.nan
    return projected


def _turn(crs: str, coordinates: Points) -> float | None:
    """What a full turn about the Earth adds to x, if coordinates [N, 2] show that it adds anything."""
    if CRS.from_user_input(crs).is_geographic:
        return 360.0
    # Beyond the antimeridian some projections go on, and come back from the other side.
    back = project(WGS84, crs, project(crs, WGS84, coordinates))
    off = back - coordinates
    size = np.ptp(coordinates, axis=0).max()
    turned = (np.abs(off[:, 0]) > 2 * size) & (np.abs(off[:, 1]) <= 1e-6 * size)
    turns = np.abs(off[turned, 0])
    return float(np.median(turns)) if len(turns) and np.ptp(turns) <= 1e-6 * size else None


def _apply(transform: Affine, points: Points) -> Points:
    x, y = points.T
    return np.stack(
        [transform.a * x + transform.b * y + transform.c, transform.d * x + transform.e * y + transform.f], axis=1
    )


def _nearest_to_grid(pixels: Points, width: int, height: int) -> NDArray[np.intp]:
    """Indices of the points to keep, ascending."""
    if len(pixels) <= _CONTROL_POINTS_PER_SIDE**2:
        return np.arange(len(pixels))
    steps = np.linspace(0, 1, _CONTROL_POINTS_PER_SIDE)
    nodes = np.stack(np.meshgrid(steps * width, steps * height), axis=-1).reshape(-1, 2)
    nearest = [np.argmin(np.square((pixels - node) / (width, height)).sum(axis=1)) for node in nodes]
    return np.unique(nearest)


def _on_one_line(points: Points) -> bool:
    spread = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
    return bool(spread[1] <= 1e-6 * spread[0])
