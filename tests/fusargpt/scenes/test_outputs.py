"""What a scene's answers are handed over as: numbers at known places, other CRS, other libraries, pictures."""

import json
import sqlite3
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import geopandas
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import shapely
from PIL import Image
from pyogrio.raw import read as read_layer

from fusargpt.errors import InputError
from fusargpt.geo.picture_frame import Around, Mark, framed
from fusargpt.geo.scene_picture import ScenePicture
from fusargpt.scenes import classify, count, describe, detect, localize
from fusargpt.scenes.layers import Place
from fusargpt.scenes.qgis_style import style
from fusargpt.scenes.quicklook import Drawn, draw, legend_of
from fusargpt.scenes.result import SceneResult
from tests.fusargpt.scenes.scenes import CRS, SHIPS, TRANSFORM, BrightBoxes, write_scene

matplotlib.use("agg")
TILES: dict[str, Any] = {"tile": 96, "overlap": 24, "batch_size": 4, "no_prior": True}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scene(tmp_path_factory.mktemp("scene") / "harbour.tif")


@pytest.fixture(scope="module")
def ships(scene: Path) -> SceneResult:
    return detect(scene, predictor=BrightBoxes(), **TILES)


@pytest.fixture(scope="module")
def counts(scene: Path) -> SceneResult:
    return count(scene, predictor=BrightBoxes(), no_prior=True, tile=48)


def grid_bounds(box: tuple[float, ...]) -> tuple[float, ...]:
    """Of a box in pixels, in metres of the scene's own CRS."""
    x1, y1, x2, y2 = box
    return TRANSFORM.c + 10 * x1, TRANSFORM.f - 10 * y2, TRANSFORM.c + 10 * x2, TRANSFORM.f - 10 * y1


def test_boxes_have_length_width_area_and_heading_on_the_ground(ships: SceneResult, counts: SceneResult):
    place = next(place for place in ships.places if place.box == SHIPS[0])
    said = place.properties
    # 99 km west of the meridian of its zone UTM shrinks by this factor, and its north is 0.6 degrees off.
    factor = 0.9996 * (1 + (99_740 / 0.9996) ** 2 / (2 * 6_372_000**2))
    assert said["length_m"] == pytest.approx(120 / factor, abs=0.02)
    assert said["width_m"] == pytest.approx(60 / factor, abs=0.02)
    assert said["area_m2"] == pytest.approx(7200 / factor**2, abs=1)
    latitude = np.radians(33.43)
    off = np.degrees(np.arctan(np.tan(-99_740 / (6_378_137 * np.cos(latitude))) * np.sin(latitude)))
    assert said["heading_deg"] == pytest.approx(90 + off, abs=0.06)
    assert said["heading_within_deg"] == pytest.approx(26.6, abs=0.1)
    square = next(place for place in ships.places if place.box == SHIPS[3]).properties
    assert square["length_m"] > square["width_m"] and square["heading_deg"] is None
    tile = counts.places[0].properties
    assert tile["area_m2"] == pytest.approx(480**2 / factor**2, rel=1e-3) and "length_m" not in tile


def test_a_scene_without_a_place_has_no_measures(tmp_path: Path):
    path = write_scene(tmp_path / "plain.tif", georeferenced=False)
    result = detect(path, predictor=BrightBoxes(), out=tmp_path / "ships.json", **TILES)
    assert "length_m" not in result.places[0].properties
    for method in (result.to_gdf, result.to_folium):
        with pytest.raises(InputError, match="no georeference, and so no map"):
            method()
    assert result.plot().get_title() == "5 ships in plain.tif"


@pytest.mark.parametrize("suffix", [".gpkg", ".parquet"])
def test_places_in_another_crs(suffix: str, scene: Path, tmp_path: Path):
    out = tmp_path / f"ships{suffix}"
    result = detect(scene, predictor=BrightBoxes(), out=out, out_crs=CRS, **TILES)
    assert result.provenance["crs"] == CRS
    if suffix == ".gpkg":
        meta, _, wkb, columns = read_layer(out, layer="detect")
        shapes, crs = shapely.from_wkb(wkb), meta["crs"]
        rows = dict(zip(meta["fields"], columns, strict=True))
        assert rows["length_m"].dtype == np.float64 and np.isnan(rows["heading_deg"]).any()
    else:
        frame: Any = geopandas.read_parquet(out)
        shapes, crs = np.array(frame.geometry), frame.crs.to_string()
        assert list(frame["bbox_pixels"][0]) == list(result.places[0].box)
    assert crs == CRS
    for place, shape in zip(result.places, shapes, strict=True):
        assert shape.bounds == pytest.approx(grid_bounds(place.box), abs=1e-3)


def test_geoparquet_is_in_degrees_by_default_and_says_how_it_was_made(scene: Path, tmp_path: Path):
    out = tmp_path / "counts.parquet"
    result = count(scene, predictor=BrightBoxes(), out=out, no_prior=True, tile=96)
    frame: Any = geopandas.read_parquet(out)
    assert frame.crs.to_string() == "OGC:CRS84" and list(frame["count"]) == [
        place.properties["count"] for place in result.places
    ]
    import pyarrow.parquet as pq

    metadata = pq.read_schema(out).metadata
    assert json.loads(metadata[b"fusargpt"])["task"] == "count" and json.loads(metadata[b"geo"])["version"] == "1.1.0"
    empty = write_scene(tmp_path / "empty.tif", ships=())
    detect(empty, predictor=BrightBoxes(), out=tmp_path / "none.parquet", **TILES)
    assert len(geopandas.read_parquet(tmp_path / "none.parquet")) == 0


@pytest.mark.parametrize(
    ("out", "crs", "said"),
    [
        ("ships.geojson", "EPSG:32611", r"out-crs: found EPSG:32611, but ships\.geojson is in WGS84"),
        ("ships.json", "EPSG:32611", r"ships\.json is in pixels"),
        ("ships.gpkg", "EPSG:1", "out-crs: CRS 'EPSG:1': not known"),
        ("ships.gpkg", "EPSG:4978", "out-crs: found EPSG:4978; expected a CRS of a map or of degrees"),
        ("ships.gpkg", "harbour.tif", "out-crs: CRS 'harbour.tif': not a code or WKT"),
    ],
)
def test_a_crs_that_does_not_fit_is_told(out: str, crs: str, said: str, scene: Path, tmp_path: Path):
    with pytest.raises(InputError, match=said) as error:
        detect(scene, predictor=BrightBoxes(), out=tmp_path / out, out_crs=crs, **TILES)
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())


def test_a_geopackage_has_a_style_that_qgis_takes_by_itself(scene: Path, tmp_path: Path):
    out = tmp_path / "counts.gpkg"
    count(scene, predictor=BrightBoxes(), out=out, no_prior=True, tile=96)
    with closing(sqlite3.connect(out)) as database:
        query = "SELECT f_table_schema, f_table_name, f_geometry_column, useAsDefault, styleQML FROM layer_styles"
        ((schema, table, column, default, qml),) = database.execute(query)
        listed = database.execute("SELECT data_type FROM gpkg_contents WHERE table_name = 'layer_styles'").fetchone()
        geometry = database.execute("SELECT table_name, column_name FROM gpkg_geometry_columns").fetchone()
    assert (schema, table, column, default) == ("", "count", "geom", 1) and geometry == ("count", "geom")
    assert listed == ("attributes",), "GDAL, and so QGIS, shows no table that is not listed"
    said = [rule.get("label") for rule in ElementTree.fromstring(qml).iter("rule")]
    assert said == [
        "ship counted",
        "aircraft counted",
        "asked, none there",
        "not asked",
        "answer not readable, or withheld",
    ]


@pytest.mark.parametrize("task", ["detect", "count", "localize", "classify", "describe"])
def test_every_rule_of_a_style_has_its_symbol_and_names_are_quoted(task: str):
    root = ElementTree.fromstring(style(task, {"ship": (1, 2, 3), "cap d'Agde": (4, 5, 6)}))
    symbols = {symbol.get("name") for symbol in root.iter("symbol")}
    assert {rule.get("symbol") for rule in root.iter("rule")} == symbols and len(symbols) > 0
    filters = [rule.get("filter") or "" for rule in root.iter("rule")]
    assert filters[-1] == "ELSE", "no feature is invisible"
    assert all("'cap d''Agde'" in one for one in filters if "Agde" in one)


def test_a_frame_of_geopandas(ships: SceneResult, counts: SceneResult):
    frame = ships.to_gdf()
    assert frame.crs == "EPSG:4326" and list(frame["label"]) == ["ship"] * len(SHIPS)
    metres = ships.to_gdf(crs=CRS)
    assert np.allclose(metres.bounds, [grid_bounds(place.box) for place in ships.places], atol=1e-3)
    assert set(counts.to_gdf()["kind"]) == {"tile"}
    with pytest.raises(InputError, match="out-crs: CRS 'nowhere'"):
        ships.to_gdf(crs="nowhere")


def test_detections_of_supervision(ships: SceneResult, counts: SceneResult, monkeypatch: pytest.MonkeyPatch):
    stub = SimpleNamespace(Detections=SimpleNamespace)
    monkeypatch.setitem(sys.modules, "supervision", stub)
    found = ships.to_supervision()
    assert found.xyxy.dtype == np.float32 and found.xyxy.tolist() == [list(place.box) for place in ships.places]
    assert found.class_id.tolist() == [0] * len(SHIPS) and found.confidence is None
    assert found.data["class_name"].tolist() == ["ship"] * len(SHIPS)
    with pytest.raises(InputError, match="to_supervision: found the places of count; expected those of detect"):
        counts.to_supervision()
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(InputError, match=r"to_supervision needs supervision; this brings it: pip install supervision$"):
        ships.to_supervision()


def test_a_layer_of_folium(ships: SceneResult, counts: SceneResult, monkeypatch: pytest.MonkeyPatch):
    folium = pytest.importorskip("folium")
    layer = ships.to_folium()
    map_ = folium.Map()
    layer.add_to(map_)
    (south, west), (north, east) = layer.get_bounds()
    assert -118.1 < west < east < -118 and 33.4 < south < north < 33.5
    page = map_.get_root().render()
    assert "#ff8c3c" in page and "heading_within_deg" in page
    hostile = Place((0, 0, 9, 9), {"label": "<script>alert(1)</script>"})
    places = replace(ships, places=[hostile]).to_folium()
    assert "<script>alert" not in json.dumps(places.data) and "&lt;script&gt;" in json.dumps(places.data)
    assert len(counts.to_folium().data["features"]) == len(counts.places)
    monkeypatch.setitem(sys.modules, "folium", None)
    with pytest.raises(InputError, match=r"to_folium needs folium; this brings it: .*\[maps\]"):
        ships.to_folium()


def test_a_plot_in_pixels_of_the_scene(ships: SceneResult, counts: SceneResult):
    axes = ships.plot()
    assert axes.get_xlim() == (0, 200) and axes.get_ylim() == (200, 0)
    assert axes.get_title() == "5 ships in harbour.tif"
    (boxes,) = axes.collections
    assert len(boxes.get_paths()) == len(SHIPS)
    assert len(counts.plot(axes).collections) > 2
    plt.close("all")


def test_none_and_skipped_look_different_and_the_legend_counts_them(counts: SceneResult):
    states = [place.state for place in counts.places]
    assert {"found", "skipped"} <= set(states)
    picture = ScenePicture(Image.new("RGB", (400, 100), (60, 60, 60)), 1.0)
    rows = [
        Place((0, 0, 100, 100), {"kind": "tile", "count": 2, "skipped": ""}),
        Place((100, 0, 200, 100), {"kind": "tile", "count": 0, "skipped": ""}),
        Place((200, 0, 300, 100), {"kind": "tile", "count": 0, "skipped": "nothing stands out"}),
        Place((300, 0, 400, 100), {"kind": "tile", "count": None, "skipped": ""}),
    ]
    assert [row.state for row in rows] == ["found", "none", "skipped", "unread"]
    drawn = np.asarray(draw(picture, rows, Drawn("title", target="ship"), None), int)
    top = int(np.argmax((drawn != 255).any(2).mean(1) > 0.5))
    tiles = [drawn[top + 30 : top + 95, left + 30 : left + 95].reshape(-1, 3) for left in (0, 100, 200, 300)]
    # Filled; as it was; hatched, so of two colours; filled with another colour.
    assert [len(np.unique(tile, axis=0)) for tile in tiles] == [1, 1, 2, 1]
    assert tuple(tiles[1][0]) == (60, 60, 60) and len({tuple(tile[0]) for tile in (tiles[0], tiles[1], tiles[3])}) == 3
    said = [text for _, text in legend_of(rows, Drawn("title", target="ship"))]
    assert said == [
        "ships counted (2 in 1 tiles)",
        "asked, none there (1)",
        "answer not readable (1)",
        "not asked: nothing stands out (1)",
    ]


@pytest.mark.parametrize(("verb", "told"), [(localize, "cells with ships"), (classify, "ship (")])
def test_the_legends_of_the_other_layers(verb: Any, told: str, scene: Path):
    result = verb(scene, predictor=BrightBoxes(), no_prior=True, tile=48)
    said = [text for _, text in legend_of(result.places, result.drawn)]
    assert any(text.startswith(told) for text in said) and any(text.startswith("not asked: nothing") for text in said)
    assert {place.state for place in result.places} >= {"found", "skipped"}


def test_descriptions_stand_beside_the_picture(scene: Path, tmp_path: Path):
    out = tmp_path / "words.png"
    result = describe(scene, predictor=BrightBoxes(), no_prior=True, tile=96, quicklook=out)
    plain = detect(scene, predictor=BrightBoxes(), **TILES, quicklook=tmp_path / "ships.png")
    with Image.open(out) as words, Image.open(tmp_path / "ships.png") as boxes:
        assert words.width > 1.4 * boxes.width and plain.places
        beside = np.asarray(words.convert("L"))[:, boxes.width :]
    assert {place.properties["description"] for place in result.places} == {"Water."}
    assert (beside < 100).sum() > 50, "letters"


def test_the_scale_bar_is_as_long_as_it_says():
    """50 m pixels, 800 across: a quarter is 10 km, and the bar of it 200 pixels."""
    whole = np.asarray(framed(Image.new("RGB", (800, 300)), Around("title"), 50.0))
    # Beside it stands what it says.
    dark = np.all(whole[-44:, :220] < 60, axis=2)
    # A pixel more for the second tick.
    assert dark.sum(1).max() == 202
    legend = [(Mark((255, 0, 0)), "a mark " * 40)] * 3
    assert framed(Image.new("RGB", (20, 20)), Around("t" * 400, ["n" * 400], legend), None).width == 560
