"""Vectors of scenes, folders and datasets: what is in the file, what a cut run or an image that fails costs."""

import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rasterio
import shapely
from rasterio.transform import rowcol
from rasterio.warp import transform

from fusargpt.embedding.features import read_features
from fusargpt.embedding.verbs import embed
from fusargpt.errors import InputError
from tests.fusargpt.embedding.bright import bright_embedder
from tests.fusargpt.scenes.scenes import CRS, SIDE, TRANSFORM, write_field, write_scene
from tests.paths import DATASET, ROOT

TILES: dict[str, Any] = {"tile": 50, "no_prior": True, "batch_size": 4}
EXAMPLES = ROOT / "space_app" / "examples"


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scene(tmp_path_factory.mktemp("scene") / "harbour.tif")


def test_tiles_of_a_scene_have_unit_vectors_and_lie_where_they_are(scene: Path, tmp_path: Path):
    embedder, towers = bright_embedder()
    out = tmp_path / "harbour.parquet"
    embedded = embed(scene, out=out, embedder=embedder, **TILES)
    assert not embedded.failures and len(towers.seen) == 16
    features = read_features(out)
    assert np.array_equal(features.vectors, embedded.features.vectors)
    assert np.allclose(np.linalg.norm(features.vectors, axis=1), 1)
    ids = features.table["id"].to_pylist()
    assert len(set(ids)) == 16 and features.boxes[ids.index("50,100")].tolist() == [50, 100, 100, 150]
    outline = features.outline(ids.index("50,100"))
    assert outline is not None and shapely.is_ccw(shapely.get_exterior_ring(outline))
    x, y = cast(Any, transform)("EPSG:4326", CRS, *shapely.get_coordinates(outline).T)
    rows, columns = rowcol(TRANSFORM, x, y, op=lambda value: value)
    assert [round(float(edge)) for edge in (min(columns), min(rows), max(columns), max(rows))] == [50, 100, 100, 150]
    assert set(features.table["model"].to_pylist()) == {"bright"}
    assert "read as decibels" in features.table["read_as"][0].as_py()
    assert list(tmp_path.iterdir()) == [out], "no journal is left"


def test_the_file_is_geoparquet_with_vectors_of_one_size(scene: Path, tmp_path: Path):
    out = tmp_path / "harbour.parquet"
    embed(scene, out=out, embedder=bright_embedder()[0], **TILES)
    schema = pq.read_schema(out)
    geo = json.loads(schema.metadata[b"geo"])
    assert geo["version"] == "1.1.0" and geo["primary_column"] == "geometry"
    column = geo["columns"]["geometry"]
    assert column["encoding"] == "WKB" and column["geometry_types"] == ["Polygon"] and "crs" not in column
    bounds = shapely.total_bounds(shapely.from_wkb(pq.read_table(out)["geometry"].to_pylist()))
    assert column["bbox"] == pytest.approx(bounds.tolist())
    assert schema.field("embedding").type == pa.list_(pa.float32(), 2)


def test_without_georeference_there_is_no_geometry(tmp_path: Path):
    plain = write_scene(tmp_path / "plain.tif", georeferenced=False)
    out = tmp_path / "plain.parquet"
    embed(plain, out=out, embedder=bright_embedder()[0], **TILES)
    assert "geometry" not in pq.read_schema(out).names and b"geo" not in pq.read_schema(out).metadata
    assert read_features(out).outline(0) is None


def test_tiles_without_data_have_no_vector(scene: Path):
    # The lowest twenty rows hold no data.
    features = embed(scene, embedder=bright_embedder()[0], tile=30, no_prior=True).features
    assert features.provenance["skipped"] == 7 and len(features) == 42
    assert features.boxes[:, 1].max() == 150 and features.boxes[:, 2].max() == SIDE


def test_each_tile_has_the_anchors_and_the_acquisition_of_its_place(scene: Path, tmp_path: Path):
    embedder, towers = bright_embedder()
    field = write_field(tmp_path / "aef", columns=110)
    features = embed(scene, embedder=embedder, aef=str(field), tile=50).features
    anchors = dict(zip(features.table["id"].to_pylist(), features.table["anchors"].to_pylist(), strict=True))
    assert anchors["0,0"] == 64 and anchors["150,0"] == 0
    _, prior, acquisition = towers.seen[0]
    assert prior is not None and acquisition is not None
    assert acquisition.polarization == "VV" and acquisition.acquired is not None and acquisition.acquired.month == 6
    assert acquisition.resolution_m == pytest.approx(10, rel=0.01)
    assert features.provenance["prior"] == "AlphaEarth 2023" and "Google" in features.provenance["attribution"]


def test_a_run_that_was_cut_goes_on(scene: Path, tmp_path: Path):
    out = tmp_path / "harbour.parquet"
    embedder, towers = bright_embedder()
    towers.fail_after = 8
    with pytest.raises(KeyboardInterrupt):
        embed(scene, out=out, embedder=embedder, **TILES)
    assert len(towers.seen) == 8 and not out.exists()
    with pytest.raises(InputError, match="a run with tile 50, now 40"):
        embed(scene, out=out, embedder=embedder, **{**TILES, "tile": 40})
    towers.fail_after = None
    whole = embed(scene, out=out, embedder=embedder, **TILES).features
    assert len(towers.seen) == 16
    assert np.array_equal(whole.vectors, embed(scene, embedder=bright_embedder()[0], **TILES).features.vectors)


def test_what_is_there_is_not_overwritten(scene: Path, tmp_path: Path):
    out = tmp_path / "harbour.parquet"
    embed(scene, out=out, embedder=bright_embedder()[0], **TILES)
    before = out.read_bytes()
    with pytest.raises(InputError, match="exists already; remove it or choose another place"):
        embed(scene, out=out, embedder=bright_embedder()[0], **TILES)
    assert out.read_bytes() == before


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    chips = tmp_path / "chips"
    chips.mkdir()
    for name in ("harbour.tif", "inland.png", "inland.npz"):
        (chips / name).write_bytes((EXAMPLES / name).read_bytes())
    (chips / "broken.png").write_bytes(b"no picture")
    return chips


def test_an_image_that_cannot_be_read_costs_itself_alone(folder: Path, tmp_path: Path):
    out = tmp_path / "chips.parquet"
    embedder, towers = bright_embedder()
    embedded = embed(folder, out=out, embedder=embedder)
    assert [failure.id for failure in embedded.failures] == ["broken.png"]
    assert "not a PNG, JPEG or TIFF" in embedded.failures[0].reason
    assert read_features(out).table["id"].to_pylist() == ["harbour.tif", "inland.png"]
    # The next run tries what failed, and nothing else.
    (folder / "broken.png").write_bytes((EXAMPLES / "airfield.png").read_bytes())
    assert not embed(folder, out=out, embedder=embedder).failures
    assert len(towers.seen) == 3 and len(read_features(out)) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["chips", "chips.parquet"]


def test_images_have_the_prior_beside_them_and_tiffs_their_place(folder: Path):
    (folder / "broken.png").unlink()
    features = embed(folder, embedder=bright_embedder()[0]).features
    assert features.table["anchors"].to_pylist() == [0, 64]
    assert features.outline(0) is not None and features.outline(1) is None
    assert features.boxes.tolist() == [[0, 0, 168, 168]] * 2
    alone = embed(folder, embedder=bright_embedder()[0], no_prior=True).features
    assert alone.table["anchors"].to_pylist() == [0, 0]


def test_images_that_the_model_sees_far_smaller_are_told(folder: Path, capsys: pytest.CaptureFixture[str]):
    embed(folder, embedder=bright_embedder()[0])
    assert "2 of 2 images are more than 2 times as large as the model sees them (32 pixels)" in capsys.readouterr().err


def test_several_files_are_named_as_they_are(folder: Path):
    files = [folder / "harbour.tif", folder / "inland.png"]
    assert embed(*files, embedder=bright_embedder()[0]).features.table["id"].to_pylist() == [
        str(file) for file in files
    ]


def test_an_image_of_a_dataset_is_embedded_once_whatever_is_asked_about_it():
    embedder, towers = bright_embedder()
    features = embed(DATASET, embedder=embedder, configs=("captions", "instructions"), split="test").features
    rows = sum(pq.read_metadata(path).num_rows for path in DATASET.glob("*/test-*.parquet"))
    assert len(features) == len(towers.seen) < rows
    assert features.outline(0) is not None and features.table["anchors"][0].as_py() == 64
    assert towers.seen[0][2] is not None and towers.seen[0][2].sensor == "simulated SAR"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tile": 50}, "aef and no_prior: expected one of them"),
        ({"no_prior": True, "split": "test"}, "split: has no use for a scene"),
        ({"no_prior": True, "tile": 50, "overlap": 50}, "overlap: found 50"),
        ({"no_prior": True, "out": "vectors.csv"}, "vectors.csv; expected a name that ends in .parquet"),
        ({"no_prior": True, "out": "no/such/folder.parquet"}, "no folder"),
    ],
)
def test_options_that_do_not_fit_a_scene_are_one_line(scene: Path, options: dict[str, Any], said: str):
    with pytest.raises(InputError, match=said):
        embed(scene, embedder=bright_embedder()[0], **options)


def test_what_cannot_be_embedded_is_one_line(scene: Path, folder: Path, tmp_path: Path):
    embedder, _ = bright_embedder()
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: no image; expected"):
        embed(tmp_path / "empty", embedder=embedder)
    with pytest.raises(InputError, match="tile: has no use for a folder of images"):
        embed(folder, embedder=embedder, tile=50)
    with pytest.raises(InputError, match="no such file; expected an image"):
        embed(tmp_path / "none.png", embedder=embedder)
    with pytest.raises(InputError, match="there are none; name a scene"):
        embed(embedder=embedder)
    with rasterio.open(scene) as dataset:
        profile = dataset.profile
    with rasterio.open(tmp_path / "void.tif", "w", **profile) as dataset:
        dataset.write(np.full((SIDE, SIDE), -99, np.float32), 1)
    with pytest.raises(InputError, match=r"void\.tif: no pixel holds data"):
        embed(tmp_path / "void.tif", embedder=embedder, **TILES)
