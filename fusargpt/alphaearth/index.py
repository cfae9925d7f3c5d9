"""The index of an AlphaEarth field: which tile lies where, for each year."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fusargpt.alphaearth.block_cache import BlockCache
from fusargpt.alphaearth.byte_ranges import ByteRanges, open_file
from fusargpt.errors import InputError, one_line
from fusargpt.geo.geometry import crs_name

INDEX_NAME = "aef_index.parquet"

_BOUNDS = ("west", "south", "east", "north")
_TEXTS = ("path", "crs", "utm_zone")
_NUMBERS = tuple(f"{frame}_{side}" for frame in ("utm", "wgs84") for side in _BOUNDS)
_COLUMNS = ("year", *_TEXTS, *_NUMBERS)
_TILE_PATH = r"(?:.*/)?\d{4}/\d{1,2}[NS]/[^/]+\.tiff?"
# Degrees. The bounds are those of corners, or of an outline; between corners the edges of a tile bulge by less.
_MARGIN = 0.02


@dataclass(frozen=True)
class IndexedTile:
    """One row.

    Attributes:
        path: relative to the root, as "2024/13N/name.tiff".
        crs: of its pixels, as "EPSG:32613".
        utm_zone: as "13N".
        utm_bounds: west, south, east, north in metres of `crs`.
    """

    path: str
    crs: str
    utm_zone: str
    utm_bounds: tuple[float, float, float, float]


class AlphaEarthIndex:
    """The tiles of all years.

    Args:
        table: the columns of the published index that are named in `fusargpt.alphaearth.layout.write_index`.
        name: of the index, for messages.

    Raises:
        InputError: no row, a path that does not end in <year>/<zone>/<name>.tiff, or a zone or number that is none.
    """

    def __init__(self, table: pa.Table, name: str) -> None:
        if table.num_rows == 0:
            raise InputError(f"{name}: no tile; expected one row for each tile")
        self.name = name
        self._texts = {column: table[column] for column in _TEXTS}
        self._numbers = {column: _numpy(table[column]) for column in _NUMBERS}
        self._year = _numpy(table["year"])
        self._check_text("path", _TILE_PATH, ".../<year>/<zone>/<name>.tiff")
        self._check_text("utm_zone", r"\d{1,2}[NS]", "a number and N or S, as 13N")
        for column, values in self._numbers.items():
            if not np.isfinite(values).all():
                row = np.flatnonzero(~np.isfinite(values))[0]
                raise InputError(f"{name}: row {row}, {column}: found {values[row]}; expected a finite number")

    @property
    def years(self) -> tuple[int, ...]:
        """Ascending."""
        return tuple(int(year) for year in np.unique(self._year))

    def tiles(self, year: int, lonlat: NDArray[np.float64]) -> list[tuple[IndexedTile, NDArray[np.intp]]]:
        """Tiles of `year` whose bounds in degrees hold some of the points [N, 2], with the numbers of these points.

        Ordered by path. A point may lie in several tiles: they overlap where zones meet.

        Raises:
            InputError: the index has no such year.
        """
        if year not in self.years:
            raise InputError(f"{self.name}: no year {year}; found {', '.join(map(str, self.years))}")
        if not len(lonlat):
            return []
        west, south, east, north = (self._numbers[f"wgs84_{side}"] for side in _BOUNDS)
        # Tiles on the antimeridian have an east that is smaller than their west, or larger than 180.
        width = np.where(east < west, east + 360 - west, east - west) + 2 * _MARGIN
        south, north = south - _MARGIN, north + _MARGIN
        longitude, latitude = lonlat.T
        rows = np.flatnonzero((self._year == year) & (south <= latitude.max()) & (north >= latitude.min()))
        found = []
        for row in rows.tolist():
            inside = (longitude - (west[row] - _MARGIN)) % 360 <= width[row]
            inside &= (south[row] <= latitude) & (latitude <= north[row])
            if inside.any():
                found.append((self._tile(row), np.flatnonzero(inside)))
        return sorted(found, key=lambda tile_and_points: tile_and_points[0].path)

    def _check_text(self, column: str, pattern: str, expected: str) -> None:
        matching = pc.call_function(
            "match_substring_regex", [self._texts[column]], pc.MatchSubstringOptions(f"^(?:{pattern})$")
        )
        if (row := pc.index(matching, pa.scalar(False)).as_py()) >= 0:
            raise InputError(
                f"{self.name}: row {row}, {column}: found {self._text(column, row)!r}; expected {expected}"
            )

    def _text(self, column: str, row: int) -> str:
        return self._texts[column][row].as_py()

    def _tile(self, row: int) -> IndexedTile:
        west, south, east, north = (float(self._numbers[f"utm_{side}"][row]) for side in _BOUNDS)
        try:
            crs = crs_name(self._text("crs", row))
        except InputError as error:
            raise InputError(f"{self.name}: row {row}, {error}") from error
        path = "/".join(self._text("path", row).split("/")[-3:])
        return IndexedTile(path, crs, self._text("utm_zone", row), (west, south, east, north))


def read_index(ranges: ByteRanges, cache: BlockCache | None) -> AlphaEarthIndex:
    """Read `aef_index.parquet`, of which only some columns are fetched, or what the cache kept of it.

    Raises:
        InputError: no such file, not a Parquet file, a missing column, one of another type, or rows without a value.
    """
    key = f"{ranges.name} {ranges.version} {' '.join(_COLUMNS)}"
    if cache and (kept := cache.get(key)) is not None:
        return AlphaEarthIndex(pa.ipc.open_stream(pa.py_buffer(kept)).read_all(), ranges.name)
    try:
        file = pq.ParquetFile(open_file(ranges))
        names = file.schema_arrow.names
        if missing := [column for column in _COLUMNS if column not in names]:
            raise InputError(f"{ranges.name}: no column {', '.join(missing)}; found {', '.join(names)}")
        table = file.read(columns=list(_COLUMNS)).select(_COLUMNS).cast(_schema())
        table.validate(full=True)
    # UnicodeError: names of columns that are no text.
    except (pa.ArrowException, OSError, UnicodeError) as error:
        raise InputError(f"{ranges.name}: not the index of an AlphaEarth field ({one_line(error)})") from error
    for column in _COLUMNS:
        if table[column].null_count:
            raise InputError(f"{ranges.name}: column {column}: {table[column].null_count} rows without a value")
    if cache:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table)
        cache.put(key, np.frombuffer(sink.getvalue(), np.uint8))
    return AlphaEarthIndex(table, ranges.name)


def _schema() -> pa.Schema:
    types = {"year": pa.int32()} | dict.fromkeys(_TEXTS, pa.string()) | dict.fromkeys(_NUMBERS, pa.float64())
    return pa.schema([(column, types[column]) for column in _COLUMNS])


def _numpy(column: pa.ChunkedArray) -> np.ndarray:
    # pyarrow's own to_numpy imports pandas, which takes seconds.
    return np.from_dlpack(column.combine_chunks())
