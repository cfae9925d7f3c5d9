"""Uploads are read in processes of their own: what a file makes a decoder do ends with it, within limits."""

import os
import queue
import threading
from collections import OrderedDict
from pathlib import Path

from fusargpt.errors import InputError
from fusargpt.geo.reading import Reading
from space_app.limits import READING_BYTES, READING_SECONDS
from space_app.read_file import ReadFile
from space_app.reading_process import ReadingProcess

_KEPT = 4
"""Files whose content is remembered: looking at an image and asking about it reads it once."""


class Reader:
    """Reads files apart, so many at a time, and remembers the last ones.

    Args:
        at_once: processes; each reads one file at a time.
        seconds: of a processor for each file.
    """

    def __init__(self, at_once: int = 2, seconds: float = READING_SECONDS) -> None:
        self._seconds = seconds
        self._processes = [ReadingProcess(seconds) for _ in range(at_once)]
        # The one that was used last goes first: it is warm.
        self._free: queue.LifoQueue[ReadingProcess] = queue.LifoQueue()
        for process in reversed(self._processes):
            self._free.put(process)
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[object, ...], ReadFile] = OrderedDict()

    def start(self) -> None:
        """Start the processes before the first file comes; otherwise each is started by its first one."""
        for process in self._processes:
            process.start()

    def close(self) -> None:
        """End the processes. They also end with this one."""
        for process in self._processes:
            process.close()

    def read(self, path: str, reading: Reading | None = None) -> ReadFile:
        """As `read_file`, in a process of its own.

        Raises:
            InputError: as `read_file`, or a file that takes more than the limits.
        """
        try:
            status = os.stat(path)
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from error
        key = (path, status.st_mtime_ns, status.st_size, reading)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        process = self._free.get()
        try:
            found = process.read(path, reading)
        finally:
            self._free.put(process)
        if found is None:
            raise InputError(
                f"{Path(path).name}: takes more than {self._seconds:g} seconds or {READING_BYTES / 2**30:g} GB to "
                "read; save it again as a plain GeoTIFF, PNG or JPEG, without metadata"
            )
        if isinstance(found, InputError):
            raise found
        with self._lock:
            self._kept[key] = found
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return found
