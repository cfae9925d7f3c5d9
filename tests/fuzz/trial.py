"""One input, run in this process under a limit of time, and what is wrong with what came of it."""

import io
import json
import re
import resource
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

import pyarrow.parquet as pq

from fusargpt.cli.main import main
from tests.fuzz.material import Material

SECONDS = 60.0
"""Of a processor: an input that takes longer hangs."""
SHORT = ["--max-new-tokens", "3"]
"""Answers of an untrained model have no end."""
WAIT = 1200.0
"""Seconds on the clock: one that waits so long hangs, too. The machine may be busy with other things."""
_GROWTH = 2**20
"""KiB by which the peak of this process may grow with one input."""


class Hang(BaseException):
    """Past every `except Exception`."""


class Lost(AssertionError):
    """A good item is not there, or a message is not as it should be."""


@dataclass(frozen=True)
class Finding:
    """An input that did harm, and how."""

    kind: str
    number: int
    harm: str
    detail: str

    def __str__(self) -> str:
        return f"{self.kind} {self.number}: {self.harm}\n{self.detail.rstrip()}\n"


@dataclass(frozen=True)
class Said:
    """How a verb ended."""

    code: int
    out: str
    err: str


Kind = Callable[[Random, Material, Path], None]


def tell(arguments: list[str]) -> Said:
    """Run `fusargpt`; Lost where it ends in another way than it promises."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code: object = main(arguments)
        except SystemExit as end:
            code = end.code or 0
    said = Said(code if isinstance(code, int) else -1, out.getvalue(), err.getvalue())
    lines = said.err.strip("\n").replace("\r", "\n").split("\n")
    if said.code not in (0, 1, 2):
        raise Lost(f"{arguments}: ended with {code!r}\n{said.err}")
    if said.code == 2 and not re.match(r"fusargpt[a-z ]*: error: .", lines[-1]) and "\nverbs:\n" not in said.err:
        raise Lost(f"{arguments}: the last of what was said is no error line\n{said.err[-2000:]}")
    if "Traceback (most recent" in said.err:
        raise Lost(f"{arguments}: a traceback was printed\n{said.err[-3000:]}")
    return said


def rows_of(path: Path) -> list[dict[str, Any]]:
    """Of a file that a verb wrote; none where there is no file."""
    if not path.exists():
        return []
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    return [json.loads(line) for line in path.read_text().split("\n") if line]


def check_there(said: Said, rows: list[dict[str, Any]], names: set[str]) -> None:
    """Lost where a row of these ids is missing."""
    missing = names - {row["id"] for row in rows}
    if missing:
        raise Lost(f"{sorted(missing)} are not there\n{said.err}")


def try_input(name: str, kind: Kind, number: int, seed: int, material: Material, place: Path) -> Finding | None:
    """Run input `number` of a kind in the folder `place`, which is made and removed."""
    place.mkdir()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        with _time_limit():
            kind(Random(f"{seed} {name} {number}"), material, place)
    except Hang:
        return Finding(
            name,
            number,
            f"takes {SECONDS:g} seconds of a processor, or waits {WAIT:g}",
            traceback.format_exc(limit=-12),
        )
    except Lost as lost:
        return Finding(name, number, "is not told as it should be, or good work is lost", str(lost))
    except Exception:
        return Finding(name, number, "ends in a traceback", traceback.format_exc(limit=-12))
    finally:
        shutil.rmtree(place, ignore_errors=True)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    if grown > _GROWTH:
        return Finding(name, number, f"takes {grown / 2**20:.1f} GiB", "")
    return None


@contextmanager
def _time_limit() -> Generator[None]:
    def stop(_number: int, _frame: FrameType | None) -> None:
        raise Hang

    timers = {signal.SIGPROF: (signal.ITIMER_PROF, SECONDS), signal.SIGALRM: (signal.ITIMER_REAL, WAIT)}
    before = {number: signal.signal(number, stop) for number in timers}
    for timer, seconds in timers.values():
        signal.setitimer(timer, seconds)
    limit = sys.getrecursionlimit()
    try:
        yield
    finally:
        for number, (timer, _) in timers.items():
            signal.setitimer(timer, 0)
            signal.signal(number, before[number])
        sys.setrecursionlimit(limit)
