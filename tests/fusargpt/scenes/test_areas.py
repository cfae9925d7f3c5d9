"""A part of a scene, and its land: what is read, what is left out, and files of polygons in any CRS."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine

from fusargpt.errors import InputError
from fusargpt.geo.sar_scene import SarScene
from fusargpt.scenes import count, detect, localize
from fusargpt.scenes.areas import Area, area_of, land_of
from fusargpt.scenes.polygon_files import bounds_polygon, read_polygons
from tests.fusargpt.scenes.polygons import in_crs, write_geojson, write_layer
from tests.fusargpt.scenes.scenes import SHIPS, BrightBoxes, write_scene

TILES: dict[str, Any] = {"no_prior": True, "no_skip": True, "tile": 96, "batch_size": 4}
WGS84 = "EPSG:4326"


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory):
    return write_scene(tmp_path_factory.mktemp("scene") / "harbour.tif")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, float]]:
    """Left and top of every window that is read."""
    found: list[tuple[float, float]] = []
    plain = SarScene.read

    def read(self: SarScene, window: Any = None, band: int | None = None):
        found.append((window.col_off, window.row_off))
        return plain(self, window, band)

    monkeypatch.setattr(SarScene, "read", read)
    return found


def found_boxes(result: Any) -> set[tuple[int, ...]]:
    return {tuple(round(edge) for edge in place.box) for place in result.places}


def test_tiles_outside_of_the_area_are_never_read(scene: Path, reads: list[tuple[float, float]], tmp_path: Path):
    """An area over the upper left tile: the ship in it is found, and no other, even on tiles that are read."""
    (area,) = in_crs(WGS84, (5, 5, 85, 85))
    west, south, east, north = area.bounds
    picture = tmp_path / "ships.png"
    options: dict[str, Any] = {**TILES, "overlap": 24, "quicklook": picture, "predictor": BrightBoxes()}
    result = detect(scene, bbox=(west, south, east, north), **options)
    assert found_boxes(result) == {SHIPS[0]}
    # Tiles begin at 0, 52 and 104: two of them a way meet the area; the picture is of these alone.
    assert set(reads) == {(x, y) for x in (0, 52) for y in (0, 52)}
    assert result.provenance["tiles"]["asked"] == 4 and result.provenance["bbox"] == [west, south, east, north]
    assert result.provenance["left_out"] == {"outside the area": 1}
    assert result.source.window.width == 148 and picture.is_file()


@pytest.mark.parametrize("name", ["aoi.geojson", "old.geojson", "aoi.gpkg", "aoi.shp"])
def test_an_area_of_a_file_in_any_crs_is_the_same(name: str, scene: Path, tmp_path: Path):
    path, box = tmp_path / name, (100, 20, 190, 60)
    if name == "aoi.geojson":
        write_geojson(path, in_crs(WGS84, box))
    elif name == "old.geojson":
        # As before RFC 7946, and as QGIS writes it.
        crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32612"}}
        write_geojson(path, in_crs("EPSG:32612", box), crs=crs)
    else:
        write_layer(path, in_crs("EPSG:3857", box), "EPSG:3857")
    result = detect(scene, aoi=path, predictor=BrightBoxes(), **TILES)
    assert found_boxes(result) == {(150, 40, 156, 52)} and result.provenance["aoi"] == str(path)
    with SarScene.open(scene) as opened:
        area = area_of(opened, None, path)
    assert area is not None and np.abs(shapely.bounds(area.shape) - box).max() < 0.01


def test_ships_on_land_are_left_out_and_counted_and_whole_tiles_of_land_not_read(
    scene: Path, reads: list[tuple[float, float]], tmp_path: Path
):
    # The upper right tile as a whole, and half of the ship at (60, 160), its centre within.
    land = write_layer(tmp_path / "land.gpkg", in_crs("EPSG:3857", (95, -20, 300, 96), (40, 150, 66, 180)), "EPSG:3857")
    result = detect(scene, land=land, overlap=0, predictor=BrightBoxes(), **TILES)
    assert found_boxes(result) & set(SHIPS) == {SHIPS[0], SHIPS[4]}
    assert result.provenance["left_out"] == {"on land": 1} and (90, 92, 96, 96) in found_boxes(result)
    assert (96, 0) not in reads and result.provenance["tiles"]["on land"] == 2
    counted = count(scene, land=land, predictor=BrightBoxes(), **TILES)
    tile = next(place for place in counted.places if place.properties["tile"] == "96,0")
    assert tile.properties["count"] == 0 and tile.properties["skipped"] == "on land" and tile.state == "skipped"


def test_cells_that_are_land_as_a_whole_are_named_no_more(scene: Path, tmp_path: Path):
    # The ship of SHIPS[0] lies in cell 4 of the first tile, (0, 32) to (32, 64).
    land = write_geojson(tmp_path / "land.geojson", in_crs(WGS84, (-5, 30, 34, 66)))
    plain = localize(scene, predictor=BrightBoxes(), **TILES)
    result = localize(scene, land=land, predictor=BrightBoxes(), **TILES)
    assert plain.places[0].properties["cells"] == "4,9"
    assert result.places[0].properties["cells"] == "9" and result.provenance["left_out"] == {"on land": 1}
    assert len(result.places) == len(plain.places) - 1


def test_another_area_under_the_same_output_is_refused(scene: Path, tmp_path: Path):
    out, model = tmp_path / "ships.geojson", BrightBoxes()
    aoi = write_geojson(tmp_path / "aoi.geojson", in_crs(WGS84, (0, 0, 200, 200)))
    model.fail_after = 4
    with pytest.raises(KeyboardInterrupt):
        detect(scene, aoi=aoi, out=out, predictor=model, **TILES)
    with pytest.raises(InputError, match=r"a run with aoi"):
        detect(scene, out=out, predictor=model, **TILES)
    model.fail_after = None
    asked = len(model.asked)
    assert detect(scene, aoi=aoi, out=out, predictor=model, **TILES).places and len(model.asked) > asked == 4


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"bbox": (10, 10, 11, 11)}, r"bbox: lies beside the scene, which is at -118\.\d+ to -118\.\d+ degrees"),
        ({"bbox": (-118, 34, -119, 33)}, "bbox: found -118 34 -119 33; expected west, south, east, north"),
        ({"bbox": (400_000, 3, 400_100, 4)}, "bbox: found 400000 3"),
        ({"bbox": (-118, 33, -117, 34), "aoi": "aoi.geojson"}, "bbox and aoi: expected one of them"),
        ({"aoi": "aoi.kml"}, r"aoi: aoi\.kml: expected polygons in a file that ends in \.geojson"),
        ({"aoi": "none.gpkg"}, r"aoi: none\.gpkg: no such file"),
        ({"land": "none.gpkg"}, r"land: none\.gpkg: no such file"),
        ({"land": "none.gpkg", "target": "aircraft"}, "land: found detect of aircraft; what lies on land is no ship"),
    ],
)
def test_what_does_not_fit_is_one_line(scene: Path, options: dict[str, Any], said: str):
    with pytest.raises(InputError, match=said) as error:
        detect(scene, predictor=BrightBoxes(), **TILES, **options)
    assert "\n" not in str(error.value)


def test_an_area_needs_a_place(tmp_path: Path):
    path = write_scene(tmp_path / "plain.tif", georeferenced=False)
    with pytest.raises(InputError, match="bbox: the scene has no georeference; leave it out"):
        detect(path, bbox=(0, 0, 1, 1), predictor=BrightBoxes(), **TILES)


def test_files_that_are_no_polygons_are_told(tmp_path: Path):
    def told(name: str) -> str:
        with pytest.raises(InputError) as error:
            read_polygons(tmp_path / name)
        assert "\n" not in str(error.value) and str(error.value).startswith(str(tmp_path / name))
        return str(error.value)

    write_geojson(tmp_path / "points.geojson", [shapely.Point(1, 2)])
    assert "found Point; expected polygons" in told("points.geojson")
    write_geojson(tmp_path / "metres.geojson", in_crs("EPSG:32611", (0, 0, 9, 9)))
    assert "that lie nowhere on Earth by EPSG:4326" in told("metres.geojson")
    for name, text in (("a", "{"), ("b", "[]"), ("c", '{"type": "FeatureCollection"}'), ("d", '{"type": "Polygon"}')):
        (tmp_path / f"{name}.geojson").write_text(text)
        told(f"{name}.geojson")
    (tmp_path / "empty.geojson").write_text('{"type": "FeatureCollection", "features": []}')
    assert "found no features; expected polygons" in told("empty.geojson")
    write_geojson(tmp_path / "crs.geojson", in_crs(WGS84, (0, 0, 9, 9)), crs={"type": "link"})
    assert "found no name of a CRS" in told("crs.geojson")
    # GDAL would follow what a virtual layer names, whatever the file is called.
    (tmp_path / "virtual.gpkg").write_text("<OGRVRTDataSource><OGRVRTLayer/></OGRVRTDataSource>")
    assert "no .gpkg file" in told("virtual.gpkg")
    (tmp_path / "damaged.gpkg").write_bytes(b"SQLite format 3\x00" + bytes(200))
    assert "cannot be read" in told("damaged.gpkg")
    write_layer(tmp_path / "two.gpkg", in_crs(WGS84, (0, 0, 9, 9)), layer="a")
    write_layer(tmp_path / "two.gpkg", in_crs(WGS84, (0, 0, 9, 9)), layer="b")
    assert "found 2 layers of places (a, b); expected one" in told("two.gpkg")


def test_across_the_antimeridian(tmp_path: Path):
    """A scene from 179.9 to -179.9 degrees, and areas on either side and across, however their longitudes go on."""
    with rasterio.open(
        tmp_path / "fiji.tif", "w", driver="GTiff", width=200, height=100, count=1, dtype="uint8", crs=WGS84,
        transform=Affine(1e-3, 0, 179.9, 0, -1e-3, -17),
    ) as dataset:  # fmt: skip
        dataset.write(np.arange(20000, dtype=np.uint8).reshape(1, 100, 200))
    for west, east in ((179.95, 180.05), (-180.05, -179.95)):
        write_geojson(tmp_path / "across.geojson", [shapely.box(west, -17.06, east, -17.02)])
        with SarScene.open(tmp_path / "fiji.tif") as scene:
            of_file = area_of(scene, None, tmp_path / "across.geojson")
            of_box = area_of(scene, (179.95, -17.06, -179.95, -17.02), None)
            land = land_of(scene, tmp_path / "across.geojson")
        for area in (of_file, of_box, land):
            assert isinstance(area, Area)
            assert shapely.area(area.shape) == pytest.approx(100 * 40, rel=1e-6)
            assert np.allclose(shapely.bounds(area.shape), (50, 20, 150, 60), atol=1e-6)
            assert area.covers([(60, 30, 140, 50), (40, 30, 140, 50)]).tolist() == [True, False]


def test_a_rectangle_has_two_parts_across_the_antimeridian():
    assert shapely.get_num_geometries(bounds_polygon((170, -10, -170, 10))) == 2
    assert shapely.bounds(bounds_polygon((170, -10, 175, 10))).tolist() == [170, -10, 175, 10]


def test_coordinates_of_a_land_file_beside_the_scene_are_no_land(scene: Path, tmp_path: Path):
    write_geojson(tmp_path / "far.geojson", [shapely.box(10, 10, 11, 11)])
    write_layer(tmp_path / "far.gpkg", [shapely.box(10, 10, 11, 11)])
    for name in ("far.geojson", "far.gpkg"):
        with SarScene.open(scene) as opened:
            land = land_of(opened, tmp_path / name)
        assert land is not None and shapely.is_empty(land.shape) and not land.outlines()
        assert not land.holds([(0, 0, 9, 9)]).any()
