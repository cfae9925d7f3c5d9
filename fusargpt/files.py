"""A full disk, whatever the library that was writing calls it."""

import errno
import os
import re
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from fusargpt.errors import InputError

FULL = (errno.ENOSPC, errno.EDQUOT)
PROBE_BYTES = 4 * 2**20
SAFETENSORS_NUMBER = re.compile(r"\(os error (\d+)\)")


class FullDiskError(InputError):
    """There is no room for what was to be written."""


def check_room(folder: Path, what: str, needed: int, remedy: str) -> None:
    """Raise FullDiskError, in words as those of `watching_disk`, when less than the bytes needed are free."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise FullDiskError(f"{what} takes about {needed:,} bytes, {folder} has {free:,} free; {remedy}")


@contextmanager
def watching_disk(folder: Path, what: str, needed: int | None, remedy: str) -> Generator[None]:
    """Turn what the block raises because the disk of `folder` is full into one line.

    Args:
        folder: where the block writes; it may be still to be made.
        what: is written, as the line begins.
        needed: its bytes, if they are known.
        remedy: how the line ends.

    Raises:
        FullDiskError: for a full disk or a used-up quota. Any other error passes as it is.
    """
    while not folder.is_dir():
        folder = folder.parent
    try:
        yield
    except Exception as error:
        if isinstance(error, FullDiskError) or not is_full(error, folder):
            raise
        takes = "" if needed is None else f" takes about {needed:,} bytes,"
        free = shutil.disk_usage(folder).free
        # Some libraries remove what they had written, so that there can be some room by now.
        raise FullDiskError(
            f"{what}{takes or ':'} no room left in {folder} ({free:,} bytes free now); {remedy}"
        ) from error


def is_full(error: BaseException, folder: Path) -> bool:
    """Whether `error` came of a full disk: by its number or its cause's, or, of torch.save, by trying to write more."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in FULL
    if error.__cause__ is not None:
        return is_full(error.__cause__, folder)
    if isinstance(error, SafetensorError):
        number = SAFETENSORS_NUMBER.search(str(error))
        return number is not None and int(number[1]) in FULL
    # torch.save does not say why a write failed, and leaves its file where it is.
    return isinstance(error, RuntimeError) and not _has_room(folder)


def _has_room(folder: Path) -> bool:
    probe = folder / f"probe-{os.getpid()}"
    try:
        with probe.open("wb") as file:
            file.write(bytes(PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error.errno not in FULL
    finally:
        probe.unlink(missing_ok=True)
    return True
