"""What a search leaves in a folder: the ranked places, a heat map of a scene, and the vectors to search again."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import rasterio
import shapely
from PIL import Image

from fusargpt.embedding.features import Features
from fusargpt.embedding.heat_map import heat_map
from fusargpt.embedding.model_folder import model_of_label
from fusargpt.embedding.search import Found
from fusargpt.embedding.settings import EmbeddingSettings
from fusargpt.errors import InputError
from fusargpt.geo.sar_scene import SarScene
from fusargpt.geo.scene_picture import scene_picture
from fusargpt.scenes import quicklook
from fusargpt.scenes.ask_scene import GDAL_CACHE_MB
from fusargpt.scenes.writing import write_json

FILES = ("found.geojson", "found.json", "heat_map.png", "features.parquet")
_MARKED = 20
"""Tiles that get a frame on the heat map."""


def write_found(found: Found, folder: Path, *, with_features: bool) -> None:
    """Write the files of a search into a folder that exists.

    `found.geojson` has the hits as polygons with scores where any place is known, else `found.json` in pixels;
    `heat_map.png` the scores of all tiles of a scene; `features.parquet`, where asked for, the vectors.

    Raises:
        InputError: a file cannot be written.
    """
    about = _about(found)
    if "geometry" in found.features.table.column_names:
        write_json(folder / "found.geojson", feature_collection(found, about))
    else:
        write_json(folder / "found.json", {"fusargpt": about, "found": found.rows()})
    if found.features.provenance["kind"] == "scene":
        quicklook.save(folder / "heat_map.png", draw(found))
    if with_features:
        found.features.write(folder / "features.parquet")


def feature_collection(found: Found, about: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The hits as GeoJSON, the best first; one without a place has a null geometry, as the standard has it."""
    places: list[dict[str, Any]] = []
    for hit, row in zip(found.hits, found.rows(), strict=True):
        outline = found.features.outline(hit.row)
        geometry = None if outline is None else json.loads(shapely.to_geojson(outline))
        properties = {name: value for name, value in row.items() if name not in ("box", "centre")}
        properties |= {"bbox_pixels": row["box"], "model": found.features.model}
        places.append({"type": "Feature", "properties": properties, "geometry": geometry})
    return {"type": "FeatureCollection", "fusargpt": dict(about or _about(found)), "features": places}


def draw(found: Found) -> Image.Image:
    """The heat map of a scene; without the scene below where it cannot be read any more."""
    about = found.features.provenance
    width, height = about["scene_size"]
    return heat_map(
        _scene_picture(found.features),
        (width, height),
        found.features.boxes,
        found.scores,
        [hit.row for hit in found.hits[:_MARKED]],
        found.query.shown,
    )


def _scene_picture(features: Features) -> Image.Image | None:
    about = features.provenance
    settings = EmbeddingSettings.from_json(about["options"], model_of_label(features.model), None)
    try:
        with (
            rasterio.Env(GDAL_CACHEMAX=GDAL_CACHE_MB),
            SarScene.open(about["sources"][0], settings.reading) as scene,
        ):
            if [scene.width, scene.height] != about["scene_size"]:
                return None
            return scene_picture(scene, scene.stretch(decibels=settings.decibels)).image
    except InputError:
        return None


def _about(found: Found) -> dict[str, Any]:
    provenance = {name: value for name, value in found.features.provenance.items() if name != "file"}
    return {"query": found.query.shown, **provenance, "searched": len(found.features)}
