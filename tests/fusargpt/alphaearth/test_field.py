"""The vectors of places: the right pixel of the right tile, whatever its layout, and from few bytes."""

import pickle
import shutil
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from fusargpt.alphaearth import byte_ranges
from fusargpt.alphaearth.block_cache import BlockCache
from fusargpt.alphaearth.field import AlphaEarth
from fusargpt.alphaearth.layout import write_index, write_tile
from fusargpt.errors import InputError
from fusargpt.geo.embeddings import dequantize
from tests.fusargpt.alphaearth.fields import (
    SOUTH_UP,
    UTM_13N,
    lonlat_of,
    metres_of,
    north_up,
    random_codes,
    write_field,
    write_plain_tile,
)
from tests.fusargpt.alphaearth.range_server import RangeServer, serve
from tests.real_data import REAL_DATA, needs_real_data

TILE = "/2024/13N/tile.tiff"


def centres(rows: int, columns: int, transform: Affine = SOUTH_UP, crs: str = UTM_13N) -> np.ndarray:
    """Degrees [rows * columns, 2] of all pixel centres."""
    row, column = np.mgrid[0:rows, 0:columns].reshape(2, -1) + 0.5
    return lonlat_of(transform, row, column, crs)


def assert_samples(field: AlphaEarth, lonlat: np.ndarray, codes: np.ndarray, **keywords: Any) -> None:
    """That the field has `codes` [..., 64] at `lonlat`, in this order."""
    vectors, valid = field.sample(lonlat, 2024, **keywords)
    assert vectors.dtype == np.float32 and valid.all()
    np.testing.assert_allclose(vectors, dequantize(codes.reshape(-1, 64)), atol=1e-6)


# Positions of the pixel beneath the point are taken apart from an edge, where degrees cannot tell the sides.
inside_pixel = st.floats(0.001, 0.999)


@settings(max_examples=15, deadline=None)
@given(
    west=st.integers(200_000, 800_000),
    south=st.integers(0, 9_000_000),
    zone=st.sampled_from(["EPSG:32613", "EPSG:32660", "EPSG:32733"]),
    flipped=st.booleans(),
    row=st.integers(0, 4),
    column=st.integers(0, 6),
    offset=st.tuples(inside_pixel, inside_pixel),
)
def test_a_point_gets_the_vector_of_the_pixel_beneath_it(
    tmp_path_factory: pytest.TempPathFactory,
    west: int,
    south: int,
    zone: str,
    flipped: bool,
    row: int,
    column: int,
    offset: tuple[float, float],
):
    codes = random_codes(5, 7)
    transform = Affine(10, 0, west, 0, 10, south)
    lonlat = lonlat_of(transform, np.array([row + offset[0]]), np.array([column + offset[1]]), zone)
    root = tmp_path_factory.mktemp("field")
    name = f"{zone[-2:]}{'N' if zone[-3] == '6' else 'S'}"
    if flipped:
        write_plain_tile(root / "2024" / name / "tile.tiff", codes[::-1], zone, north_up(transform, 5))
    else:
        write_plain_tile(root / "2024" / name / "tile.tiff", codes, zone, transform)
    write_index(root)
    assert_samples(AlphaEarth(root), lonlat, codes[row, column])


@pytest.mark.parametrize(
    "options",
    [
        {"interleave": "band"},
        {"interleave": "pixel"},
        {"interleave": "pixel", "tiled": True, "blockxsize": 16, "blockysize": 32, "compress": "deflate"},
        {"interleave": "band", "tiled": True, "blockxsize": 16, "blockysize": 16, "compress": "zstd", "predictor": 2},
        {"interleave": "band", "tiled": True, "blockxsize": 32, "blockysize": 16, "compress": "lzw", "bigtiff": "yes"},
    ],
)
def test_reads_tiles_of_any_layout(tmp_path: Path, options: dict[str, Any]):
    codes = random_codes(37, 50)
    assert_samples(AlphaEarth(write_field(tmp_path, codes, **options)), centres(37, 50), codes)


def test_reads_tiles_of_other_programs(tmp_path: Path):
    """North-up tiles whose place is given by a scale and a tie point, at pixel centres or corners."""
    codes = random_codes(6, 8)
    transform = north_up(SOUTH_UP, 6)
    for point_or_area in ("Area", "Point"):
        path = tmp_path / point_or_area / "2024" / "13N" / "tile.tiff"
        write_plain_tile(path, codes, transform=transform)
        with rasterio.open(path, "r+") as tile:
            tile.update_tags(AREA_OR_POINT=point_or_area)
            tile.transform = transform
        write_index(tmp_path / point_or_area)
        assert_samples(AlphaEarth(tmp_path / point_or_area), centres(6, 8, transform), codes)


def test_pixels_without_data_are_marked(tmp_path: Path):
    codes = random_codes(4, 4)
    codes[1, 2] = -128
    codes[3, 3] = 0  # no direction
    field = AlphaEarth(write_field(tmp_path, codes))
    vectors, valid = field.sample(np.concatenate([centres(4, 4), [[0.0, 0.0]]]), 2024)
    expected = np.ones(17, bool)
    expected[[1 * 4 + 2, 3 * 4 + 3, 16]] = False
    np.testing.assert_array_equal(valid, expected)
    assert not vectors[~valid].any()
    np.testing.assert_allclose(np.linalg.norm(vectors[valid], axis=1), 1, atol=1e-6)


def test_blocks_that_were_never_written_hold_no_data(tmp_path: Path):
    path = tmp_path / "2024" / "13N" / "tile.tiff"
    codes = np.full((40, 40, 64), -128, np.int8)
    codes[:16, :16] = random_codes(16, 16)
    write_plain_tile(path, codes, tiled=True, blockxsize=16, blockysize=16, interleave="band", sparse_ok=True)
    write_index(tmp_path)
    _, valid = AlphaEarth(tmp_path).sample(centres(40, 40), 2024)
    np.testing.assert_array_equal(valid.reshape(40, 40), codes[:, :, 0] != -128)


@pytest.fixture(scope="module")
def gapped_codes() -> np.ndarray:
    """24 x 40 pixels, a quarter of them without data."""
    codes = random_codes(24, 40)
    codes[:12, :20] = -128
    return codes


@pytest.fixture(scope="module", params=["south-up", "north-up"])
def gapped_field(
    request: pytest.FixtureRequest, gapped_codes: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> AlphaEarth:
    """With overviews; `gapped_codes[0]` is the southernmost row, whichever way the tile is stored."""
    root = tmp_path_factory.mktemp("field")
    codes, transform = gapped_codes, SOUTH_UP
    if request.param == "north-up":
        codes, transform = codes[::-1], north_up(SOUTH_UP, 24)
    write_tile(root / TILE[1:], codes, crs=UTM_13N, transform=transform, block_size=16)
    write_index(root)
    return AlphaEarth(root)


@pytest.mark.parametrize("spacing, halvings", [(9, 0), (10, 0), (19.9, 0), (20, 1), (79, 2), (80, 3)])
def test_the_coarsest_overview_that_is_fine_enough_answers(
    gapped_field: AlphaEarth, gapped_codes: np.ndarray, spacing: float, halvings: int
):
    side = 2**halvings
    cells = gapped_codes.reshape(24 // side, side, 40 // side, side, 64)
    known = cells[..., :1] != -128
    means = np.where(known, dequantize(np.where(known, cells, 1)), 0).sum((1, 3))
    lengths = np.linalg.norm(means, axis=-1)
    coarse = Affine(10 * side, 0, SOUTH_UP.c, 0, 10 * side, SOUTH_UP.f)
    vectors, valid = gapped_field.sample(centres(24 // side, 40 // side, coarse), 2024, spacing)
    np.testing.assert_array_equal(valid, lengths.ravel() > 0)
    expected = (means / np.where(lengths, lengths, 1)[..., None]).reshape(-1, 64)
    # Overviews are stored in 8 bit as well.
    assert ((vectors * expected).sum(1)[valid] > 0.999).all()


def test_the_last_overview_is_one_pixel(gapped_field: AlphaEarth, gapped_codes: np.ndarray):
    vectors, valid = gapped_field.sample(centres(24, 40), 2024, 1e6)
    mean = dequantize(gapped_codes[gapped_codes[:, :, 0] != -128]).sum(0)
    assert valid.all() and (vectors == vectors[0]).all()
    assert vectors[0] @ mean / np.linalg.norm(mean) > 0.999


class TestZones:
    """Two tiles that overlap at 108 degrees west, where zones 12 and 13 meet; points 5 m apart from west to east."""

    @pytest.fixture
    def lonlat(self) -> np.ndarray:
        return np.stack([np.linspace(-108.002, -107.998, 60), np.full(60, 40.0)], axis=1)

    def field(self, root: Path, lonlat: np.ndarray, *, hole: bool) -> AlphaEarth:
        """All vectors of zone 12 are one vector, those of zone 13 another; with a hole zone 13 has no data."""
        for zone, value in (("12N", 50), ("13N", -50)):
            crs = f"EPSG:326{zone[:2]}"
            west, south = np.floor(metres_of(lonlat, crs).min(axis=0) / 10) * 10 - 500
            codes = np.full((120, 140, 64), -128 if hole and zone == "13N" else value, np.int8)
            write_plain_tile(root / "2024" / zone / "tile.tiff", codes, crs, Affine(10, 0, west, 0, 10, south))
        write_index(root)
        return AlphaEarth(root)

    def test_the_tile_of_the_own_zone_answers(self, tmp_path: Path, lonlat: np.ndarray):
        vectors, valid = self.field(tmp_path, lonlat, hole=False).sample(lonlat, 2024)
        assert valid.all()
        np.testing.assert_array_equal(vectors[:, 0] > 0, lonlat[:, 0] < -108)

    def test_the_other_one_answers_where_it_has_no_data(self, tmp_path: Path, lonlat: np.ndarray):
        vectors, valid = self.field(tmp_path, lonlat, hole=True).sample(lonlat, 2024)
        assert valid.all() and (vectors[:, 0] > 0).all()


def test_tiles_on_both_sides_of_the_antimeridian(tmp_path: Path):
    west, east = random_codes(20, 300, seed=1), random_codes(20, 300, seed=2)
    # Zone 60 ends and zone 1 begins at 180 degrees, on the equator 166 km from their middle.
    at_60, at_1 = Affine(10, 0, 831_000, 0, 10, 1000), Affine(10, 0, 166_000, 0, 10, 1000)
    write_plain_tile(tmp_path / "2024" / "60N" / "tile.tiff", west, "EPSG:32660", at_60)
    write_plain_tile(tmp_path / "2024" / "1N" / "tile.tiff", east, "EPSG:32601", at_1)
    write_index(tmp_path)
    field = AlphaEarth(tmp_path)
    for codes, transform, crs, own in ((west, at_60, "EPSG:32660", "+"), (east, at_1, "EPSG:32601", "-")):
        lonlat = centres(20, 300, transform, crs)
        mine = lonlat[:, 0] > 0 if own == "+" else lonlat[:, 0] < 0
        assert 1000 < mine.sum() < 6000
        assert_samples(field, lonlat[mine], codes.reshape(-1, 64)[mine])
        turned = lonlat[mine] + ([-360, 0] if own == "+" else [360, 0])
        assert_samples(field, turned, codes.reshape(-1, 64)[mine])


def test_years_are_kept_apart(tmp_path: Path):
    for year in (2019, 2024):
        write_plain_tile(tmp_path / str(year) / "13N" / "tile.tiff", random_codes(5, 5, seed=year))
    write_index(tmp_path)
    field = AlphaEarth(tmp_path)
    assert field.years == (2019, 2024)
    vectors, _ = field.sample(centres(5, 5), 2019)
    np.testing.assert_array_equal(vectors, dequantize(random_codes(5, 5, seed=2019).reshape(-1, 64)))
    with pytest.raises(InputError, match=r"aef_index.parquet: no year 2020; found 2019, 2024"):
        field.sample(centres(5, 5), 2020)


def test_an_index_of_absolute_addresses_is_read_at_any_root(tmp_path: Path):
    codes = random_codes(5, 5)
    index = write_field(tmp_path, codes) / "aef_index.parquet"
    table = pq.read_table(index)
    addresses = [f"s3://some.bucket/aef/v1/annual/{path}" for path in table["path"].to_pylist()]
    pq.write_table(table.set_column(0, "path", [addresses]), index)
    assert_samples(AlphaEarth(tmp_path), centres(5, 5), codes)


def test_a_field_can_be_shared(tmp_path: Path):
    codes = random_codes(64, 64)
    root = write_field(tmp_path, codes, tiled=True, blockxsize=16, blockysize=16, compress="zstd")
    field = AlphaEarth(root, BlockCache(tmp_path / "cache"))
    assert_samples(pickle.loads(pickle.dumps(field)), centres(64, 64), codes)
    with ThreadPoolExecutor(4) as threads:
        parts = np.array_split(np.arange(64 * 64), 16)
        lonlat = centres(64, 64)
        results = list(threads.map(lambda part: field.sample(lonlat[part], 2024)[0], parts))
    np.testing.assert_array_equal(np.concatenate(results), dequantize(codes.reshape(-1, 64)))


def test_no_points_are_no_error(tmp_path: Path):
    vectors, valid = AlphaEarth(write_field(tmp_path, random_codes(3, 3))).sample(np.zeros((0, 2)), 2024)
    assert vectors.shape == (0, 64) and valid.shape == (0,)


class TestBadFields:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        return write_field(tmp_path, random_codes(40, 40), tiled=True, blockxsize=16, blockysize=16, compress="zstd")

    def fails(self, root: Path | str, reason: str) -> None:
        with pytest.raises(InputError, match=reason) as raised:
            AlphaEarth(root).sample(centres(40, 40), 2024)
        assert "\n" not in str(raised.value)

    def test_no_field(self, tmp_path: Path):
        self.fails(tmp_path / "nowhere", r"nowhere: no AlphaEarth field; expected aef_index.parquet in it")

    def test_a_missing_tile(self, root: Path):
        (root / TILE[1:]).unlink()
        self.fails(root, r"2024/13N/tile.tiff: no such file")

    @pytest.mark.parametrize("length", [0, 3, 10, 200, 3000])
    def test_a_tile_cut_off_in_its_header(self, root: Path, length: int):
        path = root / TILE[1:]
        path.write_bytes(path.read_bytes()[:length])
        self.fails(root, r"tile.tiff: (not a TIFF file, or a damaged one|no image|the file ends)")

    def test_a_tile_whose_tags_are_cut_off(self, tmp_path: Path):
        """Published tiles have thousands of blocks, so that their positions stand behind the tags."""
        root = write_field(tmp_path, random_codes(64, 64), tiled=True, blockxsize=16, blockysize=16, interleave="band")
        path = root / TILE[1:]
        path.write_bytes(path.read_bytes()[:1500])
        self.fails(root, r"tile.tiff: the file ends at byte 1,500, inside its header; fetch it again")

    def test_a_tile_cut_off_in_its_blocks(self, root: Path):
        path = root / TILE[1:]
        path.write_bytes(path.read_bytes()[:-1000])
        self.fails(root, r"tile.tiff: the file ends at byte [\d,]+, inside a block of")

    def test_a_damaged_block(self, root: Path):
        path = root / TILE[1:]
        with rasterio.open(path) as tile:
            start = int(tile.get_tag_item("BLOCK_OFFSET_2_2", "TIFF", bidx=64))
        content = bytearray(path.read_bytes())
        content[start : start + 20] = b"\0" * 20
        path.write_bytes(content)
        self.fails(root, r"tile.tiff: block \(2, 2\) is damaged")

    def test_a_tile_whose_directories_lead_in_a_circle(self, root: Path):
        path = root / TILE[1:]
        content = bytearray(path.read_bytes())
        (start,) = struct.unpack_from("<I", content, 4)
        (tags,) = struct.unpack_from("<H", content, start)
        struct.pack_into("<I", content, start + 2 + 12 * tags, start)
        path.write_bytes(content)
        self.fails(root, r"tile.tiff: more than 64 images; expected one and its overviews")

    def test_a_tile_that_is_none(self, root: Path):
        (root / TILE[1:]).write_text("<html>not here</html>")
        self.fails(root, r"tile.tiff: not a TIFF file")

    def test_a_tile_of_other_bands(self, root: Path):
        write_plain_tile(root / TILE[1:], random_codes(40, 40)[:, :, :3])
        self.fails(root, r"tile.tiff: found 3 bands of int8; expected 64 of int8")

    @pytest.mark.parametrize(
        "crs, transform, reason",
        [
            ("EPSG:32614", SOUTH_UP, r"lies in EPSG:32614; the index says EPSG:32613. Write the index again"),
            (
                UTM_13N,
                Affine(10, 0, 418080, 0, 10, 4424080),
                r"lies at 418080, 4424080, .*the index says 418080, 4423680",
            ),
        ],
    )
    def test_a_tile_elsewhere_than_the_index_says(self, root: Path, crs: str, transform: Affine, reason: str):
        write_plain_tile(root / TILE[1:], random_codes(40, 40), crs, transform)
        self.fails(root, reason)

    def test_an_index_that_is_none(self, root: Path):
        (root / "aef_index.parquet").write_bytes(b"PAR1" + b"\0" * 200 + b"PAR1")
        self.fails(root, r"aef_index.parquet: not the index of an AlphaEarth field")

    def test_an_index_without_a_column(self, root: Path):
        index = root / "aef_index.parquet"
        pq.write_table(pq.read_table(index).drop_columns(["utm_west"]), index)
        self.fails(root, r"aef_index.parquet: no column utm_west; found path, year, crs")

    @pytest.mark.parametrize(
        "column, value, reason",
        [
            ("path", None, "column path: 1 rows without a value"),
            ("path", "../../etc/passwd", r"row 0, path: found '../../etc/passwd'; expected .../<year>/<zone>/"),
            ("utm_zone", "13", r"row 0, utm_zone: found '13'; expected a number and N or S"),
            ("utm_west", float("nan"), r"row 0, utm_west: found nan; expected a finite number"),
            ("crs", "EPSG:99999", r"row 0, CRS 'EPSG:99999': not known"),
        ],
    )
    def test_an_index_with_a_bad_row(self, root: Path, column: str, value: float | str | None, reason: str):
        index = root / "aef_index.parquet"
        rows = pq.read_table(index).to_pylist()
        rows[0][column] = value
        pq.write_table(pa.Table.from_pylist(rows, pq.read_schema(index)), index)
        self.fails(root, reason)

    @pytest.mark.parametrize(
        "lonlat, reason",
        [
            ([[0.0, 91.0]], r"latitude in \[-90, 90\]"),
            ([[np.nan, 0.0]], "finite degrees"),
            ([0.0, 1.0], r"found shape \[2\]"),
        ],
    )
    def test_points_that_are_not_on_earth(self, root: Path, lonlat: np.ndarray, reason: str):
        with pytest.raises(InputError, match=reason):
            AlphaEarth(root).sample(np.array(lonlat), 2024)

    def test_a_spacing_of_nothing(self, root: Path):
        with pytest.raises(InputError, match="spacing_m: found 0"):
            AlphaEarth(root).sample(centres(1, 1), 2024, spacing_m=0)

    def test_a_root_with_a_query(self):
        with pytest.raises(InputError, match=r"^https://example.org/aef: a URL with a query"):
            AlphaEarth("https://example.org/aef?key=secret")


class TestServer:
    @pytest.fixture
    def codes(self) -> np.ndarray:
        return random_codes(64, 64)

    @pytest.fixture
    def server(self, tmp_path: Path, codes: np.ndarray, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(byte_ranges, "BACKOFF_SECONDS", 0.01)
        write_field(tmp_path / "root", codes, tiled=True, blockxsize=32, blockysize=32, compress="zstd")
        with serve(tmp_path / "root") as running:
            yield running

    def test_the_same_vectors_as_from_files(self, server: RangeServer, codes: np.ndarray):
        assert_samples(AlphaEarth(server.url + "/"), centres(64, 64), codes)

    def test_s3(self, server: RangeServer, codes: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        shutil.move(server.root / "2024", server.root / "bucket" / "aef" / "2024")
        shutil.move(server.root / "aef_index.parquet", server.root / "bucket" / "aef" / "aef_index.parquet")
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        assert_samples(AlphaEarth("s3://bucket/aef"), centres(64, 64), codes)

    def test_a_missing_tile(self, server: RangeServer):
        (server.root / TILE[1:]).unlink()
        with pytest.raises(InputError, match=r"/2024/13N/tile.tiff: no such file on the server.*\(status 404\)"):
            AlphaEarth(server.url).sample(centres(64, 64), 2024)

    def test_passing_faults_cost_nothing_but_time(self, server: RangeServer, codes: np.ndarray):
        server.failures = {TILE: [503, 503], "/aef_index.parquet": [500]}
        assert_samples(AlphaEarth(server.url), centres(64, 64), codes)

    def test_a_block_is_fetched_once(self, server: RangeServer, codes: np.ndarray):
        field = AlphaEarth(server.url)
        assert_samples(field, centres(64, 64), codes)
        before = server.sent[TILE]
        assert_samples(field, centres(64, 64), codes)
        assert server.sent[TILE] == before <= (server.root / TILE[1:]).stat().st_size + 2**16  # the header

    def test_the_cache_answers_for_the_next_process(self, server: RangeServer, codes: np.ndarray, tmp_path: Path):
        assert_samples(AlphaEarth(server.url, BlockCache(tmp_path / "cache")), centres(64, 64), codes)
        server.reset()
        assert_samples(AlphaEarth(server.url, BlockCache(tmp_path / "cache")), centres(64, 64), codes)
        # The first answer tells whether the file is still the same.
        assert server.requests == {TILE: 1, "/aef_index.parquet": 1}

    def test_a_replaced_tile_is_read_again(self, server: RangeServer, tmp_path: Path):
        cache = BlockCache(tmp_path / "cache")
        AlphaEarth(server.url, cache).sample(centres(64, 64), 2024)
        codes = random_codes(64, 64, seed=1)
        write_field(server.root, codes, tiled=True, blockxsize=32, blockysize=32, compress="zstd")
        assert_samples(AlphaEarth(server.url, cache), centres(64, 64), codes)

    def test_damaged_cache_entries_are_read_again(self, server: RangeServer, codes: np.ndarray, tmp_path: Path):
        cache = BlockCache(tmp_path / "cache")
        AlphaEarth(server.url, cache).sample(centres(64, 64), 2024)
        for entry in cache.folder.glob("*/*.block"):
            content = bytearray(entry.read_bytes())
            content[-100] ^= 0xFF
            entry.write_bytes(content)
        assert_samples(AlphaEarth(server.url, cache), centres(64, 64), codes)


@needs_real_data
class TestPublishedWindow:
    """10 x 10 pixels cut out of a published tile, south-up."""

    PATH = REAL_DATA / "aef" / "aef_2024_13N_xjejfvrbm1fbu1ecw_window10x10.tif"

    def field(self, root: Path) -> AlphaEarth:
        (root / "2024" / "13N").mkdir(parents=True)
        shutil.copy(self.PATH, root / TILE[1:])
        write_index(root)
        return AlphaEarth(root)

    def test_reads_unit_vectors_at_the_right_places(self, tmp_path: Path):
        with rasterio.open(self.PATH) as tile:
            codes, transform = np.moveaxis(tile.read(), 0, 2), tile.transform
        assert transform.e == 10
        field = self.field(tmp_path)
        assert_samples(field, centres(10, 10, transform), codes)
        vectors, _ = field.sample(centres(10, 10, transform), 2024)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
        # From the map: the first row is the southernmost, at 39 degrees 57' 33" north.
        south, north = centres(10, 10, transform)[[0, -1], 1]
        assert 39.9592 < south < north < 39.9604
        _, outside = field.sample(centres(1, 1, Affine(10, 0, transform.c - 10, 0, 10, transform.f)), 2024)
        assert not outside.any()
