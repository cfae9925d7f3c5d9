"""Features, matches and texts on disk, block by block, so that a run that was cut computes nothing again."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from fusargpt.errors import InputError
from fusargpt.files import output_file
from fusargpt.foundation.features import Features, Tower
from fusargpt.foundation.places import View
from fusargpt.inference.journal import check_same

BLOCK_VIEWS = 128
BLOCK_PAIRS = 2048
_CONDITIONS = "conditions.json"
_REMEDY = "what is computed is kept; make room, and the same command goes on"


class Store:
    """What one tower computed, in a folder of its own.

    Args:
        folder: made where it does not exist.
        conditions: what the numbers depend on, as plain JSON.
        title: how progress bars begin.
        batch_size: views that the tower is shown together.

    Raises:
        InputError: a folder that was filled under other conditions.
    """

    def __init__(self, folder: Path, conditions: Mapping[str, object], title: str, batch_size: int) -> None:
        self._folder, self._title, self._batch_size = folder, title, batch_size
        folder.mkdir(parents=True, exist_ok=True)
        self._resize = folder / "resize.txt"
        path = folder / _CONDITIONS
        if path.is_file():
            try:
                found = json.loads(path.read_text())
            except ValueError as error:
                raise InputError(f"{path}: a damaged file; remove {folder}, and it is computed again") from error
            check_same(str(folder), found, conditions, "features")
        else:
            with output_file(path, _REMEDY) as partial:
                partial.write_text(json.dumps(conditions, indent=1), encoding="utf-8")

    def features(self, name: str, views: Sequence[View], tower: Callable[[], Tower]) -> Features:
        """The features of `views`, which are always the same for one name; tokens in half precision."""

        def compute(start: int) -> dict[str, NDArray[np.floating]]:
            with output_file(self._resize, _REMEDY) as partial:
                partial.write_text(tower().resize, encoding="utf-8")
            shown = [views[index : index + self._batch_size] for index in self._batches(start, len(views))]
            found = [tower().features(batch) for batch in shown]
            return {
                "pooled": np.concatenate([features.pooled for features in found]),
                "tokens": np.concatenate([features.tokens for features in found]).astype(np.float16),
                "embeddings": np.concatenate([features.embeddings for features in found]),
            }

        blocks = self._blocks(name, len(views), BLOCK_VIEWS, compute)
        return Features(**{key: np.concatenate([block[key] for block in blocks]) for key in blocks[0]})

    def texts(self, name: str, count: int, write: Callable[[int, int], Sequence[str]]) -> list[str]:
        """`count` texts, which are always the same for one name.

        Args:
            name: of the file's blocks.
            count: how many.
            write: those from a first one to before another.
        """

        def compute(start: int) -> dict[str, NDArray[Any]]:
            end = min(start + BLOCK_VIEWS, count)
            starts = range(start, end, self._batch_size)
            written = [text for first in starts for text in write(first, min(first + self._batch_size, end))]
            return {"text": np.array(written, dtype=np.str_)}

        blocks = self._blocks(name, count, BLOCK_VIEWS, compute)
        return [str(text) for block in blocks for text in block["text"]]

    @property
    def resize(self) -> str:
        """What became of pictures before the tower saw them, in words; "" where it has seen none."""
        return self._resize.read_text(encoding="utf-8") if self._resize.is_file() else ""

    def of_pairs(
        self, name: str, pairs: int, numbers: Callable[[int, int], NDArray[np.float32]]
    ) -> NDArray[np.float32]:
        """A number for each of `pairs` pairs, which are always the same for one name.

        Args:
            name: of the file's blocks.
            pairs: how many.
            numbers: computes those from a first pair to before another.
        """
        if not pairs:
            return np.zeros(0, np.float32)

        def compute(start: int) -> dict[str, NDArray[np.floating]]:
            return {"number": numbers(start, min(start + BLOCK_PAIRS, pairs))}

        blocks = self._blocks(name, pairs, BLOCK_PAIRS, compute)
        return np.concatenate([block["number"] for block in blocks])

    def _batches(self, start: int, count: int) -> range:
        return range(start, min(start + BLOCK_VIEWS, count), self._batch_size)

    def _blocks(
        self, name: str, count: int, size: int, compute: Callable[[int], Mapping[str, NDArray[Any]]]
    ) -> list[dict[str, NDArray[Any]]]:
        blocks = []
        with tqdm(total=count, desc=f"{self._title}: {name}", disable=None, leave=False) as progress:
            for start in range(0, count, size):
                path = self._folder / f"{name}-{start:06d}.npz"
                if not path.is_file():
                    computed = compute(start)
                    with output_file(path, _REMEDY) as partial, partial.open("wb") as file:
                        np.savez(file, allow_pickle=False, **computed)
                blocks.append(_read(path))
                progress.update(min(size, count - start))
        return blocks


def _read(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    # What numpy and zipfile raise on a damaged archive.
    except (ValueError, OSError, EOFError, KeyError) as error:
        raise InputError(f"{path}: a damaged file; remove it, and it is computed again") from error
