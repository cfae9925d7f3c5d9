"""Records on disk: a part file for each stretch of a scene, and from the parts the Parquet shards of the dataset.

Both are written under another name first and renamed when they are whole. Shards are cut where row groups end, by the
bytes of their images, so that they depend on nothing but the records and their order.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from fusargpt.files import partial_of, write_text_whole

CONFIGS = ("captions", "instructions")
GROUP_BYTES = 16 * 2**20
"""Of images in one row group: what a reader holds in memory at least."""
SHARD_BYTES = 400 * 2**20
"""Of images in one shard, as the Hub recommends."""


@dataclass(frozen=True)
class WrittenPart:
    """A finished part: where it lies, its rows in each config, what was counted, and as what its scene was read."""

    stem: Path
    rows: Mapping[str, int]
    counts: Mapping[str, int]
    read_as: str

    def file(self, config: str) -> Path:
        return self.stem.with_suffix(f".{config}.parquet")


def written_part(stem: Path) -> WrittenPart | None:
    """The part at `stem`; None where it is not finished, or its summary is damaged: it is made again."""
    try:
        summary = json.loads(stem.with_suffix(".json").read_text())
        return WrittenPart(stem, summary["rows"], summary["counts"], summary["read_as"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


class PartWriter:
    """Writes one part row by row and holds no more than a row group in memory.

    Args:
        stem: path without suffix; the summary that marks the part as finished is written last.
        schemas: of each config.
    """

    def __init__(self, stem: Path, schemas: Mapping[str, pa.Schema]) -> None:
        self._stem = stem
        self._paths = {config: stem.with_suffix(f".{config}.parquet") for config in schemas}
        self._files = {config: _GroupedFile(partial_of(self._paths[config]), schemas[config]) for config in schemas}

    def add(self, config: str, rows: Sequence[Mapping[str, object]]) -> None:
        """Append rows as `fusargpt.triplets.scene_rows` makes them."""
        if rows:
            self._files[config].add(pa.Table.from_pylist(list(rows), schema=self._files[config].schema))

    def finish(self, counts: Mapping[str, int], read_as: str = "") -> None:
        """Close the files, give them their names and write the summary."""
        for config, file in self._files.items():
            file.close()
            if file.rows:
                file.path.replace(self._paths[config])
        rows = {config: file.rows for config, file in self._files.items()}
        summary = {"rows": rows, "counts": dict(counts), "read_as": read_as}
        write_text_whole(self._stem.with_suffix(".json"), json.dumps(summary, sort_keys=True))


def write_shards(
    folder: Path, split: str, parts: Iterable[Path], schema: pa.Schema, shard_bytes: int = SHARD_BYTES
) -> dict[Path, int]:
    """Write the rows of part files, in order, as `<split>-00000-of-00001.parquet` and so on in `folder`.

    Shards of an earlier build of this split are replaced, those that are too many removed.

    Returns:
        The rows of each shard.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files: list[_GroupedFile] = []
    for table in (table for path in parts for table in _groups(path)):
        if not files or files[-1].bytes >= shard_bytes:
            if files:
                files[-1].close()
            files.append(_GroupedFile(partial_of(folder / f"{split}-{len(files):05d}"), schema))
        files[-1].add(table)
    if files:
        files[-1].close()
    shards = {folder / f"{split}-{index:05d}-of-{len(files):05d}.parquet": file for index, file in enumerate(files)}
    for stale in set(folder.glob(f"{split}-*.parquet")) - set(shards):
        stale.unlink()
    for path, file in shards.items():
        file.path.replace(path)
    return {path: file.rows for path, file in shards.items()}


class _GroupedFile:
    """A Parquet file whose row groups are cut by the bytes of their images; made with its first row."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path, self.schema = path, schema
        self.rows = self.bytes = 0
        self._waiting: list[pa.Table] = []
        self._waiting_bytes = 0
        self._writer: pq.ParquetWriter | None = None

    def add(self, table: pa.Table) -> None:
        # Row by row, so that the cuts do not depend on how the rows arrive.
        for index in range(table.num_rows):
            row = table.slice(index, 1)
            size = len(row.column("image")[0]["bytes"].as_buffer())
            self._waiting.append(row)
            self._waiting_bytes += size
            self.bytes += size
            self.rows += 1
            if self._waiting_bytes >= GROUP_BYTES:
                self._flush()

    def close(self) -> None:
        self._flush()
        if self._writer is not None:
            self._writer.close()

    def _flush(self) -> None:
        if not self._waiting:
            return
        if self._writer is None:
            self._writer = pq.ParquetWriter(
                self.path,
                self.schema,
                compression="zstd",
                # Several questions share an image. Pages this large hold some of them, and compress them to one.
                data_page_size=4 * 2**20,
                # A dictionary of images would be given up after one megabyte.
                use_dictionary=False,
            )
        self._writer.write_table(pa.concat_tables(self._waiting).combine_chunks())
        self._waiting, self._waiting_bytes = [], 0


def _groups(path: Path) -> Iterator[pa.Table]:
    with pq.ParquetFile(path) as file:
        for index in range(file.num_row_groups):
            yield file.read_row_group(index)
