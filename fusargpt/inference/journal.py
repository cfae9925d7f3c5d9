"""What a run has done, on disk: answers are appended as they come, so that a run that was cut goes on where it stopped.

A journal is a file of lines of JSON: what its answers depend on, then the answers. Where several processes answer, each
has a journal of its own in one folder.
"""

import json
import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from fusargpt.errors import InputError
from fusargpt.files import output_file, reason, watching_disk
from fusargpt.inference.questions import Answer

_TEXTS = ("id", "task", "question", "answer", "skipped", "read_as")
_REMEDY = "make room, and the same command goes on with what is answered; or choose another place"


class Journal:
    """The answers of one process to its items.

    Args:
        path: made, with its folder, where it does not exist.
        conditions: what the answers depend on, as plain JSON.
        run: what writes the file, for messages: "a run".

    Attributes:
        answers: by the ids of their items.

    Raises:
        InputError: a file that was written under other conditions, one that is damaged, or one that cannot be written.
    """

    def __init__(self, path: Path, conditions: Mapping[str, object], run: str) -> None:
        self._path = path
        self.answers: dict[str, Answer] = {}
        if path.is_file():
            self.answers, whole = _read(path, conditions, run)
            # A line that broke off when the run was cut goes, so that the next one begins on its own.
            with _writing(path):
                os.truncate(path, whole)
        else:
            with _writing(path):
                path.parent.mkdir(parents=True, exist_ok=True)
            with output_file(path, _REMEDY) as partial:
                partial.write_text(_line(conditions), encoding="utf-8")

    def add(self, answers: Sequence[Answer]) -> None:
        """Append, so that whatever happens next these are kept; InputError where they cannot be."""
        with _writing(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write("".join(_line(asdict(answer)) for answer in answers))
        self.answers |= {answer.id: answer for answer in answers}


def new_journal(folder: Path, conditions: Mapping[str, object], run: str) -> Journal:
    """A journal of its own, beside those of other processes."""
    return Journal(folder / f"{uuid4().hex}.jsonl", conditions, run)


def read_journals(folder: Path, conditions: Mapping[str, object], run: str) -> dict[str, Answer]:
    """The answers of all journals in a folder, by the ids of their items; raises InputError as `Journal`."""
    answers: dict[str, Answer] = {}
    for path in sorted(folder.glob("*.jsonl")):
        answers |= _read(path, conditions, run)[0]
    return answers


def check_same(name: str, found: object, expected: Mapping[str, object], run: str) -> None:
    """Raises InputError that names the first setting in which an earlier run differs."""
    if not isinstance(found, dict):
        raise InputError(f"{name}: expected the settings of {run}; choose another place")
    for key in (*expected, *(found.keys() - expected.keys())):
        before, now = (json.dumps(settings.get(key)) for settings in (found, expected))
        if before != now:
            raise InputError(
                f"{name}: {run} with {key} {before}, now {now}; choose another place or remove what it left"
            )


@contextmanager
def _writing(path: Path) -> Generator[None]:
    """Raises InputError where the block cannot write `path`."""
    try:
        with watching_disk(path.parent, str(path), None, _REMEDY):
            yield
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({reason(error)}); {_REMEDY}") from error


def _read(path: Path, conditions: Mapping[str, object], run: str) -> tuple[dict[str, Answer], int]:
    """The answers in a file, and the length in bytes of its whole lines."""
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    lines = whole.decode("utf-8", "replace").splitlines()
    try:
        found = json.loads(lines[0])
        answers = [_answer(json.loads(line)) for line in lines[1:]]
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise InputError(f"{path}: a damaged file; remove it, and its answers are asked again") from error
    check_same(str(path), found, conditions, run)
    return {answer.id: answer for answer in answers}, len(whole)


def _answer(record: dict[str, Any]) -> Answer:
    """Raises ValueError, TypeError or KeyError for what `add` has not written."""
    width, height = record["size"]
    seen_width, seen_height = record["seen"]
    anchors, scores = record["anchors"], record.get("scores")
    confidence, counts = record.get("confidence"), record.get("counts")
    numbers = (width, height, seen_width, seen_height, *([] if anchors is None else [anchors]))
    if not (
        all(isinstance(record[name], str) for name in _TEXTS)
        and all(type(number) is int for number in numbers)
        and isinstance(record["seconds"], int | float)
        and (scores is None or all(map(_is_share, scores)))
        and (confidence is None or _is_share(confidence))
        and isinstance(record.get("calibrated", False), bool)
        and (counts is None or (counts and all(type(count) is int and _is_share(share) for count, share in counts)))
    ):
        raise TypeError
    kept = None if scores is None else tuple(scores)
    told = None if counts is None else tuple((count, share) for count, share in counts)
    return replace(Answer(**record), size=(width, height), seen=(seen_width, seen_height), scores=kept, counts=told)


def _is_share(number: object) -> bool:
    return isinstance(number, float) and 0 <= number <= 1


def _line(content: Mapping[str, object]) -> str:
    # ASCII, so that no character of an answer ends a line.
    return json.dumps(content) + "\n"
