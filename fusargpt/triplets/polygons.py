"""Polygons of a GeoJSON file that many scenes share: looked at once, and then found by place."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import shapely

from fusargpt.errors import InputError
from fusargpt.geo.earth import wrap_longitude
from fusargpt.geo.geometry import Bounds
from fusargpt.triplets.annotation_checks import checked_entry, labels_of_entry, naming_object, positions

_WGS84 = re.compile(
    r"(urn:(x-)?ogc:def:crs:)?(https?://www\.opengis\.net/(def/crs/|gml/srs/))?"
    r"((ogc)?[:/]?[\d.]*[:/]?crs:?84h?|(epsg(\.xml)?)?[:/#]*([\d.]+[:/]|[:/])?(4326|4979)|wgs[ _-]?(19)?84)",
    re.IGNORECASE,
)
"""The names by which tools call longitude and latitude; the standard knows nothing else."""


class Polygons:
    """The objects of a file as inline entries.

    Attributes:
        entries: in the order of the file.
        first: the number, from 1, of the first object of each label.

    Raises:
        InputError: a file in another reference system, or an object that is not as it should be, by its number.
    """

    def __init__(self, path: str, content: Mapping[str, Any]) -> None:
        self.entries = _features(path, content)
        self.first: dict[str, int] = {}
        bounds = np.empty((len(self.entries), 4))
        for number, entry in enumerate(self.entries, start=1):
            with naming_object(path, number):
                self.first.setdefault(labels_of_entry(checked_entry(entry))[0], number)
                lonlat = positions(entry["polygon"])
            # Across the antimeridian where it goes on there, and west in [-180, 180), as the bounds of scenes have it.
            lonlat[:, 0] = lonlat[0, 0] + wrap_longitude(lonlat[:, 0] - lonlat[0, 0])
            west = lonlat[:, 0].min()
            lonlat[:, 0] += wrap_longitude(west) - west
            bounds[number - 1] = *lonlat.min(0), *lonlat.max(0)
        west, south, east, north = bounds.T
        self._tree = shapely.STRtree(shapely.box(west, south, east, north))

    def near(self, bounds: Bounds) -> list[tuple[int, Any]]:
        """Numbers and entries of those that may touch bounds, in the order of the file."""
        west, south, east, north = bounds
        turns = [shapely.box(west + turn, south, east + turn, north) for turn in (-360, 0, 360)]
        found = np.unique(self._tree.query(turns)[1])
        return [(index + 1, self.entries[index]) for index in found.tolist()]


def _features(path: str, content: Mapping[str, Any]) -> list[Any]:
    # Written by older tools; the standard knows longitude and latitude only.
    crs = content.get("crs")
    if crs is not None and not _WGS84.fullmatch(_crs_name(crs)):
        raise InputError(f"{path}: crs {crs}; expected longitude and latitude, as GeoJSON prescribes")
    features = content.get("features")
    if not isinstance(features, list):
        raise InputError(f"{path}: not a GeoJSON FeatureCollection as it should be; 'features' is no list")
    return [_feature_entry(feature) for feature in features]


def _crs_name(crs: Any) -> str:
    """Of a name, {"properties": {"name": ...}}, or {"type": "EPSG", "properties": {"code": ...}}; "" for another."""
    if not isinstance(crs, dict):
        return str(crs).strip()
    properties = crs.get("properties", crs)
    if not isinstance(properties, dict) or "name" in properties:
        return str(properties["name"]).strip() if isinstance(properties, dict) else ""
    return f"EPSG:{properties.get('code')}" if str(crs.get("type")).upper() == "EPSG" else ""


def _feature_entry(feature: Any) -> Any:
    """The inline form; what is wrong in it is said where its number is known."""
    if not isinstance(feature, dict):
        return feature
    properties, geometry = feature.get("properties"), feature.get("geometry")
    if not isinstance(properties, dict) or not isinstance(geometry, dict):
        return {}
    entry = {name: properties[name] for name in ("label", "fine_label") if name in properties}
    return {**entry, "polygon": _corners(geometry)}


def _corners(geometry: dict[str, Any]) -> object:
    """All corners of the outer rings; None for another geometry."""
    coordinates: Any = geometry.get("coordinates")
    polygons = {"Polygon": [coordinates], "MultiPolygon": coordinates}.get(str(geometry.get("type")))
    try:
        return None if polygons is None else [position for polygon in polygons for position in polygon[0]]
    except (TypeError, LookupError):
        return None
