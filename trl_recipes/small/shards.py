"""Parquet shards that are made in processes, written atomically, and kept where they are there already."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Generic, TypeVar

from datasets import Dataset, Features
from pyarrow import parquet
from tqdm import tqdm

from fusargpt.files import written_whole
from trl_recipes.data.rows import Row

Item = TypeVar("Item")
Make = Callable[[Item], list[Row]]

_CHUNK = 10
_made: list[Make[object]] = []
"""In a worker: what makes the rows, given once, as it may hold every chip."""


@dataclass(frozen=True)
class Shard(Generic[Item]):
    """A file and the items whose rows it holds."""

    path: Path
    items: Sequence[Item]


def write_shards(
    shards: Sequence[Shard[Item]], make: Make[Item], features: Features, row_group: int, workers: int
) -> None:
    """Write the shards that are not there, by as many processes as `workers` says; 0 is this one."""
    with (
        _mapping(make, workers) as mapping,
        tqdm(total=sum(len(shard.items) for shard in shards), unit="image") as progress,
    ):
        for shard in shards:
            if not shard.path.exists():
                shard.path.parent.mkdir(parents=True, exist_ok=True)
                rows = [row for part in mapping(shard.items) for row in part]
                table = Dataset.from_list(rows, features=features).data.table
                with written_whole(shard.path) as part:
                    parquet.write_table(table, part, row_group_size=row_group, compression="zstd")
            progress.update(len(shard.items))


@contextmanager
def _mapping(make: Make[Item], workers: int) -> Generator[Callable[[Iterable[Item]], Iterator[list[Row]]]]:
    if workers == 0:
        yield lambda items: map(make, items)
        return
    with get_context("spawn").Pool(workers, _take, (make,)) as pool:
        yield lambda items: pool.imap(_make, items, chunksize=_CHUNK)


def _take(make: Make[object]) -> None:
    _made[:] = [make]


def _make(item: object) -> list[Row]:
    return _made[0](item)
