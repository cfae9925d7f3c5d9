"""Arrays that took time to fetch, kept on disk by what they were read from, for all processes of one user.

One file per entry. Writers replace whole files, readers check what they read against its checksum, and the files used
least recently go first when the cache grows over its limit. No lock and no database: any process can end at any time.

To look at all files at every write would take time that grows with the square of their number. A cache looks again when
it has written what was free at its last look, at most a sixteenth of the limit, and makes as much room when it is full:
several processes may together be over the limit by a sixteenth each.
"""

import contextlib
import hashlib
import json
import os
import time
import uuid
import zlib
from pathlib import Path

import numpy as np

from fusargpt.errors import InputError

_SUFFIX = ".block"
_PARTIAL_SUFFIX = ".partial"
_ABANDONED_SECONDS = 3600.0
_LOOKS = 16
"""At least so often the folder is looked at while as much is written as it may hold."""


def default_folder() -> Path:
    """`fusargpt/blocks` in the user's cache folder: $XDG_CACHE_HOME, or ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fusargpt" / "blocks"


class BlockCache:
    """A folder of arrays. Several threads and processes may share it; it can be pickled.

    Args:
        folder: made when it is missing; `default_folder()` when None.
        max_bytes: the limit to its size. One block of a published AlphaEarth tile takes 64 MiB.

    Raises:
        InputError: a limit that is not positive, or a folder that cannot be made.
    """

    def __init__(self, folder: str | Path | None = None, max_bytes: int = 8 * 2**30) -> None:
        if max_bytes <= 0:
            raise InputError(f"max_bytes: found {max_bytes}; expected a positive number of bytes")
        self.folder = Path(folder) if folder is not None else default_folder()
        self.max_bytes = max_bytes
        self._free = 0
        """Bytes to write until the next look at the folder."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"{self.folder}: cannot be made ({error.strerror}); choose another cache folder"
            ) from error

    def get(self, key: str) -> np.ndarray | None:
        """The array that was put under `key`; None where there is none or where its file is damaged."""
        path = self._path(key)
        try:
            with open(path, "rb") as file:
                header = file.readline()
                content = file.read()
        except OSError:
            return None
        array = _decode(key, header, content)
        if array is None:
            _remove(path)
        else:
            _touch(path)
        return array

    def put(self, key: str, array: np.ndarray) -> None:
        """Keep `array`; the arrays used least recently make room for it. One larger than the limit is not kept.

        Raises:
            InputError: the folder cannot be written to.
        """
        if array.nbytes > self.max_bytes:
            return
        content = np.ascontiguousarray(array).tobytes()
        path = self._path(key)
        partial = path.with_name(f"{uuid.uuid4().hex}{_PARTIAL_SUFFIX}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(partial, "wb") as file:
                file.write(_header(key, array, content))
                file.write(content)
            os.replace(partial, path)
        except OSError as error:
            _remove(partial)
            raise InputError(
                f"{self.folder}: cannot be written ({error.strerror}); choose another cache folder"
            ) from error
        self._free -= len(content)
        if self._free <= 0:
            self._evict(keep=path)

    def _path(self, key: str) -> Path:
        name = hashlib.sha256(key.encode()).hexdigest()
        return self.folder / name[:2] / f"{name[2:]}{_SUFFIX}"

    def _evict(self, keep: Path) -> None:
        entries = []
        for path in self.folder.glob(f"??/*{_SUFFIX}"):
            try:
                status = path.stat()
            except OSError:  # another process removed it
                continue
            entries.append((status.st_mtime_ns, status.st_size, path))
        total, share = sum(size for _, size, _ in entries), self.max_bytes // _LOOKS
        # Of few large entries none goes for the sake of room alone.
        most = self.max_bytes - share if total > self.max_bytes and len(entries) > _LOOKS else self.max_bytes
        for _, size, path in sorted(entries):
            if total <= most:
                break
            if path != keep:
                _remove(path)
                total -= size
        self._free = min(self.max_bytes - total, share)
        for partial in self.folder.glob(f"??/*{_PARTIAL_SUFFIX}"):
            try:
                abandoned = time.time() - partial.stat().st_mtime > _ABANDONED_SECONDS
            except OSError:
                continue
            if abandoned:
                _remove(partial)


def _header(key: str, array: np.ndarray, content: bytes) -> bytes:
    """One line: which array of which key follows, and the checksum of its bytes."""
    fields = {"key": key, "dtype": array.dtype.str, "shape": array.shape, "checksum": _checksum(content)}
    return json.dumps(fields).encode() + b"\n"


def _decode(key: str, header: bytes, content: bytes) -> np.ndarray | None:
    try:
        fields = json.loads(header)
        if fields["key"] != key or fields["checksum"] != _checksum(content):
            return None
        return np.frombuffer(content, np.dtype(fields["dtype"])).reshape(fields["shape"])
    # Whatever a damaged header decodes to.
    except (ValueError, KeyError, TypeError, IndexError):
        return None


def _checksum(content: bytes) -> int:
    """Against damage, not against forgery: whoever may write to the folder could write any checksum."""
    return zlib.crc32(content)


def _touch(path: Path) -> None:
    """Mark as used now; nothing to mark where it is gone, or where the folder may only be read."""
    with contextlib.suppress(OSError):
        os.utime(path)


def _remove(path: Path) -> None:
    """Unless another process did, or has it open on Windows."""
    with contextlib.suppress(OSError):
        path.unlink()
