"""What it costs to read anchors from a tile of published size over HTTP. `benchmarks/alphaearth_reads.py` times it."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from affine import Affine

from fusargpt.alphaearth.anchors import spatiotemporal_anchors
from fusargpt.alphaearth.block_cache import BlockCache
from fusargpt.alphaearth.field import AlphaEarth
from fusargpt.alphaearth.layout import write_index
from fusargpt.geo.embeddings import dequantize
from fusargpt.geo.geometry import Geometry
from fusargpt.geo.prior import Prior
from tests.fusargpt.alphaearth.fields import UTM_13N, metres_of
from tests.fusargpt.alphaearth.full_size_tile import BLOCK, FullSizeTile, write_full_size_tile
from tests.fusargpt.alphaearth.range_server import RangeServer, serve

WEST, SOUTH = 418080, 4423680
TILE = "/2024/13N/tile.tiff"
ROW, COLUMN = 3, 4


@dataclass
class Published:
    server: RangeServer
    tile: FullSizeTile
    scene: Geometry


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    """One tile behind a server, and a scene of 2 km across the edge of the two blocks that hold data."""
    root = tmp_path_factory.mktemp("published")
    path = root / TILE[1:]
    blocks = [(ROW, COLUMN), (ROW, COLUMN + 1)]
    tile = write_full_size_tile(path, epsg=32613, west=WEST, south=SOUTH, blocks=blocks, levels=(5,))
    write_index(root)
    corner_x, corner_y = WEST + 10 * BLOCK * (COLUMN + 1) - 1000, SOUTH + 10 * (BLOCK * ROW + 600)
    scene = Geometry.from_affine(Affine(5, 0, corner_x, 0, -5, corner_y), UTM_13N, 400, 400)
    with serve(root) as server:
        yield Published(server, tile, scene)
    path.unlink()


def pixels(prior: Prior, size: float) -> np.ndarray:
    """Columns and rows [2, S] of the anchors in pixels of `size` metres."""
    assert prior.lonlat is not None
    return ((metres_of(prior.lonlat) - (WEST, SOUTH)) // size).astype(int).T


def test_a_scene_costs_the_blocks_beneath_it(published: Published, tmp_path: Path):
    server, tile = published.server, published.tile
    assert tile.file_bytes > 3e9
    field = AlphaEarth(server.url, BlockCache(tmp_path))
    assert field.years == (2024,)
    server.reset()
    prior = spatiotemporal_anchors(published.scene, 2024, source=field, grid=(16, 16))
    blocks = [(0, ROW, COLUMN), (0, ROW, COLUMN + 1)]
    assert server.sent[TILE] <= 1.1 * sum(tile.block_bytes[block] for block in blocks)
    # One read per point would ask for the 64 planes of a block for each of 256 points.
    assert len(prior.embeddings) == 256 and server.requests[TILE] < 256 * 64 / 50
    columns, rows = pixels(prior, 10)
    planes = np.concatenate([tile.codes[block] for block in blocks], axis=2)
    codes = planes[:, rows - ROW * BLOCK, columns - COLUMN * BLOCK].T
    np.testing.assert_allclose(prior.embeddings, dequantize(codes), atol=1e-6)
    server.reset()
    again = spatiotemporal_anchors(
        published.scene, 2024, source=AlphaEarth(server.url, BlockCache(tmp_path)), grid=(16, 16)
    )
    np.testing.assert_array_equal(again.embeddings, prior.embeddings)
    assert server.sent[TILE] < 200_000  # the header
    shutil.rmtree(tmp_path)  # 128 MiB


def test_matching_resolution_costs_a_thousandth_of_the_file(published: Published):
    server, tile = published.server, published.tile
    field = AlphaEarth(server.url)
    server.reset()
    prior = spatiotemporal_anchors(published.scene, 2024, source=field, grid=(4, 4), resolution="match")
    assert server.sent[TILE] < 0.001 * tile.file_bytes
    columns, rows = pixels(prior, 320)
    np.testing.assert_allclose(prior.embeddings, dequantize(tile.codes[5, 0, 0][:, rows, columns].T), atol=1e-6)
