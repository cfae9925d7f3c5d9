"""What lies beside the output of a run while it lasts: a lock, and a journal by which the same command goes on."""

import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from fusargpt.errors import InputError
from fusargpt.files import check_writable, held
from fusargpt.inference.journal import Journal


@contextmanager
def held_output(out: Path | None) -> Generator[None]:
    """Of this run alone, where anything is written.

    Raises:
        InputError: no such folder, or another run that writes `out`.
    """
    if out is None:
        yield
        return
    _check_folder(out)
    with held(out.with_name(f".{out.name}.lock"), out):
        yield


def check_outputs(source: str | Path, *paths: str | Path | None) -> None:
    """Before hours go by: raises InputError for an output that cannot be written, or that is the source itself."""
    for path in paths:
        if path is None:
            continue
        _check_folder(Path(path))
        if Path(path).exists() and Path(source).exists() and Path(path).samefile(source):
            raise InputError(f"{path}: is the scene itself; choose another file to write")
        check_writable(Path(path), "choose another place")


def check_new(out: Path | None, *pictures: str | Path | None) -> None:
    """Raises InputError for a file that is there already, unless a run beside `out` is to be ended by the same call."""
    if out is not None and journal_path(out).is_file():
        return
    for path in (out, *pictures):
        if path is not None and Path(path).exists():
            raise InputError(f"{path}: exists already; remove it or choose another place")


def journal_path(out: Path) -> Path:
    """Where the journal of a run that writes `out` lies while anything is missing."""
    return out.with_name(f".{out.name}.journal.jsonl")


@contextmanager
def journal_of(out: Path | None, conditions: Mapping[str, object]) -> Generator[Journal]:
    """The journal beside `out`; one that ends with the block where nothing is written. Raises what `Journal` raises."""
    if out is not None:
        yield Journal(journal_path(out), conditions, "a run")
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Journal(Path(folder) / "journal.jsonl", conditions, "a run")


def forget_journal(out: Path | None) -> None:
    """What a finished run leaves is its output."""
    if out is not None:
        journal_path(out).unlink(missing_ok=True)


def _check_folder(path: Path) -> None:
    folder = path.absolute().parent
    if not folder.is_dir():
        raise InputError(f"{path}: no folder {folder}; make it first")
