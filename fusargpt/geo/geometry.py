"""Where on Earth the pixels of an image lie: affine transforms, ground control points or RPCs behind one interface.

Pixel coordinates are continuous, x along columns and y along rows: (0, 0) is the outer corner of the first pixel and
pixel centres are at +0.5. Longitude and latitude are WGS84 degrees, longitude first.

What is wrong by more than a hundredth of a pixel there and back is refused. Affine transforms agree to 1e-6 of a pixel,
ground control points and RPCs to 1e-5, by their own model; how near that model comes to the ground is up to the file.
"""

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.rpc import RPC
from rasterio.windows import Window

from fusargpt.errors import InputError, one_line
from fusargpt.geo.earth import Points, degrees_between, earth_centred, wrap_longitude
from fusargpt.geo.mapping import WGS84, AffineMapping, ControlPointMapping, Mapping, RationalPolynomialMapping

Bounds = tuple[float, float, float, float]
"""West, south, east, north in degrees."""

# "EPSG:32611", "EPSG:32611+5773", "OGC:CRS84", "urn:ogc:def:crs:EPSG::32611", and WKT of any version.
_CODE_OR_WKT = re.compile(
    r"\s*(?:(?:urn:ogc:def:crs:[A-Za-z0-9_]+:[0-9.]*|[A-Za-z]+(?:_[0-9]+)?):[A-Za-z0-9]+(?:\+[0-9]+)?\s*\Z"
    r"|[A-Z][A-Za-z0-9_]{4,}\s*[\[(]\s*\")"
)
_ROUND_TRIP_TOLERANCE = 0.01  # pixels
_FINEST_RESOLUTION_M = 0.01
_POINTS_PER_EDGE = 64
_MARGIN_DEGREES = 5.0


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
        self._check()

    @staticmethod
    def of(
        dataset: rasterio.DatasetReader, *, crs: str | None = None, height_m: float | None = None
    ) -> "Geometry | None":
        """The georeference of an open raster; None where it has none.

        Args:
            dataset: may have an affine transform, ground control points or RPCs; the first of these counts.
            crs: instead of the one that the file names for its transform or control points.
            height_m: of the ground above the ellipsoid, for RPCs; None takes the middle of the heights they are for.

        Raises:
            InputError: a transform or control points without a CRS, an unknown CRS, pixels that do not lie on Earth,
                control points that span no area, or an argument that this georeference has no use for.
        """
        control_points, control_crs = dataset.gcps
        size = dataset.width, dataset.height
        if not dataset.transform.is_identity:
            _check_unused("height_m", height_m, "an affine transform")
            return Geometry.from_affine(dataset.transform, _chosen_crs(crs, dataset.crs, "a geotransform"), *size)
        if control_points:
            _check_unused("height_m", height_m, "ground control points")
            name = crs_name(_chosen_crs(crs, control_crs, "ground control points"))
            return Geometry("gcps", name, *size, ControlPointMapping.of(control_points, name, *size))
        rpcs = _rpcs(dataset)
        if rpcs is not None:
            _check_unused("crs", crs, "RPCs, which are in WGS84,")
            height = float(rpcs.height_off if height_m is None else height_m)
            return Geometry("rpcs", WGS84, *size, RationalPolynomialMapping(rpcs, height))
        _check_unused("crs", crs, "no transform, control points or RPCs")
        _check_unused("height_m", height_m, "no RPCs")
        return None

    @staticmethod
    def from_affine(transform: Affine, crs: str | CRS, width: int, height: int) -> "Geometry":
        """The georeference of a transform from pixels to the coordinates of `crs`.

        Raises:
            InputError: a transform that cannot be inverted, an unknown CRS, or pixels that do not lie on Earth.
        """
        if transform.is_degenerate or not np.isfinite(transform[:6]).all():
            raise InputError(f"geotransform {tuple(transform[:6])}: expected finite numbers that span an area")
        name = crs_name(crs)
        return Geometry("affine", name, width, height, AffineMapping.of(transform, name, width, height))

    def to_lonlat(self, pixels: Points) -> Points:
        """Degrees float64 [N, 2], longitude in [-180, 180], of `pixels` float64 [N, 2] (x, y); NaN where undefined."""
        lonlat = self._mapping.to_lonlat(_points(pixels))
        lonlat[:, 0] = wrap_longitude(lonlat[:, 0])
        return lonlat

    def to_pixel(self, lonlat: Points) -> Points:
        """Pixels (x, y) float64 [N, 2] of places float64 [N, 2] in degrees, inside the image and out.

        NaN for places that the georeference has no pixel for, as on the other side of the Earth.
        """
        lonlat = _points(lonlat)
        centre, reach = self._centre_and_reach
        near = (np.abs(lonlat[:, 1]) <= 90) & (degrees_between(lonlat, centre) <= reach)
        pixels = np.full_like(lonlat, np.nan)
        pixels[near] = self._mapping.to_pixel(lonlat[near])
        return pixels

    def bounds(self, window: Window | None = None) -> Bounds:
        """West, south, east, north of the true outline of the image or of a window of it, in degrees.

        West is in [-180, 180). East is larger than west, and larger than 180 where the antimeridian is crossed:
        `fusargpt.geo.earth.wrap_longitude` brings longitudes between the two back. Around a pole they are -180 and 180,
        and the pole is the northern or southern bound.

        Raises:
            InputError: a part of the window lies nowhere on Earth.
        """
        outline = self._mapping.to_lonlat(_outline(*self._rectangle(window)))
        if not np.isfinite(outline).all():
            raise InputError(f"{window}: reaches beyond what {self.crs} can place on Earth")
        latitudes = outline[:, 1]
        # At a pole on the edge itself the longitude says nothing.
        longitudes = outline[np.abs(latitudes) < 90 - 1e-9, 0]
        longitudes = np.unwrap([*longitudes, longitudes[0]], period=360)
        if abs(longitudes[-1] - longitudes[0]) > 180:
            north = latitudes.mean() > 0
            return -180.0, float(latitudes.min()) if north else -90.0, 180.0, 90.0 if north else float(latitudes.max())
        west = float(wrap_longitude(longitudes.min()))
        west = -180.0 if west == 180 else west
        return west, float(latitudes.min()), west + float(np.ptp(longitudes)), float(latitudes.max())

    def resolution_m(self, window: Window | None = None) -> float:
        """Ground metres per pixel at the centre of the image or of a window: the root of one pixel's area."""
        left, top, width, height = self._rectangle(window)
        x, y = left + width / 2, top + height / 2
        around = np.array([[x - 0.5, y], [x + 0.5, y], [x, y - 0.5], [x, y + 0.5]])
        west, east, north, south = earth_centred(self._mapping.to_lonlat(around))
        return float(np.sqrt(np.linalg.norm(np.cross(east - west, south - north))))

    def _check(self) -> None:
        width, height, crs = self.width, self.height, self.crs
        pixels = np.stack(np.meshgrid(np.linspace(0, width, 5), np.linspace(0, height, 5)), axis=-1).reshape(-1, 2)
        lonlat = self._mapping.to_lonlat(pixels)
        off_earth = ~(np.isfinite(lonlat).all(axis=1) & (np.abs(lonlat[:, 1]) <= 90 + 1e-9))
        if off_earth.any():
            (x, y), (longitude, latitude) = pixels[off_earth][0], lonlat[off_earth][0]
            raise InputError(
                f"pixel ({x:g}, {y:g}) at longitude {longitude:g}, latitude {latitude:g} by {crs}: not on Earth; "
                "the georeference or its CRS is wrong"
            )
        error = np.abs(self.to_pixel(lonlat) - pixels).max()
        if not error <= _ROUND_TRIP_TOLERANCE:
            raise InputError(
                f"pixels and places do not agree by {crs}: the way back is {error:.3g} pixels off; the georeference is "
                "wrong, or its CRS does not suit the place"
            )
        resolution = self.resolution_m()
        if resolution < _FINEST_RESOLUTION_M:
            raise InputError(
                f"pixels of {resolution:.2g} m by {crs}: finer than any SAR; are these degrees, with a CRS in metres?"
            )

    def _rectangle(self, window: Window | None) -> tuple[float, float, float, float]:
        """Left, top, width, height in pixels."""
        if window is None:
            return 0, 0, self.width, self.height
        return window.col_off, window.row_off, window.width, window.height

    @cached_property
    def _centre_and_reach(self) -> tuple[np.ndarray, float]:
        """The centre (longitude, latitude) [2] and how many degrees about it the mapping is asked for."""
        centre = self._mapping.to_lonlat(np.array([[self.width / 2, self.height / 2]]))[0]
        outline = self._mapping.to_lonlat(_outline(0, 0, self.width, self.height))
        return centre, 2 * float(degrees_between(outline, centre).max()) + _MARGIN_DEGREES


def check_crs_text(crs: str) -> None:
    """That a text is a code or WKT: GDAL would open, or fetch, what a file name or an address names.

    Raises:
        InputError: anything else.
    """
    if not _CODE_OR_WKT.match(crs):
        raise InputError(f"CRS {one_line(ValueError(crs))!r}: not a code or WKT; expected one as 'EPSG:32611'")


def crs_name(crs: str | CRS) -> str:
    """The CRS as "EPSG:32611", or as WKT where it has no such code.

    Raises:
        InputError: not a CRS.
    """
    if isinstance(crs, str):
        check_crs_text(crs)
    try:
        # GDAL would print its error, too, outside an environment.
        with rasterio.Env():
            found = CRS.from_user_input(crs)
            authority = found.to_authority()
            if authority is None:
                return found.to_wkt()
            name = ":".join(authority)
            # The code of what is most alike may be of another datum on the same ellipsoid, a hundred metres off.
            return name if _datum(found) == _datum(CRS.from_user_input(name)) else found.to_wkt()
    except CRSError as error:
        raise InputError(f"CRS {crs!r}: not known ({one_line(error)}); expected one as 'EPSG:32611'") from error


def _datum(crs: CRS) -> list[str]:
    """Names and shifts of the datums in its WKT."""
    return re.findall(r'(?:DATUM\["[^"]*"|TOWGS84\[[^]]*\])', crs.to_wkt())


def _chosen_crs(argument: str | None, found: CRS | None, of: str) -> str | CRS:
    chosen = found if argument is None else argument
    if not chosen:
        raise InputError(f"{of} without a CRS; say which one with crs (--crs), as in 'EPSG:32611'")
    return chosen


def _rpcs(dataset: rasterio.DatasetReader) -> RPC | None:
    try:
        return dataset.rpcs
    # What rasterio raises on coefficients that are missing or no numbers.
    except (KeyError, ValueError, IndexError) as error:
        raise InputError(f"RPCs that cannot be read ({error})") from error


def _check_unused(name: str, argument: object, found: str) -> None:
    if argument is not None:
        raise InputError(f"{name}={argument!r} for an image with {found} has no use; leave it out")


def _points(points: Points) -> Points:
    points = np.asarray(points, np.float64)
    if points.ndim != 2 or points.shape[1] != 2:
        raise InputError(f"points of shape {list(points.shape)}; expected [N, 2]")
    return points


def _outline(left: float, top: float, width: float, height: float) -> Points:
    """Points along the edges, clockwise from the upper left corner, float64 [4 * 64, 2]."""
    ahead = np.linspace(0, 1, _POINTS_PER_EDGE, endpoint=False)
    start, end = np.zeros_like(ahead), np.ones_like(ahead)
    x = np.concatenate([ahead, end, 1 - ahead, start])
    y = np.concatenate([start, ahead, end, 1 - ahead])
    return np.stack([left + width * x, top + height * y], axis=1)
