"""The objects of a scene as they were annotated: read from VOC, COCO, GeoJSON, YOLO, DOTA or the manifest itself.

Inline, in JSONL and GeoJSON manifests, an object is {"bbox_2d": [x1, y1, x2, y2], "label": ..., "fine_label": ...} or
{"polygon": [[longitude, latitude], ...], "label": ...}; `fine_label` may be left out, and "crowd": true says that it
stands for an unknown number of objects. Beside a `bbox_2d` may stand `corners`, [[x, y], ...] in pixels, of what is no
upright box.

What the formats say is taken as edges in pixels: VOC's xmin, ymin, xmax, ymax and COCO's x, y, x + w, y + h. Polygons
become the upright box about their corners, by the scene's true geometry; of several rings the outer ones count.

A file of which nothing is understood is an error, never a scene without objects.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fusargpt.errors import InputError
from fusargpt.files import read_regular
from fusargpt.geo.earth import wrap_longitude
from fusargpt.geo.geometry import Bounds, Geometry
from fusargpt.triplets.annotation_checks import (
    checked_entry,
    finite_number,
    labels_of_entry,
    naming_object,
    positions,
)
from fusargpt.triplets.box_texts import text_entries
from fusargpt.triplets.boxes import Box, LabelNames, visible_part
from fusargpt.triplets.coco import Coco
from fusargpt.triplets.manifest import parse_json
from fusargpt.triplets.polygons import Polygons
from fusargpt.triplets.voc import voc_entries

_NOT_PLACED = "a polygon in longitude and latitude, but the scene has no georeference; give bbox_2d"
_READING = Lock()
"""Scenes are surveyed on threads: the first reads a file, and the others wait instead of reading it too."""


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
    source: str | Sequence[object],
    scene: str,
    width: int,
    height: int,
    geometry: Geometry | None,
    names: LabelNames | None,
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
        names: what the labels are called here; None leaves them as they are.

    Raises:
        InputError: a file that cannot be read or is of another kind, boxes without area or outside the image, numbers
            that are not finite, polygons for a scene without georeference, unknown labels, an image that the file does
            not know, or a file of which no object was read though it holds some.
    """
    entries = _entries_of(source, scene, width, height) if isinstance(source, str) else source
    shared = isinstance(entries, Polygons)
    objects: list[tuple[int, Any]]
    bounds, outside = None, 0
    if isinstance(entries, Polygons):
        if geometry is None and entries.entries:
            raise InputError(f"{source}, object 1: {_NOT_PLACED}")
        bounds = None if geometry is None else geometry.bounds()
        objects = [] if bounds is None else entries.near(bounds)
        outside = len(entries.entries) - len(objects)
    else:
        objects = list(enumerate(entries, start=1))
    found: dict[bool, list[Box]] = {False: [], True: []}
    inside = 0
    for number, entry in objects:
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
            if (named := box if names is None else names.normalise(box)) is not None:
                found[entry.get("crowd", False)].append(named)
    return SceneBoxes(tuple(found[False]), tuple(found[True]), inside, outside)


def labels_of(source: str | Sequence[object], scene: str, width: int, height: int, names: LabelNames) -> set[str]:
    """The classes that `source` holds, wherever in it; raises InputError as `read_boxes`."""
    entries = _entries_of(source, scene, width, height) if isinstance(source, str) else source
    numbered = entries.first if isinstance(entries, Polygons) else _labels(source, entries)
    labels = set()
    for label, number in numbered.items():
        with naming_object(source if isinstance(source, str) else "boxes", number):
            box = names.normalise(Box((0, 0, 1, 1), label))
        if box is not None:
            labels.add(box.label)
    return labels


def _labels(source: str | Sequence[object], entries: Sequence[object]) -> dict[str, int]:
    """The number, from 1, of the first object of each label."""
    first: dict[str, int] = {}
    for number, entry in enumerate(entries, start=1):
        with naming_object(source if isinstance(source, str) else "boxes", number):
            first.setdefault(labels_of_entry(checked_entry(entry))[0], number)
    return first


def _entries_of(path: str, scene: str, width: int, height: int) -> Sequence[Any] | Polygons:
    """Entries as they stand inline, or those of a file that scenes share."""
    suffix = Path(path).suffix.lower()
    if suffix == ".xml":
        return voc_entries(path, width, height)
    if suffix == ".txt":
        return text_entries(path, width, height)
    if suffix not in (".json", ".geojson"):
        raise InputError(f"{path}: boxes come from a VOC .xml, a COCO .json, a .geojson, or a YOLO or DOTA .txt file")
    with _READING:
        file = _json_file(path, _stamp(path))
    if isinstance(file, InputError):
        raise InputError(str(file))
    return file if isinstance(file, Polygons) else file.entries(scene, width, height)


def coco_file(path: str) -> Coco:
    """A COCO file, read once as long as it stays as it is; raises InputError for another kind."""
    with _READING:
        file = _json_file(path, _stamp(path))
    if isinstance(file, InputError):
        raise InputError(str(file))
    if not isinstance(file, Coco):
        raise InputError(f"{path}: polygons in GeoJSON; expected COCO, with 'images', 'annotations' and 'categories'")
    return file


def _stamp(path: str) -> tuple[int, int]:
    try:
        status = Path(path).stat()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    return status.st_mtime_ns, status.st_size


@lru_cache(maxsize=2)
def _json_file(path: str, stamp: tuple[int, int]) -> Polygons | Coco | InputError:
    """One file may hold the boxes of many scenes, and is then read once, also where it is wrong.

    `stamp` tells a changed one.
    """
    try:
        content = parse_json(read_regular(path).decode("utf-8-sig"), path)
        if isinstance(content, dict) and content.get("type") == "FeatureCollection":
            return Polygons(path, content)
        if isinstance(content, dict) and "images" in content:
            return Coco(path, content)
    except InputError as error:
        return error
    except OSError as error:
        return InputError(f"{path}: cannot be read ({error.strerror})")
    except UnicodeDecodeError:
        return InputError(f"{path}: not UTF-8 text; save it as UTF-8")
    return InputError(f"{path}: neither COCO (no 'images') nor a GeoJSON FeatureCollection")


def _box(entry: object, geometry: Geometry | None, bounds: Bounds | None) -> Box | None:
    """One entry in pixels; None for a polygon that does not touch `bounds`."""
    entry = checked_entry(entry)
    label, fine_label = labels_of_entry(entry)
    if "polygon" in entry:
        lonlat = positions(entry["polygon"])
        if geometry is None:
            raise InputError(_NOT_PLACED)
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


def _touches(lonlat: NDArray[np.float64], bounds: Bounds) -> bool:
    """Whether the upright box about places [N, 2] touches bounds; what is far is not worth a place in pixels."""
    west, south, east, north = bounds
    first = lonlat[0, 0]
    # From the first corner on, so that what lies on the other side of the Earth does not reach around it.
    longitude = wrap_longitude(first - (west + east) / 2) + wrap_longitude(lonlat[:, 0] - first)
    reach = (east - west) / 2
    beside = longitude.min() > reach or longitude.max() < -reach
    return not (beside or lonlat[:, 1].min() > north or lonlat[:, 1].max() < south)


def _text(edges: Sequence[float]) -> str:
    return f"[{', '.join(f'{edge:g}' for edge in edges)}]"
