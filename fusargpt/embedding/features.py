"""Vectors of images with what they are of, in memory and as a GeoParquet file.

The file has one row an image: `id`, `source`, `box` (x1, y1, x2, y2 in pixels of the image), `embedding` (a list of
float32 of fixed size, a unit vector), `anchors` (of its prior; 0 without one), `read_as`, `model`, `model_hash`, and,
where any place is known, `geometry` (GeoParquet 1.1: WKB, longitude and latitude). How it was made stands in the file's
metadata as JSON, under the key `fusargpt`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from numpy.typing import NDArray

from fusargpt.errors import InputError, one_line
from fusargpt.files import output_file
from fusargpt.scenes.geoparquet import geo_metadata

SUFFIX = ".parquet"
_REMEDY = "the vectors are kept; make room, and the same command embeds nothing again"
_KEY = b"fusargpt"
_TYPES = {
    "id": pa.string(),
    "source": pa.string(),
    "box": pa.list_(pa.int32(), 4),
    "anchors": pa.int32(),
    "read_as": pa.string(),
    "model": pa.string(),
    "model_hash": pa.string(),
}
_GEOMETRY = "geometry"
_DAMAGED = (pa.ArrowException, OSError, UnicodeError)  # the last of columns whose names are no text
_UNIT_TOLERANCE = 0.01


@dataclass(frozen=True)
class Row:
    """What a vector is of; `outline` is a GeoJSON geometry."""

    id: str
    source: str
    box: tuple[int, int, int, int]
    anchors: int
    read_as: str
    outline: Mapping[str, object] | None


@dataclass(frozen=True, eq=False)
class Features:
    """Vectors that can be searched.

    Attributes:
        vectors: float32 [N, D], unit vectors.
        table: the columns of the file but for `embedding`, N rows.
        provenance: how they were made, plain JSON.
    """

    vectors: NDArray[np.float32]
    table: pa.Table
    provenance: dict[str, Any]

    @staticmethod
    def of(
        rows: Sequence[Row], vectors: NDArray[np.float32], model: str, model_hash: str, provenance: Mapping[str, Any]
    ) -> "Features":
        """Of N rows and their vectors [N, D]."""
        count = len(rows)
        values: dict[str, Sequence[object]] = {
            "id": [row.id for row in rows],
            "source": [row.source for row in rows],
            "box": [row.box for row in rows],
            "anchors": [row.anchors for row in rows],
            "read_as": [row.read_as for row in rows],
            "model": [model] * count,
            "model_hash": [model_hash] * count,
        }
        columns: dict[str, pa.Array] = {name: pa.array(values[name], kind) for name, kind in _TYPES.items()}
        if any(row.outline is not None for row in rows):
            outlines = [None if row.outline is None else json.dumps(row.outline) for row in rows]
            wkb = shapely.to_wkb(shapely.from_geojson(np.array(outlines, object)))
            columns[_GEOMETRY] = pa.array(list(wkb), pa.binary())
        return Features(vectors, pa.table(columns), dict(provenance))

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def model(self) -> str:
        return str(self.provenance["model"])

    @property
    def model_hash(self) -> str:
        return str(self.provenance["model_hash"])

    @property
    def boxes(self) -> NDArray[np.int32]:
        """[N, 4]: x1, y1, x2, y2."""
        flat = cast(pa.FixedSizeListArray, self.table["box"].combine_chunks()).flatten()
        return np.asarray(flat, np.int32).reshape(-1, 4)

    def outline(self, row: int) -> shapely.Geometry | None:
        """Of a row on Earth; None where no place is known."""
        if "geometry" not in self.table.column_names:
            return None
        wkb = self.table["geometry"][row].as_py()
        return None if wkb is None else shapely.from_wkb(wkb)

    def check_model(self, name: str, model_hash: str) -> None:
        """Raises InputError for vectors of another model than the one that is to be compared with."""
        if self.model_hash != model_hash:
            name_here = self.provenance.get("file", "features")
            raise InputError(
                f"{name_here}: vectors of {self.model} ({self.model_hash}), which cannot be compared with those of "
                f"{name} ({model_hash}); name the same model (--model), or embed again"
            )

    def write(self, path: Path) -> None:
        """As a file, whole or not at all.

        Raises:
            InputError: it cannot be written.
        """
        width = self.vectors.shape[1]
        flat = pa.array(np.ascontiguousarray(self.vectors).reshape(-1))
        embedding = pa.FixedSizeListArray.from_arrays(flat, width)
        table = self.table.add_column(3, "embedding", embedding)
        metadata = {_KEY: json.dumps(self.provenance).encode()}
        if "geometry" in table.column_names:
            metadata[b"geo"] = json.dumps(geo_metadata(_shapes(table))).encode()
        with output_file(path, _REMEDY) as partial:
            pq.write_table(table.replace_schema_metadata(metadata), partial, compression="zstd")


def read_features(path: str | Path) -> Features:
    """What `Features.write` wrote.

    Raises:
        InputError: no such file, no Parquet file, one with other columns or without rows, vectors that are not finite
            unit vectors, or vectors of several models.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected what fusargpt embed wrote")
    try:
        table = pq.read_table(path)
        names = table.column_names
    except _DAMAGED as error:
        raise InputError(f"{path}: not a Parquet file, or a damaged one ({one_line(error)})") from error
    missing = [name for name in (*_TYPES, "embedding") if name not in names]
    provenance = _provenance(table)
    if missing or provenance is None:
        found = ", ".join(names[:10])
        lacks = f"no column {', '.join(missing)}" if missing else "nothing that says how it was made"
        raise InputError(f"{path}: {lacks}; found {found}; expected what fusargpt embed wrote")
    if not table.num_rows:
        raise InputError(f"{path}: no rows; embed something first")
    table = _checked(path, table)
    if len(set(table["model_hash"].unique().to_pylist())) > 1:
        raise InputError(f"{path}: vectors of several models, which cannot be compared; keep those of one")
    vectors = _vectors(path, table["embedding"])
    return Features(vectors, table.drop_columns(["embedding"]), {**provenance, "file": str(path)})


def is_features(path: str) -> bool:
    """Whether a file has vectors to search, by its columns: a Parquet file of a dataset has other ones."""
    if not path.endswith(SUFFIX) or not Path(path).is_file():
        return False
    try:
        return "embedding" in pq.read_schema(path).names
    except _DAMAGED as error:
        raise InputError(f"{path}: not a Parquet file, or a damaged one ({one_line(error)})") from error


def _provenance(table: pa.Table) -> dict[str, Any] | None:
    try:
        found = json.loads((table.schema.metadata or {})[_KEY])
    except (KeyError, ValueError):
        return None
    wanted = ("model", "model_hash", "kind", "sources", "options")
    return found if isinstance(found, dict) and all(name in found for name in wanted) else None


def _checked(path: Path, table: pa.Table) -> pa.Table:
    """The columns beside the vectors, in the types that they are written in."""
    for name, kind in _TYPES.items():
        try:
            column = table[name].cast(kind)
            column.validate(full=True)
        except _DAMAGED as error:
            raise InputError(
                f"{path}: {name}: found {table[name].type}; expected {kind} ({one_line(error)})"
            ) from error
        if column.null_count:
            raise InputError(f"{path}: {name}: {column.null_count:,} are missing; embed again")
        table = table.set_column(table.column_names.index(name), name, column)
    if _GEOMETRY in table.column_names:
        try:
            shapely.from_wkb(np.array(table[_GEOMETRY].to_pylist(), object))
        except (shapely.GEOSException, TypeError) as error:
            raise InputError(f"{path}: {_GEOMETRY}: found what is no WKB ({one_line(error)}); embed again") from error
    return table


def _vectors(path: Path, column: pa.ChunkedArray) -> NDArray[np.float32]:
    kind = column.type
    if not pa.types.is_fixed_size_list(kind) or not pa.types.is_floating(kind.value_type):
        raise InputError(f"{path}: embedding: found {kind}; expected lists of float32 of one size")
    if column.null_count:
        raise InputError(f"{path}: embedding: {column.null_count:,} are missing; embed again")
    flat = cast(pa.FixedSizeListArray, column.combine_chunks()).flatten()
    vectors = np.asarray(flat).astype(np.float32, copy=False).reshape(-1, kind.list_size)
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
    # Not a number differs from one, too.
    if not (np.abs(lengths - 1) <= _UNIT_TOLERANCE).all():
        raise InputError(f"{path}: embedding: found vectors that are not of length 1; embed again")
    return vectors


def _shapes(table: pa.Table) -> NDArray[np.object_]:
    return np.asarray(shapely.from_wkb(np.array(table[_GEOMETRY].to_pylist(), object)))
