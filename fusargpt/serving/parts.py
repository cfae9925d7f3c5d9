"""The answers of a batch on disk: a part file for each group of items as it is answered, and from them one file."""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fusargpt.errors import InputError
from fusargpt.serving.engines import Answer

SUFFIXES = (".parquet", ".jsonl")
_SETTINGS = "settings.json"


@dataclass(frozen=True)
class Parts:
    """The folder beside the result in which its parts lie until there is nothing left to ask. Can be pickled.

    Attributes:
        out: the result, a Parquet or JSON Lines file.
    """

    out: Path

    @property
    def folder(self) -> Path:
        return self.out.with_name(f"{self.out.name}.parts")

    def claim(self, settings: Mapping[str, Any]) -> None:
        """Begin a batch, or go on with one that was begun.

        Raises:
            InputError: a result that is finished, or parts of a batch with other settings.
        """
        path = self.folder / _SETTINGS
        if not path.is_file():
            if self.out.exists():
                raise InputError(f"{self.out}: exists already; remove it or choose another --out")
            self.folder.mkdir(parents=True, exist_ok=True)
            _write(path, json.dumps(settings, indent=1))
            return
        found = json.loads(path.read_text(encoding="utf-8"))
        for key, now in settings.items():
            if found.get(key) != now:
                raise InputError(
                    f"{self.folder}: begun with {key} {json.dumps(found.get(key))}, now {json.dumps(now)}; choose "
                    "another --out or remove the folder"
                )

    def write(self, answers: Sequence[Answer]) -> None:
        """One part, whole or not at all. Its name comes from its items, so that doing it again replaces it."""
        if answers:
            name = hashlib.sha256("\n".join(answer.id for answer in answers).encode()).hexdigest()[:16]
            _write(self.folder / f"{name}.jsonl", "".join(f"{json.dumps(asdict(answer))}\n" for answer in answers))

    def read(self) -> dict[str, Answer]:
        """Id -> answer, of all parts."""
        lines = (line for path in self.folder.glob("*.jsonl") for line in path.read_text(encoding="utf-8").splitlines())
        return {answer.id: answer for answer in (Answer(**json.loads(line)) for line in lines)}

    def finish(self, order: Sequence[str], complete: bool) -> int:
        """Write the result, its rows in this order of ids. The parts go when it is complete. Returns its rows."""
        found = self.read()
        rows = [asdict(found[name]) for name in order if name in found]
        if self.out.suffix == ".jsonl":
            _write(self.out, "".join(f"{json.dumps(row)}\n" for row in rows))
        elif rows:
            partial = self.out.with_name(f"{self.out.name}.partial")
            pq.write_table(pa.Table.from_pylist(rows), partial)
            partial.replace(self.out)
        if complete:
            shutil.rmtree(self.folder)
        return len(rows)


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
