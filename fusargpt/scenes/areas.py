"""The part of a scene that is asked about, and its land, as polygons in pixels of the scene."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from fusargpt.errors import InputError
from fusargpt.geo.geometry import Bounds
from fusargpt.geo.sar_scene import SarScene
from fusargpt.scenes.polygon_files import bounds_polygon, footprint, read_polygons

_SEGMENTS = 128
_EDGE_PIXELS = 1.0
"""Within which the outline of a scene is known on Earth: what reaches so near to it counts as reaching it."""


@dataclass(frozen=True, eq=False)
class Area:
    """Polygons in continuous pixels of a scene; empty where none lies on it."""

    shape: shapely.Geometry

    def __post_init__(self) -> None:
        shapely.prepare(self.shape)

    def meets(self, boxes: Sequence[Sequence[float]]) -> NDArray[np.bool_]:
        """Which of N boxes [x1, y1, x2, y2] have a part inside."""
        return np.asarray(shapely.intersects(self.shape, _boxes(boxes)))

    def covers(self, boxes: Sequence[Sequence[float]]) -> NDArray[np.bool_]:
        """Which of N boxes lie inside as a whole."""
        x1, y1, x2, y2 = np.asarray(boxes, np.float64).reshape(-1, 4).T
        by = np.minimum(_EDGE_PIXELS, np.minimum(x2 - x1, y2 - y1) / 4)
        return np.asarray(shapely.covers(self.shape, shapely.box(x1 + by, y1 + by, x2 - by, y2 - by)))

    def holds(self, boxes: Sequence[Sequence[float]]) -> NDArray[np.bool_]:
        """Which of N boxes have their centre inside."""
        x1, y1, x2, y2 = np.asarray(boxes, np.float64).reshape(-1, 4).T
        return np.asarray(shapely.intersects(self.shape, shapely.points((x1 + x2) / 2, (y1 + y2) / 2)))

    def outlines(self) -> list[NDArray[np.float64]]:
        """Rings [N, 2] of all polygons, to be drawn."""
        rings = shapely.get_rings(shapely.get_parts(shapely.get_parts(self.shape)))
        return [shapely.get_coordinates(ring) for ring in rings]


def area_of(scene: SarScene, bbox: Bounds | None, aoi: str | Path | None) -> Area | None:
    """What is asked about, of a rectangle in degrees or a file; None for the whole scene.

    Raises:
        InputError: a scene without a place, a file that `read_polygons` refuses, or an area beside the scene.
    """
    if bbox is None and aoi is None:
        return None
    name = "bbox" if bbox is not None else "aoi"
    _check_placed(scene, name)
    polygons = bounds_polygon(bbox) if bbox is not None else read_polygons(str(aoi))
    area = _on(scene, polygons)
    if shapely.is_empty(area.shape):
        west, south, east, north = scene.placed().bounds()
        what = name if aoi is None else f"aoi: {aoi}"
        raise InputError(
            f"{what}: lies beside the scene, which is at {west:.4f} to {east:.4f} degrees of longitude and "
            f"{south:.4f} to {north:.4f} of latitude"
        )
    return area


def land_of(scene: SarScene, path: str | Path | None) -> Area | None:
    """The land of a file of polygons that lies on a scene, which may be none of it; None without a file.

    Raises:
        InputError: a scene without a place, or a file that `read_polygons` refuses.
    """
    if path is None:
        return None
    _check_placed(scene, "land")
    return _on(scene, read_polygons(path, scene.placed().bounds()))


def _check_placed(scene: SarScene, name: str) -> None:
    if scene.geometry is None:
        raise InputError(f"{name}: {scene.problem or 'the scene has no georeference'}; leave it out")


def _on(scene: SarScene, polygons: shapely.Geometry) -> Area:
    """The part of polygons in degrees that lies on a scene."""
    geometry = scene.placed()
    outline = footprint(geometry)
    inside = shapely.intersection(polygons, outline)
    low_x, low_y, high_x, high_y = shapely.bounds(outline)
    cut = shapely.segmentize(inside, max(high_x - low_x, high_y - low_y) / _SEGMENTS)
    in_pixels = shapely.make_valid(shapely.transform(cut, geometry.to_pixel))
    parts = shapely.get_parts(shapely.get_parts(in_pixels))
    parts = parts[shapely.get_type_id(parts) == shapely.GeometryType.POLYGON]
    return Area(shapely.union_all(parts) if len(parts) else shapely.Polygon())


def _boxes(boxes: Sequence[Sequence[float]]) -> NDArray[np.object_]:
    x1, y1, x2, y2 = np.asarray(boxes, np.float64).reshape(-1, 4).T
    return np.asarray(shapely.box(x1, y1, x2, y2))
