"""Files of vectors that are not what they should be."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fusargpt.embedding.features import Features, Row, is_features, read_features
from fusargpt.errors import InputError

ABOUT: dict[str, Any] = {"model": "tiny", "model_hash": "abc", "kind": "folder", "sources": ["chips"], "options": {}}


def features(count: int = 3, **changes: Any) -> Features:
    rows = [Row(f"{number}.png", "chips", (0, 0, 9, 9), 0, "", None) for number in range(count)]
    vectors = np.eye(4, dtype=np.float32)[np.arange(count) % 4]
    return Features.of(rows, vectors, "tiny", "abc", ABOUT | changes)


def test_what_was_written_is_read(tmp_path: Path):
    features().write(tmp_path / "chips.parquet")
    found = read_features(tmp_path / "chips.parquet")
    assert np.array_equal(found.vectors, features().vectors) and found.table.equals(features().table)
    assert found.model == "tiny" and found.model_hash == "abc" and is_features(str(tmp_path / "chips.parquet"))


def test_an_outline_across_the_antimeridian_is_of_two_parts(tmp_path: Path):
    squares = [[[[west, 0], [west + 1, 0], [west + 1, 1], [west, 1], [west, 0]]] for west in (179, -180)]
    outline = {"type": "MultiPolygon", "coordinates": squares}
    row = Row("0,0", "scene.tif", (0, 0, 9, 9), 0, "", outline)
    bare = Row("1,0", "scene.tif", (9, 0, 18, 9), 0, "", None)
    vectors = np.ones((2, 1), np.float32)
    Features.of([row, bare], vectors, "tiny", "abc", ABOUT).write(tmp_path / "scene.parquet")
    geo = json.loads(pq.read_schema(tmp_path / "scene.parquet").metadata[b"geo"])["columns"]["geometry"]
    assert geo["geometry_types"] == ["MultiPolygon"] and geo["bbox"] == [-180, 0, 180, 1]
    assert read_features(tmp_path / "scene.parquet").outline(1) is None


def changed(path: Path, **columns: Any) -> None:
    """A file like those of `Features.write`, with other columns; None leaves one out."""
    features().write(path)
    table = pq.read_table(path)
    for name, values in columns.items():
        place = table.column_names.index(name)
        table = table.remove_column(place) if values is None else table.set_column(place, name, values)
    pq.write_table(table, path)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"box": None}, "no column box; found id, source, embedding"),
        ({"embedding": pa.array([[1.0]] * 3)}, "embedding: found list<"),
        ({"embedding": pa.array([[1.0], None, [1.0]], pa.list_(pa.float32(), 1))}, "embedding: 1 are missing"),
        ({"embedding": pa.array([[1.0], [2.0], [1.0]], pa.list_(pa.float32(), 1))}, "not of length 1"),
        ({"embedding": pa.array([[1.0], [float("nan")], [1.0]], pa.list_(pa.float32(), 1))}, "not of length 1"),
        ({"model_hash": pa.array(["abc", "abc", "abd"])}, "vectors of several models"),
        ({"id": pa.array([b"a", b"b", b"caf\xe9"])}, "id: found binary; expected string"),
        ({"box": pa.array([[0, 0, 9]] * 3)}, r"box: found list<.*>; expected fixed_size_list<.*>\[4\]"),
        ({"source": pa.array(["a", None, "a"])}, "source: 1 are missing"),
        ({"model_hash": pa.array([b"\xb0"] * 3).view(pa.string())}, "model_hash: found string; expected string .*UTF"),
    ],
)
def test_other_columns_are_one_line(columns: dict[str, Any], said: str, tmp_path: Path):
    changed(tmp_path / "chips.parquet", **columns)
    with pytest.raises(InputError, match=f"chips.parquet: .*{said}"):
        read_features(tmp_path / "chips.parquet")


def test_an_outline_that_is_none_is_one_line(tmp_path: Path):
    changed(tmp_path / "chips.parquet")
    table = pq.read_table(tmp_path / "chips.parquet").append_column("geometry", pa.array([b"no", b"wkb", None]))
    pq.write_table(table, tmp_path / "chips.parquet")
    with pytest.raises(InputError, match=r"chips\.parquet: geometry: found what is no WKB"):
        read_features(tmp_path / "chips.parquet")


def test_other_files_are_one_line(tmp_path: Path):
    with pytest.raises(InputError, match="no such file; expected what fusargpt embed wrote"):
        read_features(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("no parquet")
    for read in (read_features, lambda path: is_features(str(path))):
        with pytest.raises(InputError, match=r"text\.parquet: not a Parquet file"):
            read(tmp_path / "text.parquet")
    features().write(tmp_path / "named.parquet")
    named = (tmp_path / "named.parquet").read_bytes()
    (tmp_path / "named.parquet").write_bytes(named.replace(b"read_as", b"\xffead_as"))
    for read in (read_features, lambda path: is_features(str(path))):
        with pytest.raises(InputError, match=r"named\.parquet: not a Parquet file"):
            read(tmp_path / "named.parquet")
    features(0).write(tmp_path / "empty.parquet")
    with pytest.raises(InputError, match="no rows; embed something first"):
        read_features(tmp_path / "empty.parquet")
    pq.write_table(pq.read_table(tmp_path / "empty.parquet").replace_schema_metadata(None), tmp_path / "bare.parquet")
    with pytest.raises(InputError, match="nothing that says how it was made"):
        read_features(tmp_path / "bare.parquet")


def test_vectors_of_another_model_are_refused():
    with pytest.raises(InputError, match=r"vectors of tiny \(abc\), which cannot be compared with those of other"):
        features().check_model("other", "abd")
