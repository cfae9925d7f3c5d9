"""What jobs do that go wrong; in a module of its own, because worker processes import it."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fusargpt.triplets.workers import run_all


def crash_on(number: int, culprit: int) -> int:
    """The square of a number; for the culprit the process dies as under the hand of the kernel."""
    if number == culprit:
        os.kill(os.getpid(), signal.SIGKILL)
    return number**2


def raise_on(number: int, culprit: int) -> int:
    if number == culprit:
        raise ValueError(f"number {number}")
    return number


def build_and_die(manifest: str, aef: str, out: str) -> None:
    """A build on two processes that is killed when its first job is done."""
    from fusargpt.triplets.build import build
    from fusargpt.triplets.settings import BuildSettings

    def run(function: Callable[..., Any], jobs: Any, workers: int):
        for finished in run_all(function, jobs, workers):
            yield finished
            os.kill(os.getpid(), signal.SIGKILL)

    build(Path(manifest), Path(out), BuildSettings(aef=aef, chip_size=112), workers=2, run=run)


if __name__ == "__main__":
    build_and_die(*sys.argv[1:])
