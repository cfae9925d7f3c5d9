"""The objects of a scene as they were annotated: read from VOC, COCO, GeoJSON, YOLO, DOTA or the manifest itself.

Inline, in JSONL and GeoJSON manifests, an object is {"bbox_2d": [x1, y1, x2, y2], "label": ..., "fine_label": ...} or
{"polygon": [[longitude, latitude], ...], "label": ...}; `fine_label` may be left out, and "crowd": true says that it
stands for an unknown number of objects. Beside a `bbox_2d` may stand `corners`, [[x, y], ...] in pixels, of what is no
upright box.

What the formats say is taken as edges in pixels: VOC's xmin, ymin, xmax, ymax and COCO's x, y, x + w, y + h. Polygons
become the upright box about their corners, by the scene's true geometry; of several rings the outer ones count.

A file of which nothing is understood is an error, never a scene without objects.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fusargpt.errors import InputError
from fusargpt.files import read_regular
from fusargpt.geo.earth import wrap_longitude
from fusargpt.geo.geometry import Bounds, Geometry
from fusargpt.triplets.annotation_checks import finite_number, naming_object
from fusargpt.triplets.box_texts import text_entries
from fusargpt.triplets.boxes import Box, LabelNames, visible_part
from fusargpt.triplets.coco import coco_entries
from fusargpt.triplets.manifest import parse_json
from fusargpt.triplets.voc import voc_entries

_KEYS = ("bbox_2d", "corners", "polygon", "label", "fine_label", "crowd")
_WGS84 = re.compile(
    r"(urn:(x-)?ogc:def:crs:)?(https?://www\.opengis\.net/(def/crs/|gml/srs/))?"
    r"((ogc)?[:/]?[\d.]*[:/]?crs:?84h?|(epsg(\.xml)?)?[:/#]*([\d.]+[:/]|[:/])?(4326|4979)|wgs[ _-]?(19)?84)",
    re.IGNORECASE,
)
"""The names by which tools call longitude and latitude; the standard knows nothing else."""


@dataclass(frozen=True)
class SceneBoxes:
    """The boxes of one scene.

    Attributes:
        boxes: objects that have a class of ours.
        crowds: each of an unknown number of such objects.
        inside: objects that the scene shows, those that are to be ignored among them.
        outside: polygons of a shared file that lie outside the scene.
    """

    boxes: tuple[Box, ...]
    crowds: tuple[Box, ...] = ()
    inside: int = 0
    outside: int = 0


def read_boxes(
    source: str | Sequence[object], scene: str, width: int, height: int, geometry: Geometry | None, names: LabelNames
) -> SceneBoxes:
    """The boxes of one scene.

    A file of polygons may cover many scenes: those that lie wholly outside this one are counted and left out. A box in
    pixels that lies wholly outside is an error. Boxes that reach over the edge stay as they are; `assign` clips them.

    Args:
        source: the path of a .xml (VOC), .json (COCO), .geojson or .txt (YOLO or DOTA) file, or the entries of the
            manifest.
        scene: the raster's path; a COCO file names its images by file name.
        width: of the scene in pixels.
        height: of the scene in pixels.
        geometry: of the scene; None where it has no georeference.
        names: what the labels are called here.

    Raises:
        InputError: a file that cannot be read or is of another kind, boxes without area or outside the image, numbers
            that are not finite, polygons for a scene without georeference, unknown labels, an image that the file does
            not know, or a file of which no object was read though it holds some.
    """
    entries: list[Any] = list(source)
    shared = False
    if isinstance(source, str):
        entries, shared = _entries_of(source, scene, width, height)
    bounds = geometry.bounds() if shared and geometry is not None else None
    found: dict[bool, list[Box]] = {False: [], True: []}
    inside = outside = 0
    for number, entry in enumerate(entries, start=1):
        with naming_object(source if isinstance(source, str) else "boxes", number):
            box = _box(entry, geometry, bounds)
            if box is not None and visible_part(box.edges, (0, 0, width, height)) is None:
                if not shared:
                    raise InputError(f"box {_text(box.edges)} lies outside the image of {width} x {height} pixels")
                box = None
            if box is None:
                outside += 1
                continue
            inside += 1
            if (named := names.normalise(box)) is not None:
                found[entry.get("crowd", False)].append(named)
    return SceneBoxes(tuple(found[False]), tuple(found[True]), inside, outside)


def labels_of(source: str | Sequence[object], scene: str, width: int, height: int, names: LabelNames) -> set[str]:
    """The classes that `source` holds, wherever in it; raises InputError as `read_boxes`."""
    entries = _entries_of(source, scene, width, height)[0] if isinstance(source, str) else source
    labels = set()
    for number, entry in enumerate(entries, start=1):
        with naming_object(source if isinstance(source, str) else "boxes", number):
            box = names.normalise(Box((0, 0, 1, 1), _label(_mapping(entry))))
        if box is not None:
            labels.add(box.label)
    return labels


def _entries_of(path: str, scene: str, width: int, height: int) -> tuple[list[Any], bool]:
    """Entries as they stand inline, and whether the file may be shared by scenes."""
    suffix = Path(path).suffix.lower()
    if suffix == ".xml":
        return voc_entries(path, width, height), False
    if suffix == ".txt":
        return text_entries(path, width, height), False
    if suffix not in (".json", ".geojson"):
        raise InputError(f"{path}: boxes come from a VOC .xml, a COCO .json, a .geojson, or a YOLO or DOTA .txt file")
    content = _json_file(path, _stamp(path))
    if isinstance(content, dict) and content.get("type") == "FeatureCollection":
        return _features(path, content), True
    if isinstance(content, dict) and "images" in content:
        return coco_entries(path, content, scene, width, height), False
    raise InputError(f"{path}: neither COCO (no 'images') nor a GeoJSON FeatureCollection")


def _stamp(path: str) -> tuple[int, int]:
    try:
        status = Path(path).stat()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    return status.st_mtime_ns, status.st_size


@lru_cache(maxsize=2)
def _json_file(path: str, stamp: tuple[int, int]) -> object:
    """One file may hold the boxes of many scenes; `stamp` tells a changed one."""
    try:
        return parse_json(read_regular(path).decode("utf-8-sig"), path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text; save it as UTF-8") from error


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


def _mapping(entry: object) -> Mapping[str, object]:
    if not isinstance(entry, dict):
        raise InputError(f"found {entry!r}; expected an object with a label and bbox_2d or polygon")
    if unknown := set(entry) - set(_KEYS):
        raise InputError(f"unknown key {', '.join(map(repr, sorted(unknown)))}; expected {', '.join(_KEYS)}")
    if "corners" in entry and "bbox_2d" not in entry:
        raise InputError("corners: expected beside a bbox_2d")
    if ("bbox_2d" in entry) == ("polygon" in entry):
        raise InputError("expected either bbox_2d or polygon")
    if not isinstance(entry.get("crowd", False), bool):
        raise InputError(f"crowd: found {entry['crowd']!r}; expected true or false")
    return entry


def _label(entry: Mapping[str, object]) -> str:
    label = entry.get("label")
    if not isinstance(label, str) or not label.strip() or not label.isprintable():
        raise InputError(f"label: found {label!r}; expected the name of a class")
    return label.strip()


def _box(entry: object, geometry: Geometry | None, bounds: Bounds | None) -> Box | None:
    """One entry in pixels; None for a polygon that does not touch `bounds`."""
    entry = _mapping(entry)
    label, fine_label = _label(entry), entry.get("fine_label") or ""
    if not isinstance(fine_label, str) or not fine_label.isprintable():
        raise InputError(f"fine_label: found {fine_label!r}; expected text")
    if "polygon" in entry:
        lonlat = _positions(entry["polygon"])
        if geometry is None:
            raise InputError("a polygon in longitude and latitude, but the scene has no georeference; give bbox_2d")
        if bounds is not None and not _touches(lonlat, bounds):
            return None
        pixels = geometry.to_pixel(lonlat)
        if not np.isfinite(pixels).all():
            raise InputError(f"polygon about {lonlat[0, 0]:g}, {lonlat[0, 1]:g}: far outside the image")
        outline = pixels.tolist()
        edges = (*pixels.min(0).tolist(), *pixels.max(0).tolist())
    else:
        corners = entry["bbox_2d"]
        if not isinstance(corners, list) or len(corners) != 4:
            raise InputError(f"bbox_2d: found {corners!r}; expected [x1, y1, x2, y2]")
        edges = tuple(finite_number(corner) for corner in corners)
        outline = entry.get("corners", [])
    x1, y1, x2, y2 = edges
    if not (x1 < x2 and y1 < y2):
        raise InputError(f"box {_text(edges)} has no area; expected x1 < x2 and y1 < y2")
    return Box((x1, y1, x2, y2), label, fine_label, _outline(outline))


def _outline(corners: object) -> tuple[tuple[float, float], ...]:
    """Corners in pixels; empty for none."""
    if not isinstance(corners, list) or len(corners) in (1, 2):
        raise InputError(f"corners: found {corners!r}; expected three and more [x, y]")
    if not all(isinstance(corner, list) and len(corner) == 2 for corner in corners):
        raise InputError("corners: expected pixels as [x, y]")
    return tuple((finite_number(x), finite_number(y)) for x, y in corners)


def _positions(polygon: object) -> NDArray[np.float64]:
    if not isinstance(polygon, list) or len(polygon) < 3:
        raise InputError("polygon: expected a Polygon, or a list of three and more [longitude, latitude]")
    if not all(isinstance(position, list) and len(position) >= 2 for position in polygon):
        raise InputError("polygon: expected positions as [longitude, latitude]")
    lonlat = np.array([[finite_number(value) for value in position[:2]] for position in polygon])
    if (np.abs(lonlat) > (360, 90)).any():
        raise InputError("polygon: a corner that is not on Earth; expected [longitude, latitude], longitude first")
    return lonlat


def _touches(lonlat: NDArray[np.float64], bounds: Bounds) -> bool:
    """Whether the upright box about places [N, 2] touches bounds; what is far is not worth a place in pixels."""
    west, south, east, north = bounds
    longitude = wrap_longitude(lonlat[:, 0] - (west + east) / 2)
    reach = (east - west) / 2
    beside = longitude.min() > reach or longitude.max() < -reach
    return not (beside or lonlat[:, 1].min() > north or lonlat[:, 1].max() < south)


def _text(edges: Sequence[float]) -> str:
    return f"[{', '.join(f'{edge:g}' for edge in edges)}]"
