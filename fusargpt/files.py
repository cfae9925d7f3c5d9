"""Files and folders that are there whole or not at all; a full disk, whatever the library that was writing calls it.

What is being written lies beside its place as NAME.partial. A run that is killed leaves it there, and the next one
begins it anew. So two processes cannot write the same file at once: `held` keeps runs apart.
"""

import errno
import os
import re
import shutil
import socket
from collections.abc import Generator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout
from safetensors import SafetensorError

from fusargpt.errors import InputError, check_characters, one_line

FULL = (errno.ENOSPC, errno.EDQUOT)
PROBE_BYTES = 4 * 2**20
SAFETENSORS_NUMBER = re.compile(r"\(os error (\d+)\)")


class FullDiskError(InputError):
    """There is no room for what was to be written."""


def read_regular(path: str | Path) -> bytes:
    """What a file holds. OSError for one that cannot be read, and for a pipe or device, which would be waited for."""
    path = Path(path)
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "a folder" if path.is_dir() else "no regular file", str(path))
    return path.read_bytes()


def partial_of(path: Path) -> Path:
    """Where `path` is written before it is whole, from the root: libraries take `EPSG:4326/x` for an address."""
    return path.absolute().with_name(f"{path.name}.partial")


@contextmanager
def written_whole(path: Path, *, keep_suffix: bool = False) -> Generator[Path]:
    """The file to write in, which becomes `path` at the end of the block, in place of what was there.

    A block that fails leaves nothing of it, and what was there as it was.

    Args:
        path: in a folder that exists.
        keep_suffix: for writers that go by the suffix of a name.
    """
    partial = partial_of(path)
    if keep_suffix:
        partial = partial.with_name(f"{partial.name}{path.suffix}")
    try:
        partial.unlink(missing_ok=True)  # left by a run that was killed
        yield partial
        partial.replace(path)
    finally:
        with suppress(OSError):  # where it could not be made, or is no longer to be reached
            partial.unlink(missing_ok=True)


@contextmanager
def output_file(path: Path, remedy: str, *, keep_suffix: bool = False) -> Generator[Path]:
    """As `written_whole`, for what a user asked for; `remedy` is how the line about what went wrong ends.

    Raises:
        FullDiskError: there is no room.
        InputError: the file cannot be written for another reason.
    """
    try:
        with (
            written_whole(path, keep_suffix=keep_suffix) as partial,
            watching_disk(path.parent, str(path), None, remedy),
        ):
            yield partial
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({reason(error)}); {remedy}") from error


def check_writable(path: Path, remedy: str) -> None:
    """Raise InputError now for what `output_file` could not write later: a folder, or a file in one that is closed."""
    if path.is_dir():
        raise InputError(f"{path}: a folder; expected the name of a file to write")
    partial = partial_of(path)
    try:
        partial.touch()
        partial.unlink()
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({reason(error)}); {remedy}") from error


def reason(error: OSError) -> str:
    """Why a file cannot be used, in the system's words."""
    return error.strerror or one_line(error)


def write_text_whole(path: Path, text: str, errors: str = "strict") -> None:
    """Write `text` in UTF-8 as by `written_whole`; `errors` as of `Path.write_text`."""
    with written_whole(path) as partial:
        partial.write_text(text, encoding="utf-8", errors=errors)


@contextmanager
def held(lock: Path, output: object, seconds: float = 0.0) -> Generator[None]:
    """Keep other runs off `output` by the file `lock`, which is there while the block runs.

    Args:
        lock: in a folder that exists, of `output` alone.
        output: that is written, as messages begin.
        seconds: for which another run's end is waited for.

    Raises:
        InputError: another run holds it, its folder cannot be written, or its file system has no locks.
    """
    file_lock = FileLock(lock, timeout=seconds)
    remedy = "choose another place"
    try:
        file_lock.acquire()
    except Timeout as error:
        raise InputError(
            f"{output}: another run is at work on it{_holder(lock)}; wait for its end, or {remedy}"
        ) from error
    except NotImplementedError as error:
        raise InputError(f"{output}: its file system has no file locks, by which runs keep apart; {remedy}") from error
    except OSError as error:
        raise InputError(f"{output}: cannot be written ({reason(error)}); {remedy}") from error
    try:
        with suppress(OSError):  # of a full disk: it holds all the same
            lock.write_text(f"process {os.getpid()} on {socket.gethostname()} since {datetime.now():%Y-%m-%d %H:%M}")
        yield
    finally:
        with suppress(OSError):
            lock.unlink(missing_ok=True)
        file_lock.release()


def _holder(lock: Path) -> str:
    """Who says that it holds a lock, in brackets; nothing where nobody does."""
    try:
        found = lock.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return f" ({' '.join(found.split())})" if found.strip() else ""


@contextmanager
def new_folder(out: Path) -> Generator[Path]:
    """The folder to write in, which becomes `out` at the end of the block; it is removed when the block fails.

    Raises:
        InputError: an `out` that exists and is not an empty folder, that cannot be written, or whose name is no text,
            which tokenizers cannot write in.
    """
    out = out.resolve()  # "." has no name to put another beside
    check_characters(str(out), "out")
    check_free(out)
    partial = partial_of(out)
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
    return InputError(f"{out}: cannot be written: {one_line(error)}")


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
