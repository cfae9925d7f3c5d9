"""A scene's answers as files: GeoJSON, GeoPackage, GeoParquet or JSON in pixels, each written whole or not at all."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from fusargpt.errors import InputError, one_line
from fusargpt.files import output_file
from fusargpt.geo.geojson import DECIMALS, box_polygon
from fusargpt.geo.geometry import Geometry
from fusargpt.geo.mapping import WGS84, project
from fusargpt.geo.picture_frame import Colour
from fusargpt.geo.remote import shown
from fusargpt.geo.sar_scene import SarScene
from fusargpt.scenes.geoparquet import COLUMN, geo_metadata
from fusargpt.scenes.layers import Place
from fusargpt.scenes.qgis_style import GEOMETRY_COLUMN, add_style

REMEDY = "the answers are kept; make room, and the same command asks nothing again"
"""How the line about a file that cannot be written ends."""
SUFFIXES = {".geojson": "GeoJSON", ".json": "pixels", ".gpkg": "GeoPackage", ".parquet": "GeoParquet"}
EXACT = 12
"""Decimals of degrees that are still to be projected."""


def format_of(path: Path, task: str, scene: SarScene, out_crs: str | None = None) -> str:
    """What a file name asks for: "GeoJSON", "GeoPackage", "GeoParquet", or in pixels "COCO" (boxes) and "pixels".

    Raises:
        InputError: another suffix, a map of a scene without a place, or a CRS for a format that has none to choose.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"out: found {path.name}; expected a name that ends in {', '.join(SUFFIXES)}")
    found = SUFFIXES[path.suffix.lower()]
    if out_crs is not None and found not in ("GeoPackage", "GeoParquet"):
        why = "is in pixels" if found == "pixels" else "is in WGS84 longitude and latitude by its standard"
        raise InputError(f"out-crs: found {out_crs}, but {path.name} {why}; write .gpkg or .parquet, or leave it out")
    if found == "pixels":
        return "COCO" if task == "detect" else found
    if scene.geometry is None:
        why = scene.problem or f"{shown(scene.path)}: the scene has no georeference"
        raise InputError(f"out: {path.name} is a map. {why}; or write pixels, to {path.with_suffix('.json').name}")
    return found


def feature_collection(
    places: Sequence[Place], geometry: Geometry, provenance: Mapping[str, Any], decimals: int = DECIMALS
) -> dict[str, Any]:
    """GeoJSON; `provenance` stands beside the features, and what tells model and prior in each of them, too.

    Args:
        places: boxes, tiles or cells in pixels of the scene.
        geometry: of the scene.
        provenance: of the run.
        decimals: of degrees.

    Raises:
        InputError: a place that lies nowhere on Earth.
    """
    each = {name: provenance[name] for name in ("model", "prior", "scene", "acquired")}
    features = []
    for place in places:
        # Lines that curve on the map matter over a tile, not over a ship.
        points = 8 if "kind" in place.properties else 1
        properties = {**place.properties, "bbox_pixels": [round(edge, 2) for edge in place.box], **each}
        polygon = box_polygon(geometry.to_lonlat, place.box, points, decimals)
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


@dataclass(frozen=True, eq=False)
class Table:
    """Features as rows.

    Attributes:
        columns: each with a value a row; None where a feature has none.
        shapes: polygons in `crs`.
        crs: of their coordinates, x (or longitude) first.
    """

    columns: dict[str, list[Any]]
    shapes: NDArray[np.object_]
    crs: str

    @staticmethod
    def of(collection: Mapping[str, Any], crs: str | None = None) -> "Table":
        """Of a GeoJSON collection.

        Raises:
            InputError: a feature that the CRS has no coordinates for.
        """
        features = collection["features"]
        names = list(dict.fromkeys(name for feature in features for name in feature["properties"]))
        columns = {name: [feature["properties"].get(name) for feature in features] for name in names}
        # One array even of a single feature.
        shapes = np.empty(len(features), object)
        shapes[:] = [shapely.from_geojson(json.dumps(feature["geometry"])) for feature in features]
        crs = crs or WGS84
        if crs != WGS84 and len(shapes):
            shapes = shapely.transform(shapes, lambda points: project(WGS84, crs, points))
            if not np.isfinite(shapely.get_coordinates(shapes)).all():
                raise InputError(f"out-crs: {crs} has no coordinates for a part of the scene; choose another")
        return Table(columns, shapes, crs)


def write_geopackage(
    path: Path,
    collection: Mapping[str, Any],
    layer: str,
    crs: str | None = None,
    colours: Mapping[str, Colour] | None = None,
) -> None:
    """The features of a GeoJSON collection as a layer with a style for QGIS, the provenance as the layer's metadata.

    Args:
        path: to write.
        collection: features and, under `fusargpt`, the provenance.
        layer: name of the task.
        crs: of the features; None has WGS84.
        colours: of classes, for the style.

    Raises:
        InputError: the file cannot be written, or what `Table.of` raises.
    """
    from pyogrio.errors import DataLayerError, DataSourceError, FeatureError
    from pyogrio.raw import write as write_layer

    table = Table.of(collection, crs)
    try:
        # GDAL knows the format by the suffix, too.
        with output_file(path, REMEDY, keep_suffix=True) as partial:
            write_layer(
                partial,
                geometry=np.array(shapely.to_wkb(table.shapes), object),
                field_data=[_column(values) for values in table.columns.values()],
                fields=np.array(list(table.columns), object),
                layer=layer,
                driver="GPKG",
                crs=table.crs,
                geometry_type="MultiPolygon",
                promote_to_multi=True,
                layer_options={"GEOMETRY_NAME": GEOMETRY_COLUMN},
                layer_metadata={"fusargpt": json.dumps(collection["fusargpt"])},
            )
            add_style(partial, layer, colours)
    # What GDAL and SQLite say where they may not write; a full disk is known before.
    except (DataSourceError, DataLayerError, FeatureError, sqlite3.Error) as error:
        raise InputError(f"{path}: cannot be written ({one_line(error)}); {REMEDY}") from error


def write_geoparquet(path: Path, collection: Mapping[str, Any], crs: str | None = None) -> None:
    """The features of a GeoJSON collection as GeoParquet 1.1, the provenance under the key `fusargpt`.

    Raises:
        InputError: the file cannot be written, or what `Table.of` raises.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = Table.of(collection, crs)
    columns = {name: pa.array(values) for name, values in table.columns.items()}
    columns = {
        name: column.cast(pa.string()) if pa.types.is_null(column.type) else column for name, column in columns.items()
    }
    columns[COLUMN] = pa.array(list(shapely.to_wkb(table.shapes)), pa.binary())
    metadata = {
        b"geo": json.dumps(geo_metadata(table.shapes, table.crs)).encode(),
        b"fusargpt": json.dumps(collection["fusargpt"]).encode(),
    }
    with output_file(path, REMEDY) as partial:
        pq.write_table(pa.table(columns).replace_schema_metadata(metadata), partial, compression="zstd")


def _column(values: Sequence[object]) -> np.ndarray:
    """Of one type: a GeoPackage's columns have one. Numbers that are missing are NaN, which is written as NULL."""
    if values and all(isinstance(value, bool) for value in values):
        return np.array(values, bool)
    if values and all(isinstance(value, int) for value in values):
        return np.array(values, np.int64)
    if any(value is not None for value in values) and all(isinstance(value, int | float | None) for value in values):
        return np.array([np.nan if value is None else value for value in values], np.float64)
    return np.array(
        [None if value is None else value if isinstance(value, str) else json.dumps(value) for value in values], object
    )
