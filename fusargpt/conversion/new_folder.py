"""A folder that appears when it is complete."""

import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from fusargpt.errors import InputError


@contextmanager
def new_folder(out: Path) -> Generator[Path]:
    """The folder to write in, which becomes `out` at the end of the block; it is removed when the block fails.

    Raises:
        InputError: an `out` that exists and is not an empty folder, or that cannot be written.
    """
    out = out.resolve()  # "." has no name to put another beside
    check_free(out)
    partial = out.with_name(f"{out.name}.partial")
    try:
        partial.mkdir(parents=True)
    except FileExistsError as error:
        raise InputError(f"{partial}: left by a command that was cut off, or still running; remove it") from error
    except OSError as error:
        raise _cannot_be_written(out, error) from error
    try:
        yield partial
        if out.is_dir():
            out.rmdir()
        partial.rename(out)
    except (OSError, SafetensorError) as error:
        raise _cannot_be_written(out, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def check_free(out: Path) -> None:
    """Raises InputError for an `out` that exists and is not an empty folder."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: found a file or a folder with files, expected a new or an empty folder")


def _cannot_be_written(out: Path, error: Exception) -> InputError:
    return InputError(f"{out}: cannot be written: {' '.join(str(error).split())}")


__all__ = ["check_free", "new_folder"]
