"""What anchors cost to read over HTTP from an AlphaEarth tile of published size: bytes, and time beside rasterio's.

    python -m benchmarks.alphaearth_reads

The tile has 8192 x 8192 pixels of 64 bands in 3.2 GB, most of it holes of a sparse file, and lies behind a server on
this machine that takes 20 ms to answer, as one in the same region of a cloud does. Prints ratios beside their limits
and fails when one is missed. rasterio opens the tile once and reads all points, of which it fetches the same blocks;
who opens it anew for each point pays for all of it each time.
"""

import argparse
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from rasterio.warp import transform as transform_coordinates

from fusargpt.alphaearth.anchors import spatiotemporal_anchors
from fusargpt.alphaearth.block_cache import BlockCache
from fusargpt.alphaearth.field import AlphaEarth
from fusargpt.alphaearth.layout import write_index
from fusargpt.geo.geometry import Geometry
from fusargpt.geo.prior import Prior
from fusargpt.geo.remote import environment
from tests.fusargpt.alphaearth.full_size_tile import BLOCK, FullSizeTile, write_full_size_tile
from tests.fusargpt.alphaearth.range_server import RangeServer, serve

CRS = "EPSG:32613"
WEST, SOUTH = 418080, 4423680
TILE = "/2024/13N/tile.tiff"
ROW, COLUMN = 3, 4
# 2 km of 5 m pixels inside one block.
SCENE = Geometry.from_affine(
    Affine(5, 0, WEST + 10 * (BLOCK * COLUMN + 400), 0, -5, SOUTH + 10 * (BLOCK * ROW + 700)), CRS, 400, 400
)


@dataclass
class Cost:
    seconds: float
    megabytes: float
    requests: int

    def __str__(self) -> str:
        return f"{self.seconds:9.2f} s {self.megabytes:10.3f} MB {self.requests:6d} requests"


def measure(server: RangeServer, action: Callable[[], object]) -> Cost:
    server.reset()
    start = time.perf_counter()
    action()
    seconds = time.perf_counter() - start
    return Cost(seconds, server.sent[TILE] / 1e6, server.requests[TILE])


def opened(server: RangeServer, cache: BlockCache | None = None) -> AlphaEarth:
    """A field whose index is read, and nothing else."""
    field = AlphaEarth(server.url, cache)
    assert field.years == (2024,)
    return field


def read_with_rasterio(url: str, places: list[tuple[float, float]]) -> float:
    """Open the tile and read one pixel after the other; returns seconds."""
    start = time.perf_counter()
    with environment(), rasterio.open(f"/vsicurl/{url}") as tile:
        list(tile.sample(places))
    return time.perf_counter() - start


def measure_rasterio(server: RangeServer, places: np.ndarray) -> Cost:
    """In a process of its own: rasterio holds this one still during some requests, and with it the server."""
    server.reset()
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        seconds = pool.apply(read_with_rasterio, (server.url + TILE, [tuple(place) for place in places.tolist()]))
    return Cost(seconds, server.sent[TILE] / 1e6, server.requests[TILE])


def report(server: RangeServer, tile: FullSizeTile, folder: Path) -> bool:
    """Print all of it; returns whether all limits are kept."""
    side = 8
    block = tile.block_bytes[0, ROW, COLUMN] / 1e6
    cache = BlockCache(folder / "cache")
    priors: list[Prior] = []
    fields = [opened(server), opened(server, cache)]

    def anchors(field: AlphaEarth, **arguments: Any) -> Callable[[], None]:
        return lambda: priors.append(spatiotemporal_anchors(SCENE, 2024, source=field, **arguments))

    print(f"a scene of 2 km, {side} x {side} anchors; the block beneath it has {block:.1f} MB compressed\n")
    native = measure(server, anchors(fields[0], grid=(side, side)))
    print(f"anchors                         {native}")
    print(f"  into an empty cache           {measure(server, anchors(fields[1], grid=(side, side)))}")
    print(f"  from the cache               {measure(server, anchors(opened(server, cache), grid=(side, side)))}")
    matched = {}
    for cells in (8, 4):
        name = f"  match, every {2000 // cells} m"
        matched[cells] = measure(server, anchors(opened(server), grid=(cells, cells), resolution="match"))
        print(f"{name:32s}{matched[cells]}   {1e8 * matched[cells].megabytes / tile.file_bytes:.3f} % of the file")
    assert priors[0].lonlat is not None
    places = np.stack(transform_coordinates("EPSG:4326", CRS, *priors[0].lonlat.T)[:2], axis=1)
    single, once = measure_rasterio(server, places[:1]), measure_rasterio(server, places)
    print(f"rasterio, one read of one point {single}")
    print(f"rasterio, {len(places)} reads, open once   {once}   GDAL keeps the block\n")

    limits = [
        ("bytes read / compressed blocks touched", native.megabytes / block, "<=", 1.1),
        ("share of the file, match, every 500 m, %", 1e8 * matched[4].megabytes / tile.file_bytes, "<", 0.2),
        ("bytes read / bytes that rasterio reads", native.megabytes / once.megabytes, "<=", 1.02),
        (f"time of rasterio, {len(places)} reads / time of the anchors", once.seconds / native.seconds, ">=", 1.5),
    ]
    kept = [value >= limit if sign == ">=" else value <= limit for _, value, sign, limit in limits]
    for (name, value, sign, limit), ok in zip(limits, kept, strict=True):
        print(f"{name:48s}{value:10.3f}   {sign} {limit:g}   {'kept' if ok else 'MISSED'}")
    return all(kept)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--delay-ms", type=float, default=20.0, help="of the server before each answer")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        tile = write_full_size_tile(
            root / TILE[1:], epsg=32613, west=WEST, south=SOUTH, blocks=[(ROW, COLUMN)], levels=(4, 5)
        )
        write_index(root)
        with serve(root) as server:
            server.delay = arguments.delay_ms / 1000
            return 0 if report(server, tile, Path(folder)) else 1


if __name__ == "__main__":
    sys.exit(main())
