"""The answers of one entry on disk: appended as they come, so that a run that was cut goes on where it stopped."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fusar_geo.errors import InputError


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


class Journal:
    """A file of lines: what its answers depend on, then the answers.

    Args:
        path: made, with its folder, where it does not exist.
        conditions: what the answers depend on, as plain JSON.

    Raises:
        InputError: a file whose answers were given under other conditions, or one that is damaged.
    """

    def __init__(self, path: Path, conditions: Mapping[str, Any]) -> None:
        self._path = path
        self.answers: dict[str, Answer] = {}
        if path.is_file():
            self._read(conditions)
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(".partial")
            partial.write_text(_line(conditions), encoding="utf-8")
            partial.replace(path)

    def add(self, answers: Sequence[Answer]) -> None:
        """Append, so that whatever happens next these are kept."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write("".join(_line(asdict(answer)) for answer in answers))
        self.answers |= {answer.id: answer for answer in answers}

    def _read(self, conditions: Mapping[str, Any]) -> None:
        content = self._path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        lines = whole.decode("utf-8", "replace").splitlines()
        try:
            found = json.loads(lines[0])
            for record in map(json.loads, lines[1:]):
                self.answers[record["id"]] = Answer(**{**record, "seen": tuple(record["seen"])})
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise InputError(f"{self._path}: a damaged file; remove it, and its answers are asked again") from error
        check_same(str(self._path), found, conditions)
        if len(whole) < len(content):
            # The last line broke off when the run was cut.
            with self._path.open("r+b") as file:
                file.truncate(len(whole))


def check_same(name: str, found: Any, expected: Mapping[str, Any]) -> None:
    """Raises InputError that names the first setting in which an earlier run differs."""
    if not isinstance(found, dict):
        raise InputError(f"{name}: expected the settings of an evaluation; choose another --out")
    for key in (*expected, *(found.keys() - expected.keys())):
        before, now = (json.dumps(settings.get(key)) for settings in (found, expected))
        if before != now:
            raise InputError(
                f"{name}: an evaluation with {key} {before}, now {now}; choose another --out or remove the folder"
            )


def _line(content: Mapping[str, Any]) -> str:
    # ASCII, so that no character of an answer ends a line.
    return json.dumps(content) + "\n"
