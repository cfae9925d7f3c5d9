"""Whole runs over small scenes, with a model that boxes what is bright."""

import json
import shutil
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import rasterio
from PIL import Image
from pyogrio.raw import read as read_layer
from rasterio.transform import rowcol
from rasterio.warp import transform

from fusargpt.errors import InputError, NoPriorError
from fusargpt.inference.predict import FusarGpt
from fusargpt.scenes import classify, count, describe, detect, localize, quicklook
from tests.fusargpt.scenes.scenes import CRS, SHIPS, SIDE, TRANSFORM, BrightBoxes, write_field, write_scene
from tests.tiny import tiny_model, tiny_processor

TILES: dict[str, Any] = {"tile": 96, "overlap": 24, "batch_size": 4}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory):
    return write_scene(tmp_path_factory.mktemp("scene") / "harbour.tif")


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory):
    return str(write_field(tmp_path_factory.mktemp("aef")))


def pixels(feature: Any) -> tuple[int, ...]:
    """The bounds of a polygon in pixels of the scene."""
    points = np.array(feature["geometry"]["coordinates"][0])
    x, y = cast(Any, transform)("EPSG:4326", CRS, *points.T)
    rows, columns = rowcol(TRANSFORM, x, y, op=lambda value: value)
    return tuple(round(float(edge)) for edge in (min(columns), min(rows), max(columns), max(rows)))


def test_ships_are_boxed_once_where_they_lie_on_earth(scene: Path, field: Any, tmp_path: Path):
    model = BrightBoxes()
    result = detect(scene, predictor=model, aef=field, out=tmp_path / "ships.geojson", **TILES)
    collection = json.loads((tmp_path / "ships.geojson").read_text())
    assert sorted(pixels(feature) for feature in collection["features"]) == sorted(SHIPS)
    about, properties = collection["fusargpt"], collection["features"][0]["properties"]
    assert properties["label"] == "ship" and properties["prior"] == "AlphaEarth 2023" and properties["anchors"] > 0
    assert properties["scene"] == str(scene)
    assert about["acquired"] == "2023-06-01" and about["polarization"] == "VV" and "Google" in about["attribution"]
    assert about["tiles"] == result.provenance["tiles"] and about["tiles"]["failed"] == 0
    # The prior of each tile is that of its place.
    assert all(prior is not None and len(prior.embeddings) for _, _, prior in model.asked)
    assert list(tmp_path.iterdir()) == [tmp_path / "ships.geojson"], "no journal is left"


def test_tiles_in_which_nothing_stands_out_are_not_asked(scene: Path):
    model, all_of_them = BrightBoxes(), BrightBoxes()
    result = detect(scene, predictor=model, no_prior=True, **TILES)
    everything = detect(scene, predictor=all_of_them, no_prior=True, no_skip=True, **TILES)
    assert 0 < len(model.asked) == result.provenance["tiles"]["asked"] < len(all_of_them.asked) == 9
    assert [place.box for place in result.places] == [place.box for place in everything.places]


def test_chosen_decibels_are_black_and_white_in_every_tile(scene: Path, tmp_path: Path):
    model = BrightBoxes()
    result = detect(scene, predictor=model, no_prior=True, no_skip=True, decibels=(-90, 90), **TILES)
    assert result.provenance["stretch"] == [-90, 90]
    with rasterio.open(scene) as dataset:
        expected = (dataset.read(1)[:96, :96] + 90) / 180 * 255
    assert np.abs(model.asked[0][0][..., 0] - expected).max() <= 1
    Image.fromarray(np.arange(96 * 96, dtype=np.uint8).reshape(96, 96)).save(tmp_path / "grey.tif")
    with pytest.raises(InputError, match=r"decibels: .* holds 8-bit grey levels"):
        count(tmp_path / "grey.tif", predictor=model, no_prior=True, decibels=(-25, 0), tile=96)
    for limits in ((0, -25), (-25, float("nan")), (-500, 0)):
        with pytest.raises(InputError, match=r"decibels: found .*, ascending"):
            detect(scene, predictor=model, no_prior=True, decibels=limits)


def test_a_tile_at_the_edge_is_not_blown_up_and_no_ship_counts_twice(scene: Path):
    """200 pixels in tiles of 96: the third is 8 of them wide, and black beyond the edge."""
    model = BrightBoxes()
    result = count(scene, predictor=model, no_prior=True, no_skip=True, tile=96, batch_size=4)
    assert {seen.shape[:2] for seen, _, _ in model.asked} == {(96, 96)}
    slivers = [seen for seen, _, _ in model.asked if not seen[:, 8:].any()]
    assert len(slivers) == 2 and all(seen[:, :8].any() for seen in slivers)
    boxes = [place.box for place in result.places]
    area = sum((x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in boxes)
    assert area < SIDE * SIDE + 1, "no place lies in two tiles"


def test_a_scene_that_is_smaller_than_a_tile_is_seen_whole_and_large(tmp_path: Path):
    path = write_scene(tmp_path / "chip.tif", ships=((20, 20, 32, 26),), side=60)
    model = BrightBoxes()
    chip = detect(path, predictor=model, no_prior=True)
    ((pixels, _, _),) = model.asked
    assert pixels.shape[:2] == (60, 60) and chip.provenance["tile"] == 60
    assert chip.provenance["tiles"]["asked"] == 1 and len(chip.places) == 1
    assert chip.places[0].box == pytest.approx((20, 20, 32, 26), abs=1)
    assert count(path, predictor=BrightBoxes(), no_prior=True).places[0].properties["count"] == 1
    assert detect(path, predictor=BrightBoxes(), no_prior=True, tile=96).provenance["tile"] == 96


def test_a_run_that_was_cut_goes_on(scene: Path, tmp_path: Path):
    out = tmp_path / "ships.geojson"
    model = BrightBoxes()
    model.fail_after = 4
    with pytest.raises(KeyboardInterrupt):
        detect(scene, predictor=model, out=out, no_prior=True, no_skip=True, **TILES)
    assert len(model.asked) == 4 and not out.exists()
    with pytest.raises(InputError, match=r"a run with target \"ship\", now \"aircraft\""):
        detect(scene, target="aircraft", predictor=model, out=out, no_prior=True, no_skip=True, **TILES)
    model.fail_after = None
    tiles: dict[str, Any] = {**TILES, "batch_size": 2}
    result = detect(scene, predictor=model, out=out, no_prior=True, no_skip=True, **tiles)
    assert len(model.asked) == 9 and len(result.places) == len(SHIPS)
    assert list(tmp_path.iterdir()) == [out]


def test_a_block_that_cannot_be_read_costs_its_tiles_alone(tmp_path: Path):
    path = write_scene(tmp_path / "damaged.tif", tiled=True, blockxsize=96, blockysize=96, compress="deflate")
    with rasterio.open(path) as dataset:
        offset = int(dataset.get_tag_item("BLOCK_OFFSET_1_1", "TIFF", bidx=1))
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\xff" * 300)
    out = tmp_path / "ships.geojson"
    model = BrightBoxes()
    result = detect(path, predictor=model, out=out, no_prior=True, no_skip=True, tile=96, overlap=0)
    assert [failure.id for failure in result.failures] == ["96,96"]
    assert "damaged.tif" in result.failures[0].reason
    assert len(json.loads(out.read_text())["features"]) >= 2
    # What was answered is kept, and the next run tries the failed tile alone.
    asked = len(model.asked)
    detect(path, predictor=model, out=out, no_prior=True, no_skip=True, tile=96, overlap=0)
    assert len(model.asked) == asked


def test_a_tile_on_which_the_model_stumbles_costs_itself_alone(
    scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    out = tmp_path / "ships.geojson"
    plain = BrightBoxes.answers

    def stumble(self: Any, images: Any, *rest: Any):
        if any(np.array_equal(image, unlucky) for image in images):
            raise RuntimeError("an illegal memory access was encountered")
        return plain(self, images, *rest)

    whole = BrightBoxes()
    expected = detect(scene, predictor=whole, no_prior=True, no_skip=True, **TILES)
    unlucky = whole.asked[4][0]
    monkeypatch.setattr(BrightBoxes, "answers", stumble)
    result = detect(scene, predictor=BrightBoxes(), out=out, no_prior=True, no_skip=True, **TILES)
    (failure,) = result.failures
    assert failure.reason == "an illegal memory access was encountered"
    assert result.provenance["tiles"] == {**expected.provenance["tiles"], "asked": 8, "failed": 1}
    monkeypatch.undo()
    again = BrightBoxes()
    result = detect(scene, predictor=again, out=out, no_prior=True, no_skip=True, **TILES)
    assert len(again.asked) == 1 and result.places == expected.places


def test_a_scene_without_a_place_gives_boxes_in_pixels(tmp_path: Path):
    path = write_scene(tmp_path / "plain.tif", georeferenced=False)
    detect(path, predictor=BrightBoxes(), out=tmp_path / "ships.json", no_prior=True, **TILES)
    content = json.loads((tmp_path / "ships.json").read_text())
    boxes = sorted(tuple(annotation["bbox"]) for annotation in content["annotations"])
    assert boxes == sorted((x1, y1, x2 - x1, y2 - y1) for x1, y1, x2, y2 in SHIPS)
    assert content["images"] == [{"id": 1, "file_name": "plain.tif", "width": SIDE, "height": SIDE}]
    assert {annotation["category_id"] for annotation in content["annotations"]} == {1}
    with pytest.raises(InputError, match=r"no georeference; or write pixels, to .*ships.json"):
        detect(path, predictor=BrightBoxes(), out=tmp_path / "ships.geojson", no_prior=True)
    with pytest.raises(NoPriorError, match=r"no georeference, so that no place is known.*--no-prior"):
        detect(path, predictor=BrightBoxes(), aef="anywhere")


def test_a_geopackage_holds_the_same(scene: Path, tmp_path: Path):
    out = tmp_path / "ships.gpkg"
    result = detect(scene, predictor=BrightBoxes(), out=out, no_prior=True, **TILES)
    meta, _, geometry, columns = read_layer(out, layer="detect")
    assert meta["crs"] == "EPSG:4326" and len(geometry) == len(result.places)
    found = dict(zip(meta["fields"], columns, strict=True))
    assert set(found["label"]) == {"ship"} and set(found["prior"]) == {"none"}
    assert list(tmp_path.iterdir()) == [out]
    empty = write_scene(tmp_path / "empty.tif", ships=())
    detect(empty, predictor=BrightBoxes(), out=tmp_path / "none.gpkg", no_prior=True, **TILES)
    assert len(read_layer(tmp_path / "none.gpkg", layer="detect")[2]) == 0


def test_the_other_tasks_are_layers_over_a_grid(scene: Path, tmp_path: Path):
    options: dict[str, Any] = {"predictor": BrightBoxes(), "no_prior": True, "tile": 96}
    counts = count(scene, out=tmp_path / "counts.geojson", **options)
    layer = json.loads((tmp_path / "counts.geojson").read_text())
    tiles = {feature["properties"]["tile"]: feature["properties"]["count"] for feature in layer["features"]}
    # The ship where tiles meet shows in several; what is skipped counts none, what holds no data is left out.
    assert tiles["0,0"] == 2 and tiles["0,96"] == 2 and "0,192" not in tiles and len(tiles) == 6
    assert sum(place.properties["count"] for place in counts.places) >= len(SHIPS)
    cells = localize(scene, **options).places
    named = [place for place in cells if place.properties["kind"] == "cell"]
    assert (0.0, 32.0, 32.0, 64.0) in [place.box for place in named]
    assert {place.properties["class"] for place in classify(scene, **options).places} <= {"ship", "none"}
    described = describe(scene, **options)
    assert described.provenance["tiles"]["nothing stands out"] == 0
    assert {place.properties["description"] for place in described.places} == {"Water."}


def test_where_the_field_ends_tiles_have_no_anchors_and_say_so(scene: Path, tmp_path: Path):
    west = str(write_field(tmp_path / "aef", columns=96))
    result = detect(scene, predictor=BrightBoxes(), aef=west, no_skip=True, **TILES)
    assert 0 < result.provenance["tiles"]["asked without anchors"] < 9
    assert {place.properties["anchors"] == 0 for place in result.places} == {True, False}
    with pytest.raises(NoPriorError, match=r"harbour\.tif: year 2019.*found 2023; choose another year or field"):
        detect(scene, predictor=BrightBoxes(), aef=west, year=2019)


def test_a_resolution_gives_the_tile(scene: Path):
    model = BrightBoxes()
    result = detect(scene, predictor=model, no_prior=True, no_skip=True, resolution_m=5.0)
    # 96 pixels of 5 m are 48 of 10 m.
    assert result.provenance["tile"] == 48 and model.asked[0][0].shape == (48, 48, 3)


def test_an_answer_that_cannot_be_read_is_told(scene: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(BrightBoxes, "answers", lambda self, images, *_: ["{no json"] * len(images))
    result = detect(scene, predictor=BrightBoxes(), no_prior=True, **TILES)
    assert not result.places and len(result.problems) == result.provenance["tiles"]["asked"]


def test_the_quicklook_marks_what_was_found(scene: Path, tmp_path: Path):
    detect(scene, predictor=BrightBoxes(), no_prior=True, quicklook=tmp_path / "ships.png", **TILES)
    picture = np.asarray(Image.open(tmp_path / "ships.png"))
    factor = picture.shape[1] // SIDE
    # Below the title, and as high as it is wide.
    top = int(np.argmax((picture != 255).any(2).all(1)))
    picture = picture[top : top + picture.shape[1]]
    x1, y1, _, y2 = (edge * factor for edge in SHIPS[0])
    assert factor == 10 and tuple(picture[(y1 + y2) // 2, x1 - 2]) == (255, 140, 60)
    assert tuple(picture[y1 + 20, x1 + 20]) == (255, 255, 255)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "aef and no_prior"),
        ({"no_prior": True, "aef": "root"}, "aef and no_prior"),
        ({"no_prior": True, "tile": 10}, "tile: found 10"),
        ({"no_prior": True, "tile": 96, "resolution_m": 5.0}, "tile and resolution"),
        ({"no_prior": True, "band": 2}, "no band 2"),
        ({"no_prior": True, "polarization": "HH"}, "no band is 'HH'; found VV"),
        ({"no_prior": True, "tile": 96, "overlap": 96}, "overlap: found 96"),
        ({"no_prior": True, "out": "ships.txt"}, r"ships\.txt; expected a name that ends in \.geojson"),
        ({"no_prior": True, "out": "nowhere/ships.geojson"}, "no folder"),
        (
            {"no_prior": True, "target": "car"},
            "target: found 'car', which the model was not trained to find; it knows ship, aircraft",
        ),
        ({"no_prior": True, "target": "a, b"}, "target: found 'a, b'; expected the name of a class"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(scene: Path, options: dict[str, Any], said: str):
    with pytest.raises(InputError, match=said) as error:
        detect(scene, predictor=BrightBoxes(), **options)
    assert "\n" not in str(error.value)


def test_the_other_tasks_write_pixels_too(tmp_path: Path):
    path = write_scene(tmp_path / "plain.tif", georeferenced=False)
    result = count(path, predictor=BrightBoxes(), no_prior=True, out=tmp_path / "counts.json", tile=96)
    content = json.loads((tmp_path / "counts.json").read_text())
    assert content["image"] == {"file_name": "plain.tif", "width": SIDE, "height": SIDE}
    assert content["fusargpt"]["read_as"]["stored"] == "decibels"
    tiles = {tuple(place["bbox"]): place["count"] for place in content["places"]}
    assert tiles[0, 0, 96, 96] == 2 and len(tiles) == len(result.places) == 6


def test_an_option_that_does_not_exist_is_refused(scene: Path):
    with pytest.raises(TypeError):
        detect(scene, predictor=BrightBoxes(), no_prior=True, tyle=3)


@pytest.mark.parametrize("suffix", [".geojson", ".json", ".gpkg", ".parquet"])
def test_a_full_disk_costs_no_answer(suffix: str, scene: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch):
    """Neither for the map nor for its picture; the same call asks nothing again."""
    model, out = BrightBoxes(), small_disk / f"ships{suffix}"
    answers = BrightBoxes.answers

    def fill(self: BrightBoxes, *arguments: Any) -> list[str]:
        found = answers(self, *arguments)
        if len(self.asked) == 9:
            (small_disk / "other").write_bytes(bytes(shutil.disk_usage(small_disk).free - 8192))
        return found

    monkeypatch.setattr(BrightBoxes, "answers", fill)
    monkeypatch.setattr("fusargpt.scenes.writing.json.dump", lambda content, file: file.write(json.dumps(content) * 9))
    options: dict[str, Any] = {"no_prior": True, "no_skip": True, "predictor": model, **TILES, "batch_size": 9}
    with pytest.raises(InputError) as caught:
        detect(scene, out=out, **options)
    line = str(caught.value)
    assert line.startswith(f"{out}: no room left in {small_disk} (")
    assert line.endswith("; the answers are kept; make room, and the same command asks nothing again")
    assert "\n" not in line and not out.exists()
    (small_disk / "other").unlink()
    draw = quicklook.draw

    def fill_again(*arguments: Any) -> Image.Image:
        (small_disk / "other").write_bytes(bytes(shutil.disk_usage(small_disk).free - 8192))
        return draw(*arguments)

    monkeypatch.setattr(quicklook, "draw", fill_again)
    with pytest.raises(InputError, match=rf"^{small_disk}/ships\.png: no room left in"):
        detect(scene, out=out, quicklook=small_disk / "ships.png", **options)
    assert out.exists() and len(model.asked) == 9, "the map is there, and nothing was asked again"
    (small_disk / "other").unlink()
    monkeypatch.undo()
    assert len(detect(scene, out=out, **options).places) == len(SHIPS)
    assert len(model.asked) == 9 and list(small_disk.iterdir()) == [out]


def test_a_closed_folder_is_said_before_a_model_is_loaded(scene: Path, tmp_path: Path, closed_folder: Path):
    outputs: Any
    for outputs in (
        {"out": closed_folder / "ships.geojson"},
        {"out": tmp_path / "ships.geojson", "quicklook": closed_folder / "ships.png"},
    ):
        with pytest.raises(InputError, match=r"closed/ships\.\w+: cannot be written \(Read-only file system\)"):
            detect(scene, no_prior=True, model="nowhere", **outputs)
    with pytest.raises(InputError, match="is the scene itself; choose another file to write"):
        detect(scene, no_prior=True, out=tmp_path / "ships.json", quicklook=scene)
    assert list(tmp_path.iterdir()) == [closed_folder]


def test_two_runs_on_one_output(scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    out, refused = tmp_path / "ships.geojson", list[str]()
    answers = BrightBoxes.answers

    def second(self: BrightBoxes, *arguments: Any) -> list[str]:
        if not refused:
            with pytest.raises(InputError) as caught:
                detect(scene, predictor=BrightBoxes(), out=out, no_prior=True, **TILES)
            refused.append(str(caught.value))
        return answers(self, *arguments)

    monkeypatch.setattr(BrightBoxes, "answers", second)
    assert detect(scene, predictor=BrightBoxes(), out=out, no_prior=True, **TILES).places
    assert refused[0].startswith(f"{out}: another run is at work on it (process ")
    assert list(tmp_path.iterdir()) == [out]


def test_a_question_that_is_no_text_is_refused_and_special_tokens_are_text(tmp_path: Path):
    path = write_scene(tmp_path / "harbour.tif", side=100, ships=((20, 30, 32, 36),))
    model = FusarGpt(tiny_model(), tiny_processor())
    chosen: dict[str, Any] = {"predictor": model, "no_prior": True, "tile": 48, "max_new_tokens": 3}
    with pytest.raises(InputError, match=r"question: found .ud800 at character 6"):
        detect(path, question="ships\ud800", **chosen)
    assert not detect(path, question="<|image_pad|> <|vision_end|>", **chosen).failures
