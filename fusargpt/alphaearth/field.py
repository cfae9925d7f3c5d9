"""The AlphaEarth field: the unit vector of any place and year, from published tiles on this machine or on a server.

Of a tile only its header and the blocks beneath the points are read, each block once. Full-size tiles hold 1024 x 1024
pixels in a block, about 35 MB; where points lie far apart, the tile's overviews answer from far less.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fusargpt.alphaearth.block_cache import BlockCache
from fusargpt.alphaearth.byte_ranges import open_ranges
from fusargpt.alphaearth.index import INDEX_NAME, AlphaEarthIndex, IndexedTile, read_index
from fusargpt.alphaearth.tile import AlphaEarthTile, Level
from fusargpt.errors import InputError
from fusargpt.geo.embeddings import EMBEDDING_SIZE, NODATA, dequantize
from fusargpt.geo.mapping import WGS84, project
from fusargpt.geo.remote import is_remote, shown

PUBLISHED_ROOTS = {
    "Source Cooperative": "s3://us-west-2.opendata.source.coop/tge-labs/aef/v1/annual",
    "Google Cloud Storage": "gs://alphaearth_foundations/satellite_embedding/v1/annual",
}

_MEMORY_BYTES = 256 * 2**20
_Points = NDArray[np.float64]


class AlphaEarth:
    """A field of embeddings below one root. Several threads may use it, and it can be pickled.

    Args:
        root: a folder or an http, https, s3 or gs URL that holds `aef_index.parquet` and `<year>/<zone>/<name>.tiff`;
            see `PUBLISHED_ROOTS`. Servers are read without an account.
        cache: where blocks and the index are kept on disk; None keeps the last 256 MiB of blocks in memory only.

    Raises:
        InputError: a URL with a query, or of another kind. Whether the root exists shows at the first use.
    """

    def __init__(self, root: str | Path, cache: BlockCache | None = None) -> None:
        if is_remote(root):
            root = str(root).rstrip("/")
            if "?" in root or "#" in root:
                raise InputError(f"{shown(root)}: a URL with a query; expected the address of a folder")
        else:
            root = Path(root)
        self.root = root
        self.cache = cache
        self._lock = threading.Lock()
        self._index: AlphaEarthIndex | None = None
        self._tiles: dict[str, AlphaEarthTile] = {}
        self._blocks: OrderedDict[str, NDArray[np.int8]] = OrderedDict()
        self._blocks_bytes = 0

    def __reduce__(self) -> tuple[type["AlphaEarth"], tuple[str | Path, BlockCache | None]]:
        """A copy in another process opens its own files and connections."""
        return AlphaEarth, (self.root, self.cache)

    @property
    def name(self) -> str:
        """The root, for messages."""
        return shown(self.root)

    @property
    def years(self) -> tuple[int, ...]:
        """The years of the field, ascending.

        Raises:
            InputError: no index below the root, or one that cannot be read.
        """
        return self._read_index().years

    def sample(
        self, lonlat: _Points, year: int, spacing_m: float | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """The vectors of the pixels beneath some points.

        Where tiles overlap, the tile of the point's own UTM zone answers, and another one only where that has no data.

        Args:
            lonlat: float64 [N, 2], longitude and latitude in degrees; longitudes of any turn.
            year: one of `years`.
            spacing_m: when given, vectors come from the coarsest overview whose pixels are not larger than this many
                metres; otherwise from the full resolution.

        Returns:
            float32 [N, 64], unit vectors, zeros where there is no data; bool [N], whether there is.

        Raises:
            InputError: points that are not on Earth, a year that the field lacks, a tile that the index names and that
                is not there, or one that cannot be read.
        """
        lonlat = _checked(lonlat)
        if spacing_m is not None and not spacing_m > 0:
            raise InputError(f"spacing_m: found {spacing_m}; expected a positive number of metres")
        index = self._read_index()
        codes = np.full((len(lonlat), EMBEDDING_SIZE), NODATA, np.int8)
        open_points = np.ones(len(lonlat), bool)
        for tile, points, places in _by_preference(index.tiles(year, lonlat), lonlat):
            wanted = open_points[points]
            points, places = points[wanted], places[wanted]
            if len(points):
                codes[points] = self._codes(tile, places, spacing_m)
                open_points[points] = ~_has_data(codes[points])
        valid = _has_data(codes)
        vectors = np.zeros((len(lonlat), EMBEDDING_SIZE), np.float32)
        vectors[valid] = dequantize(codes[valid])
        return vectors, valid

    def _codes(self, tile: IndexedTile, places: _Points, spacing_m: float | None) -> NDArray[np.int8]:
        """Codes int8 [N, 64] at `places` [N, 2], metres inside the tile; each block beneath them is read once."""
        opened = self._open(tile)
        level = opened.level_for(spacing_m)
        rows, columns = level.pixels(places)
        height, width = level.block_shape
        blocks, which = np.unique(np.stack([rows // height, columns // width], 1), axis=0, return_inverse=True)
        which = which.reshape(-1)
        codes = np.empty((len(places), EMBEDDING_SIZE), np.int8)
        for number, (row, column) in enumerate(blocks.tolist()):
            mine = which == number
            block = self._block(tile, opened, level, row, column)
            codes[mine] = block[:, rows[mine] % height, columns[mine] % width].T
        return codes

    def _block(
        self, tile: IndexedTile, opened: AlphaEarthTile, level: Level, row: int, column: int
    ) -> NDArray[np.int8]:
        key = f"{self._address(tile.path)} {opened.version} {level.number} {row} {column}"
        with self._lock:
            if key in self._blocks:
                self._blocks.move_to_end(key)
                return self._blocks[key]
        block = self.cache.get(key) if self.cache else None
        if block is None:
            block = opened.read_block(level, row, column)
            if self.cache:
                self.cache.put(key, block)
        with self._lock:
            if key not in self._blocks:  # another thread may have read it, too
                self._blocks[key] = block
                self._blocks_bytes += block.nbytes
            while len(self._blocks) > 1 and self._blocks_bytes > _MEMORY_BYTES:
                self._blocks_bytes -= self._blocks.popitem(last=False)[1].nbytes
        return block

    def _open(self, tile: IndexedTile) -> AlphaEarthTile:
        with self._lock:
            if tile.path not in self._tiles:
                opened = AlphaEarthTile(open_ranges(self._address(tile.path)))
                self._check(tile, opened)
                self._tiles[tile.path] = opened
            return self._tiles[tile.path]

    def _check(self, tile: IndexedTile, opened: AlphaEarthTile) -> None:
        """That a tile lies where the index says."""
        name = shown(self._address(tile.path))
        if opened.epsg and f"EPSG:{opened.epsg}" != tile.crs:
            raise InputError(f"{name}: lies in EPSG:{opened.epsg}; the index says {tile.crs}. Write the index again")
        full = opened.levels[0]
        if np.abs(np.subtract(full.bounds, tile.utm_bounds)).max() > full.pixel_m / 2:
            found, expected = _metres(full.bounds), _metres(tile.utm_bounds)
            raise InputError(f"{name}: lies at {found}; the index says {expected}. Write the index again")

    def _read_index(self) -> AlphaEarthIndex:
        with self._lock:
            if self._index is None:
                if isinstance(self.root, Path) and not (self.root / INDEX_NAME).exists():
                    raise InputError(
                        f"{self.root}: no AlphaEarth field; expected {INDEX_NAME} in it, beside tiles as "
                        f"<year>/<zone>/<name>.tiff; one is public at {PUBLISHED_ROOTS['Source Cooperative']}"
                    )
                self._index = read_index(open_ranges(self._address(INDEX_NAME)), self.cache)
            return self._index

    def _address(self, name: str) -> str | Path:
        return f"{self.root}/{name}" if isinstance(self.root, str) else self.root / name


def _by_preference(
    tiles: list[tuple[IndexedTile, NDArray[np.intp]]], lonlat: _Points
) -> Iterator[tuple[IndexedTile, NDArray[np.intp], _Points]]:
    """Tiles with the points inside them and their places in metres: first those of the points' own zone, by path."""
    longitude, latitude = lonlat.T
    zones = np.floor((longitude + 180) / 6).astype(int) % 60 + 1
    inside = []
    for tile, points in tiles:
        places = project(WGS84, tile.crs, lonlat[points])
        west, south, east, north = tile.utm_bounds
        x, y = places.T
        within = (west <= x) & (x < east) & (south <= y) & (y < north)
        inside.append((tile, points[within], places[within]))
    for own in (True, False):
        for tile, points, places in inside:
            number, hemisphere = int(tile.utm_zone[:-1]), tile.utm_zone[-1]
            chosen = ((zones[points] == number) & ((latitude[points] >= 0) == (hemisphere == "N"))) == own
            yield tile, points[chosen], places[chosen]


def _has_data(codes: NDArray[np.int8]) -> NDArray[np.bool_]:
    """[N] for codes [N, 64]. A vector of zeros has no direction; only damaged or foreign tiles hold one."""
    return ~(codes == NODATA).any(axis=1) & codes.any(axis=1)


def _checked(lonlat: _Points) -> _Points:
    """A copy with longitudes in [-180, 180)."""
    lonlat = np.array(lonlat, np.float64)
    if lonlat.ndim != 2 or lonlat.shape[1] != 2:
        raise InputError(f"lonlat: found shape {list(lonlat.shape)}; expected [N, 2], longitude and latitude")
    wrong = ~np.isfinite(lonlat).all(axis=1) | (np.abs(lonlat[:, 1]) > 90)
    if wrong.any():
        raise InputError(f"lonlat: found {lonlat[wrong][0].tolist()}; expected finite degrees, latitude in [-90, 90]")
    lonlat[:, 0] = (lonlat[:, 0] + 180) % 360 - 180
    return lonlat


def _metres(bounds: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.0f}" for value in bounds)
