"""A stage as a process: its log, its mark, and its end when this process ends."""

import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from trl_recipes.mini.stages import Stage

_GRACE_SECONDS = 20.0
_SHOWN_LINES = 15


class StageError(RuntimeError):
    """A stage ended badly, or did not end in time; the message names its log."""


def log_of(stage: Stage, build: Path) -> Path:
    """Where what a stage prints is kept."""
    return build / "logs" / f"{stage.name}.log"


def start(stage: Stage, build: Path, environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start a stage, whose log goes on where an earlier run of it stopped."""
    log = log_of(stage, build)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        command = [sys.executable, *stage.command]
        return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)


def finish(stage: Stage, process: "subprocess.Popen[bytes]", build: Path, seconds: float | None = None) -> None:
    """Wait for a stage and mark it as done; it is ended where the wait is broken off.

    Raises:
        StageError: it ended badly, or ran longer than `seconds`.
    """
    log = log_of(stage, build)
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired as error:
        raise StageError(f"{stage.name}: not done after {seconds:.0f} seconds; its log is {log}") from error
    finally:
        end(process)
    if code != 0:
        last = "\n".join(log.read_text(errors="replace").splitlines()[-_SHOWN_LINES:])
        raise StageError(f"{stage.name}: ended with code {code}; the same command goes on. The end of {log}:\n{last}")
    mark = stage.mark(build)
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()


def end(process: "subprocess.Popen[bytes]") -> None:
    """End a process that is still there: asked first, then killed."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def run(stage: Stage, build: Path, told: str) -> None:
    """Run a stage to its end, saying when it begins and how long it took.

    Raises:
        StageError: as `finish`.
    """
    began = time.monotonic()
    print(f"{told} {stage.name}: running, log in {log_of(stage, build)}", flush=True)
    finish(stage, start(stage, build), build)
    print(f"{told} {stage.name}: done in {(time.monotonic() - began) / 60:.1f} minutes", flush=True)
