"""Work in pieces that are on disk whole or not at all: what was cut is begun anew at its last piece.

What is in a piece does not depend on where an earlier run was cut, so that its numbers do not: a batch of other images
rounds otherwise.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from fusargpt.errors import InputError
from fusargpt.files import output_file

_REMEDY = "make room, and the same command goes on with what is done; or choose another --out"

Rows = list[dict[str, Any]]


def in_chunks(
    folder: Path, numbers: Sequence[int], size: int, work: Callable[[Sequence[int]], Rows], title: str, unit: str
) -> Rows:
    """What `work` makes of `numbers`, `size` at a time; plain JSON, kept in `folder`.

    Raises:
        InputError: a file that is damaged or cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found: Rows = []
    with tqdm(total=len(numbers), unit=unit, desc=title, disable=None) as bar:
        for first in range(0, len(numbers), size):
            some = numbers[first : first + size]
            path = folder / f"{first // size:06d}.json"
            if path.is_file():
                found += _read(path)
            else:
                made = json.dumps(work(some))
                with output_file(path, _REMEDY) as partial:
                    partial.write_text(made, encoding="utf-8")
                found += json.loads(made)
            bar.update(len(some))
    return found


def _read(path: Path) -> Rows:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: a damaged file; remove it, and it is made again") from error
