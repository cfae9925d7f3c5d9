"""What a run leaves on disk is there whole or not at all, whenever it is killed.

A folder is written under another name beside its own (`partial-...`), its bytes are forced to the disk, and it is
renamed. One run at a time holds an output folder, so that what lies under such a name belongs to a run that has died.
"""

import os
import re
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from fusargpt.errors import InputError
from fusargpt.files import held, reason
from modeling_fusargpt.artefacts import ADAPTER_CONFIG_FILE

PARTIAL = "partial-"  # not `checkpoint-...`, where transformers would look for checkpoints
LOCK = "run.lock"
CHECKPOINT = re.compile(r"checkpoint-(\d+)")
STATE = "trainer_state.json"
RESULT = f"{PARTIAL}result"
MANIFESTS = (
    "config.json",
    ADAPTER_CONFIG_FILE,
)  # put in their place last, in this order: either says what a folder holds
# Workers of a killed run hold its lock until they see that it is gone; torch has them look every 5 seconds.
WAIT_SECONDS = 20.0


@contextmanager
def holding(output_dir: Path) -> Generator[None]:
    """Keep other runs out of `output_dir`, which is made if need be, and clear what dead ones left half written.

    Raises InputError when another run is still there, and for a folder that cannot be written or locked.
    """
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"output_dir: {output_dir} cannot be written ({reason(error)}); choose a folder that can"
        ) from error
    with held(output_dir / LOCK, f"output_dir: {output_dir}", WAIT_SECONDS):
        if (output_dir / RESULT).is_dir():
            for name in MANIFESTS:  # of a result that has not been put in its place as a whole
                (output_dir / name).unlink(missing_ok=True)
        for path in output_dir.glob(f"{PARTIAL}*"):
            shutil.rmtree(path)
        yield


def partial_name(target: Path) -> Path:
    """Where `target` is written before it is whole."""
    return target.with_name(PARTIAL + target.name)


def to_disk(folder: Path) -> None:
    """Force the bytes and names of all that is in `folder` to the disk."""
    for place, _, names in os.walk(folder):
        for name in names:
            _sync(Path(place, name))
        _sync(Path(place))


def complete(target: Path) -> None:
    """Give the folder written at `partial_name(target)` its name, all of its bytes on the disk before."""
    partial = partial_name(target)
    to_disk(partial)
    if target.exists():
        remove(target)
    partial.rename(target)
    _sync(target.parent)


def publish(output_dir: Path) -> None:
    """Move all that is in `partial-result` of `output_dir` beside it, over what is there; the manifests after all else.

    Whoever takes a manifest for the sign of a whole result never sees a part of one.
    """
    partial = output_dir / RESULT
    to_disk(partial)
    found = {path.name: path for path in partial.iterdir()}
    last = [name for name in MANIFESTS if name in found]
    for name in [*sorted(set(found) - set(last)), *last]:
        if name in last:
            _sync(output_dir)  # the names of the others
        target = output_dir / name
        if target.is_dir():
            shutil.rmtree(target)
        found[name].rename(target)
    _sync(output_dir)
    partial.rmdir()


def finished_by(output_dir: Path) -> str | None:
    """The manifest of a finished stage in `output_dir`; None where there is none, or its result is not whole."""
    if (output_dir / RESULT).is_dir():
        return None
    return next((name for name in MANIFESTS if (output_dir / name).is_file()), None)


def refuse_finished(output_dir: Path) -> None:
    """Raises FileExistsError for a folder that holds a finished stage."""
    sign = finished_by(output_dir)
    if sign is not None:
        raise FileExistsError(f"output_dir: {output_dir} holds a finished stage ({sign}); remove it or choose another")


def checkpoint_to_resume(output_dir: Path, resume: bool) -> Path | None:
    """The last checkpoint in `output_dir`, or None. Raises FileExistsError for one that `resume` does not allow for."""
    found = checkpoints(output_dir)
    if found and not resume:
        raise FileExistsError(
            f"output_dir: {output_dir} holds {found[-1].name} of an earlier run; set `resume: true` to "
            "go on from it, or remove it to start afresh"
        )
    return found[-1] if found else None


def remove(folder: Path) -> None:
    """Remove a checkpoint; killed on the way, it is no checkpoint any more."""
    going = folder.with_name(f"{PARTIAL}removed-{folder.name}")
    folder.rename(going)
    shutil.rmtree(going)


def checkpoints(output_dir: Path) -> list[Path]:
    """The checkpoints in `output_dir`, oldest first."""
    found = [path.parent for path in output_dir.glob(f"checkpoint-*/{STATE}") if CHECKPOINT.fullmatch(path.parent.name)]
    return sorted(found, key=lambda path: int(path.name.removeprefix("checkpoint-")))


def rotate(output_dir: Path, limit: int | None, best: str | None) -> None:
    """Remove the oldest checkpoints until `limit` are left (None: all); never the newest, nor `best`."""
    found = checkpoints(output_dir)
    kept = {found[-1].name if found else None, Path(best).name if best is not None else None} - {None}
    surplus = len(found) - max(limit, len(kept)) if limit else 0
    for path in [path for path in found if path.name not in kept][: max(surplus, 0)]:
        remove(path)


def folder_bytes(folder: Path) -> int:
    """Bytes of all files in `folder` and below."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
