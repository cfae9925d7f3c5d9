"""A scene's answers as files: GeoJSON, a GeoPackage or JSON in pixels, each written whole or not at all."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fusargpt.errors import InputError, one_line
from fusargpt.files import output_file
from fusargpt.geo.geojson import box_polygon
from fusargpt.geo.geometry import Geometry
from fusargpt.geo.remote import shown
from fusargpt.geo.sar_scene import SarScene
from fusargpt.scenes.layers import Place

REMEDY = "the answers are kept; make room, and the same command asks nothing again"
"""How the line about a file that cannot be written ends."""
SUFFIXES = {".geojson": "GeoJSON", ".json": "pixels", ".gpkg": "GeoPackage"}


def format_of(path: Path, task: str, scene: SarScene) -> str:
    """What a file name asks for: "GeoJSON", "GeoPackage", or in pixels "COCO" for boxes and "pixels" for a layer.

    Raises:
        InputError: another suffix, or a map of a scene without a place.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"out: found {path.name}; expected a name that ends in {', '.join(SUFFIXES)}")
    found = SUFFIXES[path.suffix.lower()]
    if found == "pixels":
        return "COCO" if task == "detect" else found
    if scene.geometry is None:
        why = scene.problem or f"{shown(scene.path)}: the scene has no georeference"
        raise InputError(f"out: {path.name} is a map. {why}; or write pixels, to {path.with_suffix('.json').name}")
    return found


def feature_collection(places: Sequence[Place], geometry: Geometry, provenance: Mapping[str, Any]) -> dict[str, object]:
    """GeoJSON; `provenance` stands beside the features, and what tells model and prior in each of them, too.

    Raises:
        InputError: a place that lies nowhere on Earth.
    """
    each = {name: provenance[name] for name in ("model", "prior", "scene", "acquired")}
    features = []
    for place in places:
        # Lines that curve on the map matter over a tile, not over a ship.
        points = 8 if "kind" in place.properties else 1
        properties = {**place.properties, "bbox_pixels": [round(edge, 2) for edge in place.box], **each}
        polygon = box_polygon(geometry.to_lonlat, place.box, points)
        features.append({"type": "Feature", "properties": properties, "geometry": polygon})
    return {"type": "FeatureCollection", "fusargpt": dict(provenance), "features": features}


def coco(places: Sequence[Place], width: int, height: int, provenance: Mapping[str, Any]) -> dict[str, object]:
    """COCO detection JSON of one image, boxes [x, y, width, height] in its pixels."""
    labels = sorted({place.properties["label"] for place in places} | {provenance["target"]})
    annotations = []
    for number, place in enumerate(places, start=1):
        x1, y1, x2, y2 = (round(edge, 2) for edge in place.box)
        box = [x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)]
        rest = {name: value for name, value in place.properties.items() if name != "label"}
        category = labels.index(place.properties["label"]) + 1
        annotations.append(
            {"id": number, "image_id": 1, "category_id": category, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
            | ({"score": rest["score"]} if "score" in rest else {})
            | {"attributes": rest}
        )
    return {
        "info": {"description": "boxes by FUSAR-GPT", **provenance},
        "images": [{"id": 1, "file_name": Path(provenance["scene"]).name, "width": width, "height": height}],
        "categories": [{"id": number, "name": label} for number, label in enumerate(labels, start=1)],
        "annotations": annotations,
    }


def layer_in_pixels(places: Sequence[Place], width: int, height: int, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Tiles and cells of an image, each with its properties and `bbox` [x1, y1, x2, y2] in pixels of the image."""
    return {
        "fusargpt": dict(provenance),
        "image": {"file_name": Path(provenance["scene"]).name, "width": width, "height": height},
        "places": [{"bbox": [round(edge, 2) for edge in place.box], **place.properties} for place in places],
    }


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Raises InputError where the file cannot be written."""
    with output_file(path, REMEDY) as partial, partial.open("w", encoding="utf-8") as file:
        json.dump(content, file)
        file.write("\n")


def write_geopackage(path: Path, collection: Mapping[str, Any], layer: str) -> None:
    """The features of a GeoJSON collection as a layer in WGS84, the provenance as the layer's metadata.

    Raises:
        InputError: the file cannot be written.
    """
    import shapely
    from pyogrio.errors import DataLayerError, DataSourceError, FeatureError
    from pyogrio.raw import write as write_layer

    features = collection["features"]
    names = sorted({name for feature in features for name in feature["properties"]})
    columns = [_column([feature["properties"].get(name) for feature in features]) for name in names]
    shapes = [shapely.from_geojson(json.dumps(feature["geometry"])) for feature in features]

    try:
        # GDAL knows the format by the suffix, too.
        with output_file(path, REMEDY, keep_suffix=True) as partial:
            write_layer(
                partial,
                geometry=np.array([shapely.to_wkb(shape) for shape in shapes], object),
                field_data=columns,
                fields=np.array(names, object),
                layer=layer,
                driver="GPKG",
                crs="EPSG:4326",
                geometry_type="MultiPolygon",
                promote_to_multi=True,
                layer_metadata={"fusargpt": json.dumps(collection["fusargpt"])},
            )
    # What GDAL says where it may not write; a full disk is known before.
    except (DataSourceError, DataLayerError, FeatureError) as error:
        raise InputError(f"{path}: cannot be written ({one_line(error)}); {REMEDY}") from error


def _column(values: Sequence[object]) -> np.ndarray:
    """Of one type: a GeoPackage's columns have one."""
    if values and all(isinstance(value, bool) for value in values):
        return np.array(values, bool)
    if values and all(isinstance(value, int) for value in values):
        return np.array(values, np.int64)
    if values and all(value is None or isinstance(value, int) for value in values):
        return np.array([np.nan if value is None else value for value in values], np.float64)
    return np.array(
        [None if value is None else value if isinstance(value, str) else json.dumps(value) for value in values], object
    )
