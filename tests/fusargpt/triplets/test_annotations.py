"""Annotation files as sets publish them: the right boxes, or an error; never a scene without objects."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fusargpt.errors import InputError
from fusargpt.geo.geometry import WGS84, Geometry
from fusargpt.inference.rows import read_picture
from fusargpt.triplets.annotations import SceneBoxes, read_boxes
from fusargpt.triplets.boxes import LabelNames, assign
from fusargpt.triplets.build import build
from fusargpt.triplets.manifest import SceneRow, read_manifest
from fusargpt.triplets.scene_files import open_scene
from fusargpt.triplets.set_manifest import set_manifest
from fusargpt.triplets.settings import BuildSettings
from fusargpt.triplets.shards import CONFIGS
from fusargpt.triplets.voc import voc_entries
from tests.fusargpt.triplets.places import CORNERS, CRS, decibels, place_of, write_manifest, write_raster
from tests.paths import ROOT

CASES = ROOT / "tests" / "cases" / "geo"
SIDE = 504
TWO = [(100, 120, 140, 135), (300, 310, 322, 352)]


def read(path: Path, geometry: Geometry | None = None) -> SceneBoxes:
    return read_boxes(str(path), "/data/scene.tif", SIDE, SIDE, geometry, LabelNames(("ship", "aircraft"), {}))


def voc(path: Path, inside: str, head: str = "", encoding: str = "utf-8") -> Path:
    path.write_bytes(f"{head}<annotation>{inside}</annotation>".encode(encoding))
    return path


def box(label: str = "ship") -> str:
    edges = "<xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>40</ymax>"
    return f"<object><name>{label}</name><bndbox>{edges}</bndbox></object>"


def coco(path: Path, **changes: Any) -> Path:
    content: dict[str, Any] = {
        "images": [{"id": 1, "file_name": "scene.tif"}, {"id": 2, "file_name": "other.tif"}],
        "categories": [{"id": 1, "name": "ship"}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 29, 38]}],
    }
    path.write_text(json.dumps(content | changes))
    return path


@pytest.mark.parametrize(
    "name", ["voc_fair1m.xml", "voc_size_float.xml", "coco_string_image_id.json", "coco_float_size.json"]
)
def test_boxes_of_published_forms(name: str) -> None:
    found = read(CASES / name)
    assert [found.edges for found in found.boxes] == TWO and {found.label for found in found.boxes} == {"ship"}
    assert found.inside == 2 and not found.crowds


def test_a_crowd_is_no_ship_and_nothing_is_asked_of_which_it_changes_the_answer(tmp_path: Path) -> None:
    found = read(CASES / "coco_iscrowd_rle.json")
    assert [box.edges for box in found.boxes] == TWO[:1]
    assert [crowd.edges for crowd in found.crowds] == [(200, 200, 380, 360)]
    objects, cut = assign(found.boxes, (0, 0, SIDE, SIDE), 0.5, found.crowds)
    assert len(objects) == 1 and cut == ("ship",)
    # A chip that shows nothing of the crowd is asked as ever.
    assert assign(found.boxes, (0, 0, 190, 190), 0.5, found.crowds) == (found.boxes, ())
    # From end to end: no question about ships, and no description of a chip whose ships nobody has counted.
    Image.effect_noise((SIDE, SIDE), 40).save(tmp_path / "scene.png")
    annotations = json.loads((CASES / "coco_iscrowd_rle.json").read_text())
    annotations["images"][0]["file_name"] = "scene.png"
    (tmp_path / "boxes.json").write_text(json.dumps(annotations))
    manifest = write_manifest(tmp_path / "m.jsonl", [{"scene": "scene.png", "boxes": "boxes.json"}])
    report = build(manifest, tmp_path / "out", BuildSettings(missing_prior="empty"), workers=0)
    assert report.counts["chips with cut objects"] == 1 and not report.failures
    assert not [shard for shard in report.shards if shard.startswith(CONFIGS[1])]


@pytest.mark.parametrize("mark", [True, "1", 1])
@pytest.mark.parametrize("name", ["iscrowd", "ignore"])
def test_marks_of_a_crowd(name: str, mark: object, tmp_path: Path) -> None:
    annotation = {"image_id": 1, "category_id": 1, "bbox": [1, 2, 29, 38], name: mark}
    found = read(coco(tmp_path / "a.json", annotations=[annotation]))
    assert (len(found.boxes), len(found.crowds), found.inside) == (0, 1, 1)


@pytest.mark.parametrize(
    "text",
    [
        box().upper().replace(">SHIP<", ">ship<"),
        f"<Objects>{box().replace('object>', 'Object>').replace('bndbox', 'BndBox').replace('xmin', 'XMin')}</Objects>",
        f"<size><width> {SIDE}.0 </width><height>{SIDE}</height></size>{box()}",
        f"<size><width/><height/></size>{box()}",
        "<objects><object><possibleresult><name>ship</name></possibleresult><points><point>1,2</point>"
        "<point>30 , 2</point><point>30 40</point><point><x>1</x><y>40</y></point></points></object></objects>",
    ],
)
def test_forms_of_voc(text: str, tmp_path: Path) -> None:
    assert [one.edges for one in read(voc(tmp_path / "a.xml", text)).boxes] == [(1, 2, 30, 40)]


@pytest.mark.parametrize(
    ("encoding", "declared"), [("gb2312", "GB2312"), ("gbk", "gbk"), ("gb18030", "gb2312"), ("utf-16", "UTF-16")]
)
def test_encodings_of_voc(encoding: str, declared: str, tmp_path: Path) -> None:
    text = f"<folder>舰船</folder>{box()}"
    path = voc(tmp_path / "a.xml", text, f'<?xml version="1.0" encoding="{declared}"?>\n', encoding)
    assert len(read(path).boxes) == 1
    with pytest.raises(InputError, match="label '舰船' is not known; say what it is with --label 舰船=NAME"):
        read(voc(tmp_path / "b.xml", box("舰船"), f"<?xml version='1.0' encoding='{declared}'?>", encoding))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        # Objects that were not known for ones.
        (f"<items>{box().replace('object', 'item')}</items>", "<bndbox> is in no <object>; expected objects as"),
        (
            "<ship><x1>1</x1><y1>2</y1><x2>30</x2><y2>40</y2></ship>",
            "<ship> is in no <object>",
        ),
        (f"{box()}<item><bndbox/></item>", "<bndbox> is in no <object>"),
        (
            "<object><name>ship</name><robndbox><cx>9</cx></robndbox></object>",
            "object 1: found None; expected a number",
        ),
        (box().replace("xmin>1<", "xmin><"), "object 1: found ''; expected a number"),
        (box().replace("xmin", "left"), "object 1: found None; expected a number"),
        (box().replace("</object>", "<bndbox/></object>"), r"object 1: found 2 <bndbox> in <object>; expected one"),
        (
            box().replace("<bndbox>", "<name>barge</name><bndbox>"),
            "object 1: found the names barge, ship; expected one",
        ),
        ("<object><coordinate>geodetic</coordinate><points/></object>", "object 1: coordinate: found 'geodetic'"),
        ("<object><points><point>1,2,3</point></points></object>", "object 1: point: found '1,2,3'; expected x,y"),
        ("<object><points><point>1,2</point></points></object>", "object 1: points: found 1; expected the corners"),
        (f"<size><width>800</width><height>{SIDE}</height></size>", "says that the image has 800 x 504 pixels"),
        (f"<size><width>wide</width><height>{SIDE}</height></size>", "says that the image has wide x 504 pixels"),
    ],
)
def test_voc_of_which_something_is_not_understood(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read(voc(tmp_path / "a.xml", text))
    assert str(caught.value).startswith(str(tmp_path / "a.xml")) and "\n" not in str(caught.value)


def test_voc_of_an_empty_image_with_more_about_it(tmp_path: Path) -> None:
    about = (
        "<filename>1_2_3_4.tif</filename><source><origin>GF3</origin></source><resolution>1.0</resolution><objects/>"
    )
    assert read(voc(tmp_path / "a.xml", about)).boxes == ()


def test_text_that_is_not_in_the_encoding_it_declares(tmp_path: Path) -> None:
    path = voc(tmp_path / "a.xml", box("舰船"), encoding="gbk")
    with pytest.raises(InputError, match="not utf-8 text, as it should be by its first line"):
        read(path)
    with pytest.raises(InputError, match=r"not XML \(unknown encoding: klingon\)"):
        read(voc(path, box(), '<?xml version="1.0" encoding="klingon"?>'))


@pytest.mark.parametrize(("image", "annotation"), [("1", 1), (1, "1"), (1.0, 1), ("000001", "1"), ("a", "a")])
def test_ids_of_coco_are_the_same_as_numbers_and_as_texts(image: object, annotation: object, tmp_path: Path) -> None:
    path = coco(
        tmp_path / "a.json",
        images=[{"id": image, "file_name": "train\\scene.tif", "width": str(SIDE), "height": float(SIDE)}],
        categories=[{"id": annotation, "name": "ship"}],
        annotations=[{"image_id": annotation, "category_id": image, "bbox": [1, 2, 29, 38]}],
    )
    assert [one.edges for one in read(path).boxes] == [(1, 2, 30, 40)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": [{"id": 1, "file_name": "scene.jpg"}]}, "0 images are called 'scene.tif'"),
        (
            {"annotations": [{"image_id": 3, "category_id": 1, "bbox": [1, 2, 3, 4]}]},
            "image_id: found 3, which no image",
        ),
        ({"annotations": [{"image_id": 1, "category_id": 9, "bbox": [1, 2, 3, 4]}]}, "category_id: found 9, which no"),
        ({"annotations": [{"image_id": 1, "category_id": 1, "bbox": []}]}, r"number 1: bbox: found \[\]; expected"),
        ({"annotations": [{"image_id": 1, "category_id": 1}]}, "number 1: no 'bbox'"),
        ({"annotations": [{"image_id": None, "category_id": 1}]}, "image_id: found None; expected a number or a text"),
        (
            {"annotations": [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "iscrowd": 2}]},
            "iscrowd: found 2; expected 0 or 1",
        ),
        (
            {"images": [{"id": 1, "file_name": "scene.tif"}, {"id": "1", "file_name": "b.tif"}]},
            "images: the id 1 is there twice",
        ),
        ({"annotations": None}, "not COCO as it should be; 'annotations' is no list"),
    ],
)
def test_coco_of_which_something_is_not_understood(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read(coco(tmp_path / "a.json", **changes))
    assert str(caught.value).startswith(str(tmp_path / "a.json")) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "crs",
    [
        "OGC:CRS84",
        "urn:ogc:def:crs:OGC:1.3:CRS84",
        "urn:ogc:def:crs:EPSG:9.9:4326",
        "http://www.opengis.net/def/crs/OGC/1.3/CRS84",
        "http://www.opengis.net/gml/srs/epsg.xml#4326",
        "WGS 84",
    ],
)
def test_names_of_longitude_and_latitude(crs: str, tmp_path: Path) -> None:
    path = tmp_path / "a.geojson"
    collection = {"type": "FeatureCollection", "features": []}
    for found in (crs, {"type": "name", "properties": {"name": crs}}, {"type": "EPSG", "properties": {"code": 4326}}):
        path.write_text(json.dumps({**collection, "crs": found}))
        assert read(path).boxes == ()
    for other in ("EPSG:32611", "EPSG:43261", "WGS 84 / UTM zone 11N"):
        path.write_text(json.dumps({**collection, "crs": {"type": "name", "properties": {"name": other}}}))
        with pytest.raises(InputError, match=r"crs .*; expected longitude and latitude"):
            read(path)


def test_a_file_of_polygons_of_which_none_lies_in_a_scene_is_an_error(tmp_path: Path) -> None:
    """One that has none in this scene, but some in another, says of this one that it is without objects."""
    rows = []
    for number, corner in enumerate(CORNERS[:2]):
        write_raster(tmp_path / f"{number}.tif", decibels(number), corner)
        rows.append({"scene": f"{number}.tif", "boxes": "ships.geojson", "year": 2021})
    manifest = write_manifest(tmp_path / "m.jsonl", rows)
    geometry = Geometry.from_affine(place_of(CORNERS[0])["transform"], CRS, 300, 200)
    west, south, east, north = geometry.bounds()
    x, y, step = (west + east) / 2, (south + north) / 2, (east - west) / 20
    ring = [[x, y], [x + step, y], [x + step, y + step], [x, y]]

    def write(positions: list[list[float]]) -> None:
        shape = {"type": "Polygon", "coordinates": [positions]}
        feature = {"type": "Feature", "properties": {"label": "ship"}, "geometry": shape}
        content = {"type": "FeatureCollection", "crs": WGS84, "features": [feature]}
        (tmp_path / "ships.geojson").write_text(json.dumps(content))

    settings = BuildSettings(missing_prior="empty", chip_size=0)
    write([[longitude + 10, latitude] for longitude, latitude in ring])
    report = build(manifest, tmp_path / "out", settings, workers=0)
    assert [failure.row.number for failure in report.failures] == [1, 2]
    assert "none of its 1 polygons lies in a scene of the manifest" in str(report.failures[0])
    write(ring)
    report = build(manifest, tmp_path / "out", settings, workers=0)
    assert not report.failures and sum(report.scenes.values()) == 2


def test_pictures_and_annotations_are_pairs(tmp_path: Path) -> None:
    for folder in ("images", "xml"):
        (tmp_path / folder).mkdir()
    places: dict[str, Any] = {"images": "images", "annotations": "xml"}
    for name in ("a.tif", "a.tiff"):
        Image.new("L", (40, 40)).save(tmp_path / "images" / name)
    voc(tmp_path / "xml" / "a.xml", box())
    with pytest.raises(InputError, match=r"a\.tif and a\.tiff are both 'a', of which there is one annotation"):
        set_manifest("voc", tmp_path, tmp_path / "m.csv", **places)
    (tmp_path / "images" / "a.tiff").rename(tmp_path / "images" / "b.bmp")
    voc(tmp_path / "xml" / "b.xml", box())
    with pytest.raises(InputError, match=r"b\.xml without a picture in"):
        set_manifest("voc", tmp_path, tmp_path / "m.csv", **places)


def test_a_place_that_cannot_be_written_is_said_before_pictures_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("images", "xml"):
        (tmp_path / folder).mkdir()
    Image.new("L", (40, 40)).save(tmp_path / "images" / "a.tif")
    voc(tmp_path / "xml" / "a.xml", "")
    places: dict[str, Any] = {"images": "images", "annotations": "xml"}
    monkeypatch.setattr("fusargpt.triplets.set_manifest._look", lambda row: pytest.fail(str(row)))
    with pytest.raises(InputError, match=r"m\.csv: cannot be written \(No such file or directory"):
        set_manifest("voc", tmp_path, tmp_path / "absent" / "m.csv", **places)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_pipes_are_not_waited_for(tmp_path: Path) -> None:
    for folder in ("images", "xml"):
        (tmp_path / folder).mkdir()
    places: dict[str, Any] = {"images": "images", "annotations": "xml"}
    os.mkfifo(tmp_path / "images" / "a.png")
    voc(tmp_path / "xml" / "a.xml", box())
    with pytest.raises(InputError, match=r"a\.png: a pipe, a device or a broken link; expected a picture"):
        set_manifest("voc", tmp_path, tmp_path / "m.csv", **places)
    (tmp_path / "images" / "a.png").unlink()
    Image.new("L", (40, 40)).save(tmp_path / "images" / "a.png")
    os.mkfifo(tmp_path / "list.txt")
    with pytest.raises(InputError, match=r"list\.txt: cannot be read \(a folder or a pipe\)"):
        set_manifest("voc", tmp_path, tmp_path / "m.csv", **places, splits={"train": "list.txt"})
    with pytest.raises(InputError, match=r"list\.txt: cannot be read \(no regular file\)"):
        voc_entries(str(tmp_path / "list.txt"), 40, 40)
    os.mkfifo(tmp_path / "manifest.csv")
    with pytest.raises(InputError, match=r"manifest\.csv: no regular file; expected a manifest"):
        read_manifest(tmp_path / "manifest.csv")
    for name in ("scene.png", "scene.tif"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(InputError, match=rf"{name}: no (regular|such) file"):
            open_scene(SceneRow("m.csv, row 2", 2, "a", str(tmp_path / name)))
    with pytest.raises(OSError, match="no regular file"):
        read_picture({"image": {"bytes": None, "path": str(tmp_path / "scene.png")}})
