"""Polygons over the hand-made scene, as files that a user would have."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from pyogrio.raw import write

from fusargpt.geo.mapping import WGS84, project
from tests.fusargpt.scenes.scenes import CRS, TRANSFORM


def in_crs(crs: str, *boxes: tuple[float, float, float, float]) -> list[Any]:
    """Boxes in pixels of the scene as polygons of a CRS."""
    found: list[Any] = []
    for x1, y1, x2, y2 in boxes:
        corners = np.array([(x1, y1), (x1, y2), (x2, y2), (x2, y1)], float)
        found.append(shapely.Polygon(project(CRS, crs, corners * (10, -10) + (TRANSFORM.c, TRANSFORM.f))))
    return found


def write_geojson(path: Path, shapes: list[Any], **members: Any) -> Path:
    features = [
        {"type": "Feature", "properties": {}, "geometry": json.loads(shapely.to_geojson(shape))} for shape in shapes
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features, **members}))
    return path


def write_layer(path: Path, shapes: list[Any], crs: str = WGS84, layer: str = "drawn") -> Path:
    wkb = np.array([shapely.to_wkb(shape) for shape in shapes], object)
    kind = shapes[0].geom_type
    driver = {".gpkg": "GPKG", ".shp": "ESRI Shapefile"}[path.suffix]
    fields: Any = {"field_data": [np.arange(len(shapes))], "fields": np.array(["number"], object)}
    write(path, geometry=wkb, layer=layer, driver=driver, crs=crs, geometry_type=kind, **fields)
    return path
