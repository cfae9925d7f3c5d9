"""What a run has done, on disk: appended as it comes, so that a run that was cut goes on where it stopped."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from fusargpt.errors import InputError


class Identified(Protocol):
    """A dataclass that JSON can hold."""

    @property
    def id(self) -> str: ...


Record = TypeVar("Record", bound=Identified)


@dataclass(frozen=True)
class Answer:
    """What an entry said about an item.

    Attributes:
        id: of the item.
        prompt: the question as it was put, with the form of the answer where that was added.
        answer: the text that the model wrote.
        seen: width and height of the image in the unit of the model's boxes: pixels as it saw them, or thousandths.
        seconds: the batch's time divided by its size.
    """

    id: str
    prompt: str
    answer: str
    seen: tuple[int, int]
    seconds: float


class Records(Generic[Record]):
    """A file of lines: what its records depend on, then the records.

    Args:
        path: made, with its folder, where it does not exist.
        conditions: what the records depend on, as plain JSON.
        read: a record from the plain JSON of one.
        run: what writes the file, for messages.

    Attributes:
        records: by their ids.

    Raises:
        InputError: a file that was written under other conditions, or one that is damaged.
    """

    def __init__(
        self, path: Path, conditions: Mapping[str, Any], read: Callable[[dict[str, Any]], Record], run: str
    ) -> None:
        self._path = path
        self.records: dict[str, Record] = {}
        if path.is_file():
            self._read(conditions, read, run)
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(".partial")
            partial.write_text(_line(conditions), encoding="utf-8")
            partial.replace(path)

    def add(self, records: Sequence[Record]) -> None:
        """Append, so that whatever happens next these are kept."""
        with self._path.open("a", encoding="utf-8") as file:
            # Every record is a dataclass, which a protocol cannot say.
            file.write("".join(_line(asdict(record)) for record in records))  # pyright: ignore[reportArgumentType]
        self.records |= {record.id: record for record in records}

    def _read(self, conditions: Mapping[str, Any], read: Callable[[dict[str, Any]], Record], run: str) -> None:
        content = self._path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        lines = whole.decode("utf-8", "replace").splitlines()
        try:
            found = json.loads(lines[0])
            for record in map(read, map(json.loads, lines[1:])):
                self.records[record.id] = record
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise InputError(f"{self._path}: a damaged file; remove it, and its answers are asked again") from error
        check_same(str(self._path), found, conditions, run)
        if len(whole) < len(content):
            # The last line broke off when the run was cut.
            with self._path.open("r+b") as file:
                file.truncate(len(whole))


class Journal(Records[Answer]):
    """The answers of one entry; otherwise as `Records`."""

    def __init__(self, path: Path, conditions: Mapping[str, Any]) -> None:
        super().__init__(path, conditions, _answer, "an evaluation")

    @property
    def answers(self) -> dict[str, Answer]:
        return self.records


def check_same(name: str, found: Any, expected: Mapping[str, Any], run: str = "an evaluation") -> None:
    """Raises InputError that names the first setting in which an earlier run differs."""
    if not isinstance(found, dict):
        raise InputError(f"{name}: expected the settings of {run}; choose another --out")
    for key in (*expected, *(found.keys() - expected.keys())):
        before, now = (json.dumps(settings.get(key)) for settings in (found, expected))
        if before != now:
            raise InputError(
                f"{name}: {run} with {key} {before}, now {now}; choose another --out or remove what it left"
            )


def _answer(record: dict[str, Any]) -> Answer:
    return Answer(**{**record, "seen": tuple(record["seen"])})


def _line(content: Mapping[str, Any]) -> str:
    # ASCII, so that no character of an answer ends a line.
    return json.dumps(content) + "\n"
