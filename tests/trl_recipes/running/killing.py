"""Runs of a stage in a process of their own that dies at a chosen call, as of `kill -9`."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from trl_recipes.sft import main


def at_call(owner: Any, name: str, number: int = 1) -> Callable[[], None]:
    """Patches `owner.name` to kill the process when it is called for the `number`th time, before it does anything."""

    def patch() -> None:
        original, calls = getattr(owner, name), 0

        def dying(*arguments: Any, **keywords: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == number:
                _die()
            return original(*arguments, **keywords)

        setattr(owner, name, dying)

    return patch


def half_written(owner: Any, name: str) -> Callable[[], None]:
    """Patches `owner.name`, which writes an object to a path, to leave half of its file and kill the process."""

    def patch() -> None:
        original = getattr(owner, name)

        def dying(written: Any, path: str) -> None:
            original(written, path)
            os.truncate(path, Path(path).stat().st_size // 2)
            _die()

        setattr(owner, name, dying)

    return patch


def run_until(arguments: Sequence[str], patch: Callable[[], None], run: Callable[[Sequence[str]], None] = main) -> None:
    """Run the stage with the patch, and fail unless that kills it."""
    process = multiprocessing.get_context("fork").Process(target=_run, args=(arguments, patch, run))
    process.start()
    process.join(300)
    assert process.exitcode == -signal.SIGKILL


def _run(arguments: Sequence[str], patch: Callable[[], None], run: Callable[[Sequence[str]], None]) -> None:
    patch()
    run(arguments)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
