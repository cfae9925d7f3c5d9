"""Polygons that a user draws or downloads, from GeoJSON, GeoPackages and shapefiles, in WGS84 longitude and latitude.

What a file is, its content says, and GDAL opens GeoPackages and shapefiles alone: other formats of GDAL's name further
files and servers.
"""

import json
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from fusargpt.errors import InputError, naming, one_line
from fusargpt.files import read_regular
from fusargpt.geo.geojson import box_polygon
from fusargpt.geo.geometry import Bounds, Geometry, crs_name
from fusargpt.geo.mapping import WGS84, project

SUFFIXES = (".geojson", ".json", ".gpkg", ".shp")
_SIGNATURES = {".gpkg": b"SQLite format 3\x00", ".shp": b"\x00\x00\x27\x0a"}
_SEGMENTS = 128
"""Into which an edge as long as all polygons together is cut, so that it stays straight in its own CRS."""
_LONGEST_LONGITUDE = 540.0


def check_polygon_file(path: str | Path) -> None:
    """Raises InputError for what is no file that `read_polygons` reads, by its name."""
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path}: expected polygons in a file that ends in {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected polygons, as GeoJSON or GeoPackage")


def read_polygons(path: str | Path, within: Bounds | None = None) -> shapely.Geometry:
    """All polygons of a file as one geometry, longitudes in [-180, 180].

    Args:
        path: GeoJSON (WGS84, or what its `crs` member names), or a GeoPackage or shapefile of one layer in any CRS.
        within: west, south, east, north in degrees; features that lie outside need not be read.

    Raises:
        InputError: no such file, another or a damaged one, none or several layers of places, no CRS, anything but
            polygons, or coordinates that lie nowhere on Earth.
    """
    path = Path(path)
    check_polygon_file(path)
    with naming(str(path)):
        is_layer = path.suffix.lower() in _SIGNATURES
        shapes, crs = _read_layer(path, within) if is_layer else _read_geojson(path)
        return shapely.Polygon() if is_layer and not len(shapes) else in_degrees(shapes, crs)


def bounds_polygon(bounds: Bounds) -> shapely.Geometry:
    """West, south, east, north in degrees as a polygon; west may be larger than east, across the antimeridian."""
    west, south, east, north = bounds
    if west <= east:
        return shapely.box(west, south, east, north)
    return shapely.union(shapely.box(west, south, 180, north), shapely.box(-180, south, east, north))


def footprint(geometry: Geometry) -> shapely.Geometry:
    """The outline of an image on Earth in degrees, in two parts where it crosses the antimeridian."""
    outline = box_polygon(geometry.to_lonlat, (0, 0, geometry.width, geometry.height), _SEGMENTS)
    return shapely.make_valid(shapely.from_geojson(json.dumps(outline)))


def in_degrees(shapes: NDArray[np.object_], crs: str) -> shapely.Geometry:
    """Polygons of a CRS as one geometry in WGS84 longitude and latitude, longitudes in [-180, 180].

    Raises:
        InputError: no polygons, other geometries, or coordinates that lie nowhere on Earth.
    """
    shapes = np.array([shape for shape in shapes if shape is not None and not shape.is_empty], object)
    others = sorted({shape.geom_type for shape in shapes} - {"Polygon", "MultiPolygon"})
    if others or not len(shapes):
        raise InputError(f"found {', '.join(others) or 'no features'}; expected polygons")
    low_x, low_y, high_x, high_y = shapely.total_bounds(shapes)
    longest = max(high_x - low_x, high_y - low_y) / _SEGMENTS
    if not np.isfinite(longest):
        raise InputError("found coordinates that are no numbers")
    cut = shapely.segmentize(shapely.force_2d(shapes), longest)
    placed = shapely.transform(cut, lambda points: project(crs, WGS84, points))
    _check_degrees(shapely.get_coordinates(placed), (low_x, low_y), crs)
    whole = shapely.union_all(_polygons(shapely.make_valid(placed)))
    # Longitudes that go on beyond the antimeridian come back on the other side.
    turned = [shapely.transform(whole, partial(np.add, (turn, 0.0))) for turn in (-360, 0, 360)]
    return shapely.union_all(shapely.intersection(turned, shapely.box(-180, -90, 180, 90)))


def _polygons(shapes: NDArray[np.object_]) -> NDArray[np.object_]:
    """The polygons among the parts: mending leaves points and lines of what had no area."""
    parts = shapely.get_parts(shapely.get_parts(shapes))
    return parts[shapely.get_type_id(parts) == shapely.GeometryType.POLYGON]


def _check_degrees(lonlat: NDArray[np.float64], first: tuple[float, float], crs: str) -> None:
    fits = np.isfinite(lonlat).all() and (np.abs(lonlat) <= (_LONGEST_LONGITUDE, 90 + 1e-9)).all()
    if not fits:
        raise InputError(
            f"found coordinates, as ({first[0]:g}, {first[1]:g}), that lie nowhere on Earth by {crs[:40]}; expected "
            "those of the CRS that the file names, which GeoJSON is longitude and latitude without"
        )


def _read_layer(path: Path, within: Bounds | None) -> tuple[NDArray[np.object_], str]:
    from pyogrio import list_layers
    from pyogrio.errors import DataSourceError
    from pyogrio.raw import read

    expected = _SIGNATURES[path.suffix.lower()]
    try:
        with path.open("rb") as file:
            found = file.read(len(expected))
        if found != expected:
            raise InputError(f"no {path.suffix.lower()} file (it starts with {found!r})")
        # What pyogrio warns of, as of a damaged header, ends in an error or does not matter.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            # From the root: GDAL takes some names for addresses.
            layers = [str(name) for name, kind in list_layers(path.absolute()) if kind is not None]
            if len(layers) != 1:
                raise InputError(f"found {len(layers)} layers of places ({', '.join(layers[:5])}); expected one")
            about, _, first, _ = read(path.absolute(), layer=layers[0], columns=[], max_features=1)
            if not len(first):
                raise InputError("found no features; expected polygons")
            if about["crs"] is None:
                raise InputError("found no CRS; expected one in the file")
            crs = crs_name(about["crs"])
            wkb = read(path.absolute(), layer=layers[0], columns=[], bbox=_bounds_in(crs, within))[2]
        return np.asarray(shapely.from_wkb(wkb), object), crs
    except (DataSourceError, shapely.GEOSException, OSError, ValueError, TypeError, RuntimeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"cannot be read ({one_line(error)})") from error


def _bounds_in(crs: str, within: Bounds | None) -> Bounds | None:
    """What to read of a layer; None for all of it, where degrees do not say it simply."""
    if within is None or within[2] > 180 or within[2] - within[0] > 180:
        return None
    outline = shapely.get_coordinates(shapely.segmentize(shapely.box(*within), (within[2] - within[0]) / 16))
    points = project(WGS84, crs, outline)
    if not np.isfinite(points).all():
        return None
    (left, bottom), (right, top) = points.min(0), points.max(0)
    # What is straight in one CRS is bent in another.
    margin = 0.05 * max(right - left, top - bottom)
    return float(left - margin), float(bottom - margin), float(right + margin), float(top + margin)


def _read_geojson(path: Path) -> tuple[NDArray[np.object_], str]:
    try:
        content = json.loads(read_regular(path))
        shapes = [shapely.from_geojson(json.dumps(one)) for one in _geometries(content)]
    except (ValueError, OSError, RecursionError, shapely.GEOSException) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"no GeoJSON that can be read ({one_line(error)})") from error
    return np.array(shapes, object), _crs_of(content)


def _geometries(content: object) -> list[object]:
    """The geometries of a GeoJSON collection, feature or geometry; those that are null are left out."""
    if not isinstance(content, dict):
        raise InputError("no GeoJSON object")
    members: dict[str, Any] = content
    if members.get("type") == "FeatureCollection":
        features = members.get("features")
        if not isinstance(features, list):
            raise InputError("a FeatureCollection without features")
        return [geometry for feature in features for geometry in _geometries(feature)]
    if members.get("type") == "Feature":
        return [] if members.get("geometry") is None else [members["geometry"]]
    return [members]


def _crs_of(content: dict[str, Any]) -> str:
    """WGS84 unless the file names another as GeoJSON did before RFC 7946, and QGIS does."""
    found = content.get("crs")
    if found is None:
        return WGS84
    named = found.get("properties") if isinstance(found, dict) else None
    name = named.get("name") if isinstance(named, dict) else None
    if not isinstance(name, str):
        raise InputError("crs: found no name of a CRS; expected one as 'urn:ogc:def:crs:EPSG::32611', or no crs")
    crs = crs_name(name)
    return WGS84 if crs == "OGC:CRS84" else crs
