"""Simulated worlds: the same bytes every time, every form of file, and files that agree about each place."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio

from fusargpt.errors import InputError
from fusargpt.geo.embeddings import NODATA, dequantize
from fusargpt.geo.geometry import Geometry
from fusargpt.geo.land_classes import BUILT, WATER
from fusargpt.simulator.vector_field import VectorField
from fusargpt.simulator.world import ground_of, main, scene_of, write_world
from fusargpt.simulator.world_files import COVER_NODATA, data_mask
from fusargpt.simulator.world_plan import ANNOTATIONS, MARGIN, STORAGES, Place, plan_places
from tests.fusargpt.simulator.worlds import World, make_world, sample, vector_codes

ARGUMENTS: dict[str, Any] = {"places": 8, "years": (2023, 2024), "seed": 3, "sides": (112, 140)}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world"), **ARGUMENTS)


def places_in(place: Place, count: int = 200, margin: int = 0) -> np.ndarray:
    """Random longitudes and latitudes of pixels of the scene, or up to `margin` pixels beyond it."""
    low, size = -margin, np.array([place.width, place.height]) + margin
    pixels = np.random.default_rng(place.seed).uniform(low, size, (count, 2))
    return place.geometry.to_lonlat(pixels)


def classes_at(place: Place, lonlat: np.ndarray) -> np.ndarray:
    ground = ground_of(place)
    columns, rows = place.ground_geometry.to_pixel(lonlat).astype(int).T
    return ground.landcover[ground.region[rows, columns]]


def digest(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_same_arguments_give_the_same_bytes(tmp_path: Path):
    arguments: dict[str, Any] = {**ARGUMENTS, "places": 3, "years": (2023,), "sides": (112,)}
    for name in ("first", "second"):
        write_world(tmp_path / name, **arguments)
    arguments["seed"] = 4
    write_world(tmp_path / "other", **arguments)
    first = digest(tmp_path / "first")
    assert first == digest(tmp_path / "second")
    assert not set(first.values()) & set(digest(tmp_path / "other").values()) - {first["boxes/boxes.json"]}


def test_a_world_has_every_form(world: World):
    seen = set()
    for place in world.places:
        with rasterio.open(world.scene(place)) as raster:
            georeference = "gcps" if raster.gcps[0] else "rotated" if raster.transform.b else "north-up"
            assert (raster.width, raster.height) == (place.width, place.height)
            assert raster.transform.is_identity == (georeference == "gcps")
            seen |= {georeference, raster.dtypes[0], raster.descriptions, raster.nodata is None}
            seen.add("S" if place.south else "N")
    assert seen == {
        *("gcps", "rotated", "north-up", "float32", "uint16", ("VV",), ("VV", "VH"), True, False, "N", "S"),
    }
    assert {place.storage for place in world.places} == set(STORAGES)
    assert {place.annotation for place in world.places} == set(ANNOTATIONS)
    assert {place.kind for place in world.places} == {"harbour", "airfield", "sea", "inland"}
    assert {place.acquired[:4] for place in world.places} == {"2023", "2024"}


def test_every_scene_lies_where_its_place_is(world: World):
    for place in world.places:
        with rasterio.open(world.scene(place)) as raster:
            geometry = Geometry.of(raster)
        assert geometry is not None
        pixels = np.array([[0.5, 0.5], [place.width - 3, 7], [place.width / 2, place.height / 2]])
        found = place.geometry.to_pixel(geometry.to_lonlat(pixels))
        # A spline through control points bends a little less than the projection does.
        assert np.abs(found - pixels).max() < (0.01 if geometry.kind == "gcps" else 1e-6)
        assert geometry.resolution_m() == pytest.approx(place.resolution_m, rel=0.01)


def test_no_data_is_a_border_and_the_rest_holds_data(world: World):
    for place in world.places:
        with rasterio.open(world.scene(place)) as raster:
            values = raster.read(1)
            valid = values != (0 if raster.nodata is None else raster.nodata)
        assert (valid == data_mask(place)).all()
        assert valid.mean() > 0.9 and (not valid.all()) == (place.storage in ("decibels", "control points"))


def boxes_of(world: World, place: Place, row: dict[str, Any]) -> list[list[float]]:
    """Boxes in pixels, read from wherever the manifest says."""
    source = row["boxes"]
    if place.annotation == "inline":
        return [box["bbox_2d"] for box in source]
    if place.annotation == "inline polygons":
        polygons = [box["polygon"] for box in source]
    elif place.annotation == "voc":
        text = (world.folder / source).read_text()
        numbers = [int(part.split("<")[0]) for part in text.split(">") if part.split("<")[0].strip().isdigit()]
        return np.reshape(numbers[3:], (-1, 4)).tolist()
    elif place.annotation == "coco":
        content = json.loads((world.folder / source).read_text())
        (image,) = (image for image in content["images"] if image["file_name"] == f"{place.name}.tif")
        boxes = (item["bbox"] for item in content["annotations"] if item["image_id"] == image["id"])
        return [[x, y, x + width, y + height] for x, y, width, height in boxes]
    else:
        content = json.loads((world.folder / source).read_text())
        polygons = [feature["geometry"]["coordinates"][0] for feature in content["features"]]
    boxes = []
    for polygon in polygons:
        pixels = place.geometry.to_pixel(np.array(polygon))
        if (pixels > -1).all() and (pixels < (place.width + 1, place.height + 1)).all():
            boxes.append([*pixels.min(0), *pixels.max(0)])
    return boxes


def test_boxes_hold_bright_targets_on_their_ground(world: World):
    contrasts = {"VV": [], "VH": []}
    for place, row in zip(world.places, world.rows, strict=True):
        scene = scene_of(place, ground_of(place))
        found = boxes_of(world, place, row)
        assert np.allclose(np.reshape(found, (-1, 4)), np.reshape([target.box for target in scene.targets], (-1, 4)))
        assert bool(found) == (place.kind != "inland")
        with rasterio.open(world.scene(place)) as raster:
            values = raster.read().astype(np.float64)
            if raster.dtypes[0] == "uint16":
                values = 20 * np.log10(np.maximum(values, 1))
        for target in scene.targets:
            x1, y1, x2, y2 = target.box
            assert data_mask(place)[y1:y2, x1:x2].all()
            inside = scene.region[y1:y2, x1:x2]
            assert (inside == (0 if target.label == "ship" else scene.apron)).all()
            ground = scene.region == inside[0, 0]
            for name, band in zip(("VV", "VH"), values, strict=False):
                contrasts[name].append(band[y1:y2, x1:x2].max() - np.median(band[ground & data_mask(place)]))
    assert len(contrasts["VV"]) > 10 and len(contrasts["VH"]) > 2
    assert all(min(values) > 3 and np.median(values) > 10 for values in contrasts.values())


def test_land_cover_is_that_of_the_ground(world: World):
    crs = set()
    for place in world.places:
        lonlat = places_in(place)
        path = world.folder / "land_cover" / f"{place.name}.tif"
        found = sample(path, lonlat)[:, 0]
        assert (found != COVER_NODATA).all()
        # Its pixels are not those of the ground: at boundaries they differ.
        assert np.mean(found == classes_at(place, lonlat)) > 0.93
        far = place.geometry.to_lonlat(np.array([[-MARGIN - 3.0, -MARGIN - 3.0]]))
        assert sample(path, far)[0, 0] == COVER_NODATA
        with rasterio.open(path) as raster:
            crs.add(raster.crs.is_geographic)
    assert crs == {True, False}


def test_the_index_lists_every_tile_as_published(world: World):
    table = pq.read_table(world.folder / "aef" / "aef_index.parquet").to_pylist()
    assert {row["year"] for row in table} == {2023, 2024}
    assert len(table) == len(list((world.folder / "aef").rglob("*.tiff")))
    for row in table:
        with rasterio.open(world.folder / "aef" / row["path"]) as tile:
            assert (tile.count, tile.dtypes[0], tile.nodata) == (64, "int8", NODATA)
            assert tile.transform.e > 0, "published tiles are south-up"
            assert tile.transform.a == 10 and tile.transform.c % 10 == 0 and tile.transform.f % 10 == 0


def test_the_field_is_that_of_the_ground_in_every_tile_and_ends_with_it(world: World):
    for place in world.places:
        lonlat = places_in(place)
        codes = vector_codes(world, place, 2024, lonlat)
        assert (codes != NODATA).all()
        field = VectorField.of(ground_of(place), place.ground_geometry, 2024)
        # The code of a place is that of its 10 m pixel's centre, up to 7 m away.
        similarity = (dequantize(codes) * dequantize(field.codes_at(lonlat))).sum(1)
        assert np.mean(similarity > 0.999) > 0.9
        beyond = place.geometry.to_lonlat(np.array([[-MARGIN - 3.0, place.height / 2]]))
        assert (vector_codes(world, place, 2024, beyond) == NODATA).all()


def test_a_vector_is_nearest_to_a_region_of_the_land_cover_beneath_it(world: World):
    for place in world.places:
        ground = ground_of(place)
        lonlat = places_in(place)
        cover = sample(world.folder / "land_cover" / f"{place.name}.tif", lonlat)[:, 0]
        for year in ARGUMENTS["years"]:
            vectors = dequantize(vector_codes(world, place, year, lonlat))
            regions = (vectors @ ground.embedding.T).argmax(1)
            assert np.mean(ground.landcover[regions] == cover) > 0.93


def test_years_differ_a_little(world: World):
    for place in world.places:
        lonlat = places_in(place)
        first, second = (dequantize(vector_codes(world, place, year, lonlat)) for year in ARGUMENTS["years"])
        similarity = (first * second).sum(1)
        assert similarity.min() > 0.99 and similarity.max() < 0.9999


def test_a_place_on_a_zone_border_has_a_tile_in_each_zone(world: World):
    straddling = [place for place in world.places if place.at_border]
    assert len(straddling) == 2
    for place in straddling:
        border = 6 * place.zone - 180
        lonlat = places_in(place)
        west = lonlat[:, 0] < border
        assert 0.05 < west.mean() < 0.95
        assert {path.parent.name for path in world.tiles(place, 2023)} == {f"{place.zone}S", f"{place.zone + 1}S"}
        for tile in world.tiles(place, 2023):
            held = (sample(tile, lonlat) != NODATA).all(1)
            own = west if tile.parent.name == f"{place.zone}S" else ~west
            # The tiles share a strip of about 100 m on each side of the border.
            assert not held[~own & (np.abs(lonlat[:, 0] - border) > 0.0012)].any()


def test_captions_are_for_scenes_of_one_chip(world: World):
    captioned = {place.name for place in world.places if place.captioned}
    assert captioned and captioned == {Path(row["scene"]).stem for row in world.rows if "caption" in row}
    assert all(place.width == place.height == 112 for place in world.places if place.captioned)


def test_aprons_are_built_and_ships_lie_on_water(world: World):
    for place in world.places:
        scene = scene_of(place, ground_of(place))
        if place.kind == "airfield":
            assert scene.apron is not None and scene.landcover[scene.apron] == BUILT
        assert scene.landcover[0] == WATER
        assert {target.label for target in scene.targets} <= {"aircraft" if place.kind == "airfield" else "ship"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"places": 0}, "places: found 0"),
        ({"years": (2016,)}, "years: found 2016; expected 2017"),
        ({"years": ()}, r"years: found \[\]"),
        ({"years": (2024, 2024)}, "each once"),
        ({"seed": -1}, "seed: found -1"),
        ({"sides": (60,)}, "sides: found 60"),
        ({"sides": ()}, r"sides: found \[\]"),
    ],
)
def test_what_is_no_world_is_refused(
    change: dict[str, Any],
    message: str,
    tmp_path: Path,
):
    with pytest.raises(InputError, match=message):
        write_world(tmp_path / "world", **{**ARGUMENTS, **change})
    assert not (tmp_path / "world").exists()


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "precious.txt").write_text("mine")
    monkeypatch.setattr("sys.argv", ["world", "--out", str(tmp_path), "--places", "1"])
    with pytest.raises(SystemExit, match="holds something already"):
        main()
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]


def test_a_folder_that_cannot_be_made_is_said_in_one_line(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be made"):
        write_world(tmp_path / "file" / "world", **ARGUMENTS)


def test_the_command_line_writes_a_world(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "new" / "world"
    monkeypatch.setattr("sys.argv", ["world", "--out", str(out), "--places", "1", "--years", "2020", "--sides", "112"])
    main()
    assert "one place" in capsys.readouterr().out
    assert {path.name for path in out.iterdir()} == {"scenes", "land_cover", "boxes", "aef", "manifest.jsonl"}


def test_worlds_of_other_seeds_are_elsewhere():
    one, other = (plan_places(4, (2024,), seed, (112,)) for seed in (0, 1))
    assert {place.seed for place in one}.isdisjoint({place.seed for place in other})
    assert [place.zone for place in one] != [place.zone for place in other]
