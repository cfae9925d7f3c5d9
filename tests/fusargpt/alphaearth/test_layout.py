"""Tiles and index as they are published, as other programs see them."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio

from fusargpt.alphaearth.layout import write_index, write_tile
from fusargpt.errors import InputError
from tests.fusargpt.alphaearth.fields import SOUTH_UP, UTM_13N, random_codes, write_plain_tile


def test_a_tile_has_the_published_layout(tmp_path: Path):
    codes = random_codes(50, 130)
    path = tmp_path / "2024" / "13N" / "tile.tiff"
    write_tile(path, codes, crs=UTM_13N, transform=SOUTH_UP, block_size=64)
    with rasterio.open(path) as tile:
        assert (tile.count, set(tile.dtypes), tile.nodata) == (64, {"int8"}, -128)
        assert tile.descriptions[0] == "A00" and tile.descriptions[63] == "A63"
        assert tile.transform == SOUTH_UP and tile.crs.to_epsg() == 32613
        assert (tile.profile["interleave"], tile.profile["compress"]) == ("band", "zstd")
        assert tile.block_shapes[0] == (64, 64)
        # 65, 33, 17, 9, 5, 3, 2 and 1 columns.
        assert len(tile.overviews(1)) == 8
        np.testing.assert_array_equal(np.moveaxis(tile.read(), 0, 2), codes)
    assert [file.name for file in path.parent.iterdir()] == ["tile.tiff"]


def test_overviews_can_be_left_out(tmp_path: Path):
    path = tmp_path / "tile.tiff"
    write_tile(path, random_codes(20, 20), crs=UTM_13N, transform=SOUTH_UP, overviews=False)
    with rasterio.open(path) as tile:
        assert tile.overviews(1) == []


def test_the_index_has_the_published_columns(tmp_path: Path):
    write_plain_tile(tmp_path / "2023" / "13N" / "b.tiff", random_codes(20, 30))
    write_plain_tile(tmp_path / "2024" / "13N" / "a.tiff", random_codes(20, 30))
    write_plain_tile(tmp_path / "2024" / "other" / "c.tiff", random_codes(20, 30))
    rows = pq.read_table(write_index(tmp_path)).to_pylist()
    assert [(row["path"], row["year"]) for row in rows] == [("2023/13N/b.tiff", 2023), ("2024/13N/a.tiff", 2024)]
    assert (rows[0]["crs"], rows[0]["utm_zone"]) == (UTM_13N, "13N")
    utm = [rows[0][f"utm_{side}"] for side in ("west", "south", "east", "north")]
    assert utm == [418080, 4423680, 418380, 4423880]
    west, south, east, north = (rows[0][f"wgs84_{side}"] for side in ("west", "south", "east", "north"))
    assert -105.96 < west < east < -105.95 and 39.959 < south < north < 39.962


@pytest.mark.parametrize(
    "codes, reason",
    [
        (np.zeros((4, 4, 64), np.uint8), r"codes: found uint8 \[4, 4, 64\]; expected int8"),
        (np.zeros((64, 4, 4), np.int8), r"codes: found int8 \[64, 4, 4\]"),
        (np.zeros((0, 4, 64), np.int8), r"codes: found int8 \[0, 4, 64\]"),
        (np.where(np.arange(64) == 5, -128, random_codes(2, 2)), "codes: -128 in some bands of a pixel"),
    ],
)
def test_refuses_codes_that_are_none(tmp_path: Path, codes: np.ndarray, reason: str):
    with pytest.raises(InputError, match=reason):
        write_tile(tmp_path / "tile.tiff", codes.astype(codes.dtype, copy=False), crs=UTM_13N, transform=SOUTH_UP)
    assert not list(tmp_path.iterdir())


def test_no_index_of_nothing(tmp_path: Path):
    with pytest.raises(InputError, match=r"no tile; expected <year>/<zone>/<name>.tiff"):
        write_index(tmp_path)
