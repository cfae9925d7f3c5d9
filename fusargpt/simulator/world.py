"""Simulate whole worlds on disk: python -m fusargpt.simulator.world --out DIR --places 8 --years 2023 2024 --seed 0

What a user brings to `fusargpt triplets build`, without a download: SAR scenes with every kind of georeference, land
cover, AlphaEarth tiles of several years with their index, and a manifest with boxes and captions. DIR gets

- `scenes/*.tif`: float32 dB or uint16 amplitude, one polarization or two, placed by affine transforms, rotated ones
  too, or by ground control points;
- `land_cover/*.tif`: Dynamic World classes;
- `aef/<year>/<zone>/*.tiff` and `aef/aef_index.parquet`: AlphaEarth's layout;
- `boxes/`: VOC, COCO and GeoJSON files;
- `manifest.jsonl`: one row a scene.

The same arguments give the same bytes.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from affine import Affine
from tqdm import tqdm

from fusargpt.alphaearth.layout import write_index, write_tile
from fusargpt.errors import InputError
from fusargpt.simulator.ground import simulate_ground, with_targets
from fusargpt.simulator.rendering import render_backscatter
from fusargpt.simulator.simulated_scene import Scene
from fusargpt.simulator.vector_field import VectorField
from fusargpt.simulator.world_files import (
    SENSOR,
    coco,
    data_mask,
    features,
    inline_boxes,
    north_up_grid,
    polarizations,
    write_land_cover,
    write_scene,
    write_voc,
)
from fusargpt.simulator.world_plan import DEFAULT_SIDES, MARGIN, Place, plan_places, zone_crs
from fusargpt.tasks.answers import LabelledBox
from fusargpt.tasks.eight_dimensions import describe_place
from fusargpt.tasks.wordings import several

AEF_PIXEL_M = 10.0
_BEYOND_PIXELS = 8  # of a tile that lie beyond the world, without data
_ZONE_OVERLAP_DEGREES = 0.001  # about 100 m: tiles of neighbouring zones share a strip, so that nothing falls between
_LICENSE = "CC-BY-4.0"


def ground_of(place: Place) -> Scene:
    """The ground of a place, `MARGIN` pixels wider on each side than its scene, without targets."""
    margin = 2 * MARGIN
    return simulate_ground(place.seed, place.kind, place.height + margin, place.width + margin, place.resolution_m)


def scene_of(place: Place, ground: Scene) -> Scene:
    """What the SAR scene of a place shows: its part of `ground`, and targets where it holds data."""
    inner = slice(MARGIN, MARGIN + place.height), slice(MARGIN, MARGIN + place.width)
    return with_targets(replace(ground, region=ground.region[inner]), data_mask(place), place.resolution_m)


def write_world(
    out: str | Path, *, places: int, years: Sequence[int], seed: int, sides: Sequence[int] = DEFAULT_SIDES
) -> Path:
    """Write a world into a new or empty folder; returns the path of its manifest.

    Args:
        out: the folder.
        places: number of places, one scene each.
        years: of the AlphaEarth field, 2017 or later; scenes are acquired in each of them in turn.
        seed: of the world.
        sides: pixels; heights and widths of scenes are drawn from them.

    Raises:
        InputError: a folder that holds something, or a number out of its range.
    """
    out = Path(out)
    planned = plan_places(places, years, seed, sides)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: holds something already; a world goes into a new or empty folder")
    try:
        for folder in ("scenes", "land_cover", "boxes", "aef"):
            (out / folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: cannot be made ({error.strerror}); name a folder that can be written to") from error
    rows, images, polygons = [], [], []
    for place in tqdm(planned, unit="place", desc="world"):
        ground = ground_of(place)
        scene = scene_of(place, ground)
        write_scene(
            out / "scenes" / f"{place.name}.tif", place, [render_backscatter(scene, p) for p in polarizations(place)]
        )
        write_land_cover(out / "land_cover" / f"{place.name}.tif", place, ground)
        for year in years:
            _write_tiles(out / "aef", place, VectorField.of(ground, place.ground_geometry, year), year)
        if place.annotation == "coco":
            images.append((f"{place.name}.tif", scene))
        if place.annotation == "geojson":
            polygons += features(scene, place.geometry)
        rows.append(_row(out, place, scene))
    write_index(out / "aef")
    _write_json(out / "boxes" / "boxes.json", coco(images))
    _write_json(out / "boxes" / "boxes.geojson", {"type": "FeatureCollection", "features": polygons})
    manifest = out / "manifest.jsonl"
    manifest.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return manifest


def _write_tiles(root: Path, place: Place, field: VectorField, year: int) -> None:
    """The tiles of one place and year, south-up as published ones: in two halves for places with an odd seed, and in
    two zones where the place straddles their border."""
    border = 6.0 * place.zone - 180
    zones = [(place.zone, -180.0, 180.0)]
    if place.at_border:
        zones = [
            (place.zone, -180.0, border + _ZONE_OVERLAP_DEGREES),
            (place.zone + 1, border - _ZONE_OVERLAP_DEGREES, 180.0),
        ]
    for zone, west, east in zones:
        crs = zone_crs(zone, place.south)
        grid, height, width = north_up_grid(field.geometry.bounds(), crs, AEF_PIXEL_M)
        height, width = height + 2 * _BEYOND_PIXELS, width + 2 * _BEYOND_PIXELS
        left = grid.c - _BEYOND_PIXELS * AEF_PIXEL_M
        bottom = grid.f + (_BEYOND_PIXELS - height) * AEF_PIXEL_M
        folder = root / str(year) / f"{zone}{'S' if place.south else 'N'}"
        starts = [0, width // 2] if place.seed % 2 else [0]
        for number, (start, end) in enumerate(zip(starts, [*starts[1:], width], strict=True)):
            transform = Affine(AEF_PIXEL_M, 0, left + start * AEF_PIXEL_M, 0, AEF_PIXEL_M, bottom)
            codes = field.tile(crs, transform, height, end - start, west, east)
            write_tile(folder / f"{place.name}-{number}.tiff", codes, crs=crs, transform=transform)


def _row(out: Path, place: Place, scene: Scene) -> dict[str, object]:
    """The place's row of the manifest; also writes its VOC file. What the raster's tags say is left out of most."""
    row: dict[str, object] = {"scene": f"scenes/{place.name}.tif", "land_cover": f"land_cover/{place.name}.tif"}
    if place.seed % 2:
        row |= {"id": place.name, "acquired": place.acquired, "sensor": SENSOR, "year": int(place.acquired[:4])}
    if len(polarizations(place)) > 1:
        row["polarization"] = polarizations(place)[place.seed // 4 % 2]
    if place.captioned:
        objects = [LabelledBox(target.box, target.label) for target in scene.targets]
        described = describe_place(scene.landcover[scene.region], objects, place.resolution_m)
        row["caption"] = described.text(place.seed)
    if place.annotation == "voc":
        row["boxes"] = f"boxes/{place.name}.xml"
        write_voc(out / row["boxes"], f"{place.name}.tif", scene)
    elif place.annotation == "coco":
        row["boxes"] = "boxes/boxes.json"
    elif place.annotation == "geojson":
        row["boxes"] = "boxes/boxes.geojson"
    else:
        row["boxes"] = inline_boxes(scene, place.geometry if place.annotation == "inline polygons" else None)
    return {**row, "license": _LICENSE}


def _write_json(path: Path, content: dict[str, object]) -> None:
    path.write_text(json.dumps(content) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="a new or empty folder")
    parser.add_argument("--places", type=int, default=8, help="one scene each")
    parser.add_argument("--years", type=int, nargs="+", default=[2023, 2024], help="of the AlphaEarth field")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--sides", type=int, nargs="+", default=list(DEFAULT_SIDES), help="pixels; heights and widths to draw from"
    )
    options = parser.parse_args()
    try:
        manifest = write_world(
            options.out, places=options.places, years=options.years, seed=options.seed, sides=options.sides
        )
    except InputError as error:
        sys.exit(f"error: {error}")
    print(f"{several('place', options.places)}: {manifest}")


if __name__ == "__main__":
    main()
