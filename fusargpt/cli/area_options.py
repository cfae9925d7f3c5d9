"""The options of the verbs over a scene that say where to look, and in which coordinates to write."""

import argparse
from pathlib import Path
from typing import Any

from fusargpt.errors import InputError
from fusargpt.tasks.prompts import TARGET_TASKS

AREA = ("bbox", "aoi", "land", "out_crs")
"""The names of the options of `add_area`."""


def add_area(parser: argparse.ArgumentParser, task: str) -> None:
    """The fields of `fusargpt.scenes.settings.SceneSettings` about an area."""
    area = parser.add_argument_group("area and map (default: the whole scene, in longitude and latitude)")
    area.add_argument(
        "--bbox",
        metavar=("W", "S", "E", "N"),
        type=float,
        nargs=4,
        help="degrees of WGS84 longitude and latitude to look in; tiles outside are not read",
    )
    area.add_argument(
        "--aoi", metavar="FILE", type=Path, help="polygons to look in: .geojson, .gpkg or .shp in any CRS; or --bbox"
    )
    if task in TARGET_TASKS:
        area.add_argument(
            "--land",
            metavar="FILE",
            type=Path,
            help="polygons of land, likewise: targets on it are left out and counted",
        )
    area.add_argument(
        "--out-crs", metavar="EPSG:N", help="of .gpkg and .parquet (default: EPSG:4326; GeoJSON has no other)"
    )


def check_area(chosen: dict[str, Any]) -> None:
    """What `add_area` parsed, made ready; raises InputError for a file that is not there, before imports go by."""
    if "bbox" in chosen:
        chosen["bbox"] = tuple(chosen["bbox"])
    for name in ("aoi", "land"):
        if name in chosen and not chosen[name].is_file():
            raise InputError(f"--{name}: {chosen[name]}: no such file; expected polygons, as GeoJSON or GeoPackage")
