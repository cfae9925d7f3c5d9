"""Uploads are read in a process of their own: what a file makes a decoder do ends with it, within limits.

A small file can keep a decoder busy for minutes, or make it ask for gigabytes, inside calls that nothing else can end.
"""

import contextlib
import os
import pickle
import subprocess
import sys
import threading
from collections import OrderedDict
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import cast

from PIL import Image

from fusargpt.errors import InputError
from fusargpt.geo.geometry import Geometry
from fusargpt.geo.image import read_image_as
from fusargpt.geo.reading import Reading
from fusargpt.geo.sar_scene import SarScene
from space_app.limits import READING_BYTES, READING_SECONDS, check_image_size, raster_environment

_TIFF_SIGNATURES = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_KEPT = 4
"""Files whose content is remembered: looking at an image and asking about it reads it once."""
_START_SECONDS = 20.0
"""On top, of the clock: a busy machine takes long to start a process."""
# In a Space the folder, whatever its name, is the package: not an installed one.
_START = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("space_app", sys.argv[1])
sys.modules["space_app"] = package = importlib.util.module_from_spec(spec)
spec.loader.exec_module(package)
from space_app.reader import serve_one
serve_one()
"""


@dataclass(frozen=True, eq=False)
class ReadFile:
    """What an image file holds; attributes as of `space_app.scenes.UploadedScene`."""

    picture: Image.Image
    bands: tuple[str, ...]
    sensor: str
    acquired: date | None
    geometry: Geometry | None
    problem: str
    read_as: str


def read_file(path: str, reading: Reading | None) -> ReadFile:
    """Read an image within the page's limits of size, in this process.

    Raises:
        InputError: one that `fusargpt.geo.image.read_image` refuses, or one beyond the limits.
    """
    check_image_size(path)
    bands: tuple[str, ...] = ("",)
    sensor, acquired, geometry, problem = "", None, None, ""
    with raster_environment():
        picture, read_as = read_image_as(path, reading)
        if _is_tiff(path):
            with SarScene.open(path, reading) as scene:
                bands, sensor, acquired = scene.polarizations, scene.sensor, scene.acquired
                # Where the georeference is not as it should be, a place can be typed instead.
                geometry, problem = scene.geometry, scene.problem.replace(path, Path(path).name)
    return ReadFile(picture, bands, sensor, acquired, geometry, problem, str(read_as))


class Reader:
    """Reads files apart, so many at a time, and remembers the last ones.

    Args:
        at_once: processes at the same time.
        seconds: of a processor for each file.
    """

    def __init__(self, at_once: int = 2, seconds: float = READING_SECONDS) -> None:
        self._places = threading.BoundedSemaphore(at_once)
        self._seconds = seconds
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[object, ...], ReadFile] = OrderedDict()

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
        with self._places:
            found = self._apart(path, reading)
        with self._lock:
            self._kept[key] = found
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return found

    def _apart(self, path: str, reading: Reading | None) -> ReadFile:
        command = [sys.executable, "-P", "-c", _START, str(Path(__file__).with_name("__init__.py"))]
        # One thread: each has memory of its own, and the limit is for all.
        alone = {
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        }
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | alone,
        )
        with process:
            try:
                out, _ = process.communicate(
                    pickle.dumps((path, reading, self._seconds)), self._seconds + _START_SECONDS
                )
            except subprocess.TimeoutExpired:
                process.kill()
                out = b""
        if process.returncode or not out:
            raise InputError(
                f"{Path(path).name}: takes more than {self._seconds:g} seconds or {READING_BYTES / 2**30:g} GB to "
                "read; save it again as a plain GeoTIFF, PNG or JPEG, without metadata"
            )
        # Written by our own code, which was told to read pixels and nothing else.
        found = cast("ReadFile | InputError", pickle.loads(out))
        if isinstance(found, InputError):
            raise found
        return found


def serve_one() -> None:
    """What the process does: one file, named on the standard input, read within the limits."""
    path, reading, seconds = pickle.load(sys.stdin.buffer)
    # Whatever a library prints goes elsewhere.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    _limit(seconds)
    try:
        found: ReadFile | InputError = read_file(path, reading)
    except InputError as error:
        # Without its cause, which may not be known in the other process.
        found = InputError(str(error))
    with out:
        pickle.dump(found, out)


def _limit(seconds: float) -> None:
    """On systems that have such limits; the time on the clock is limited everywhere."""
    if sys.platform == "win32":
        return
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    most = int(used.ru_utime + used.ru_stime + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError, ValueError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + READING_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _is_tiff(path: str) -> bool:
    with open(path, "rb") as file:
        return file.read(4) in _TIFF_SIGNATURES
