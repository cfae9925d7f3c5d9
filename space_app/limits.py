"""What a public page allows its visitors, and the messages that say so."""

import contextlib
import html
import shutil
import tempfile
import threading
import time
import uuid
import warnings
import zipfile
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import rasterio
from PIL import Image

from fusargpt.errors import InputError, naming
from fusargpt.geo.headers import check_header
from fusargpt.geo.remote import open_raster

IMAGE_TYPES = [".tif", ".tiff", ".png", ".jpg", ".jpeg"]
"""Of uploads, by their names."""
MAX_UPLOAD_BYTES = 64 * 2**20
MAX_PIXELS = 4096 * 4096
"""Of an image; the model sees it whole and far smaller, and a few at a time must fit into memory."""
MAX_BLOCK_BYTES = 256 * 2**20
"""Of the block of a TIFF that must be unpacked to read any part of it, all bands."""
READING_SECONDS = 10.0
"""Of a processor, that reading one upload may take."""
READING_BYTES = 2 * 2**30
"""Of memory, likewise."""
MAX_AT_ONCE = 3
"""Requests of one visitor that are worked on at the same time."""
MAX_PRIOR_BYTES = 8 * 2**20
"""Of an unpacked .npz file."""
MAX_ANCHORS = 4096
"""A place of 640 m has 64 x 64 pixels of AlphaEarth; more anchors than that only take memory."""
MAX_ANCHORS_PER_SIDE = 32
MAX_QUESTION = 2000
"""Characters; a prompt of several sentences has some hundreds."""
MAX_ANSWER_SECONDS = 60.0
"""Of an answer, of a search, and of a scene."""
MAX_TILES = 1024
"""Of an image that is searched."""
MAX_SCENE_TILES = 256
"""Of an image that is asked in tiles."""
MAX_WORDS = 500
"""Characters of what is searched for."""
QUEUE_LENGTH = 40
"""Requests that wait; further ones are refused with a message."""
SESSIONS = 500
"""Visitors whose earlier questions are remembered."""
KEEP_SECONDS = 3600
"""How long uploads and answers stay on disk."""

# A TIFF may name another file or an address as the place of its overviews, and GDAL goes there. Here it reads the one
# file it is given: nothing beside it, nothing from a server.
_RASTER_OPTIONS: dict[str, Any] = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_PAM_ENABLED": "NO",
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".none",
}
_LARGEST_SAMPLE_BYTES = 16


def raster_environment() -> rasterio.Env:
    """The settings under which a visitor's TIFF is opened; a context manager."""
    return rasterio.Env(**_RASTER_OPTIONS)


def check_image_size(path: str | Path) -> None:
    """Refuse an image that unpacks to more than the limits, before a pixel of it is unpacked.

    Files that are no image pass: who reads them says what they are.

    Raises:
        InputError: more than 4,096 x 4,096 pixels, a TIFF in too large blocks, or what `check_header` raises.
    """
    with naming(Path(path).name):
        check_header(path)
    with raster_environment():
        size = _raster_size(path) or _picture_size(path)
    if size is not None and size[0] * size[1] > MAX_PIXELS:
        raise InputError(
            f"{Path(path).name}: {size[0]:,} x {size[1]:,} pixels; this page takes {MAX_PIXELS:,}, as 4,096 x 4,096. "
            "Cut out a part first, for example with gdal_translate -srcwin 0 0 1024 1024"
        )


def _raster_size(path: str | Path) -> tuple[int, int] | None:
    try:
        dataset = open_raster(path)
    except InputError:
        return None
    with dataset:
        rows, columns = dataset.block_shapes[0]
        # A block of interleaved bands is unpacked with all of them.
        if rows * columns * dataset.count * _sample_bytes(dataset.dtypes[0]) > MAX_BLOCK_BYTES:
            raise InputError(
                f"{Path(path).name}: stored in blocks of {columns:,} x {rows:,} pixels and {dataset.count} bands, of "
                "which one must be unpacked for any part; rewrite it in tiles, as with gdal_translate -co TILED=YES"
            )
        return dataset.width, dataset.height


def _picture_size(path: str | Path) -> tuple[int, int] | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            with Image.open(path, formats=["PNG", "JPEG"]) as picture:
                return picture.size
        except Image.DecompressionBombError:
            return MAX_PIXELS, MAX_PIXELS
        except (OSError, SyntaxError, ValueError):
            return None


def _sample_bytes(name: str) -> int:
    # numpy has no complex integers.
    return _LARGEST_SAMPLE_BYTES if name == "complex_int16" else np.dtype(name).itemsize


def check_prior_size(path: str | Path) -> None:
    """Refuse an .npz file that unpacks to more than a prior of 4,096 anchors takes; other files pass.

    Raises:
        InputError: more than 8 MiB of arrays.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError):
        return
    if size > MAX_PRIOR_BYTES:
        raise InputError(f"{Path(path).name}: {size:,} bytes of arrays; this page takes {MAX_PRIOR_BYTES:,}")


class Concurrency(TypedDict):
    """How many of one kind of work run at the same time, as gradio's events take it."""

    concurrency_id: str
    concurrency_limit: int


class Visitors:
    """Who has how many requests under way, by address."""

    def __init__(self, most: int = MAX_AT_ONCE) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._working: Counter[str] = Counter()
        self._turns: dict[str, threading.Lock] = {}
        self._in_turns: Counter[str] = Counter()

    @contextlib.contextmanager
    def at_work(self, visitor: str | None) -> Generator[None]:
        """Counts one request of `visitor` while the block lasts; None is this process itself, which has no limit.

        Raises:
            InputError: as many are under way already.
        """
        if visitor is None:
            yield
            return
        with self._lock:
            if self._working[visitor] >= self._most:
                raise InputError(f"{self._most} of your requests are under way; wait for one of them, then ask again.")
            self._working[visitor] += 1
        try:
            yield
        finally:
            with self._lock:
                self._working[visitor] -= 1
                self._working += Counter()  # forgets who has none

    @contextlib.contextmanager
    def in_turn(self, visitor: str | None) -> Generator[None]:
        """One block of `visitor` after the other: what one visitor waits for leaves places to the others."""
        if visitor is None:
            yield
            return
        with self._lock:
            turn = self._turns.setdefault(visitor, threading.Lock())
            self._in_turns[visitor] += 1
        try:
            with turn:
                yield
        finally:
            with self._lock:
                self._in_turns[visitor] -= 1
                if not self._in_turns[visitor]:
                    del self._in_turns[visitor], self._turns[visitor]


class Scratch:
    """A folder for what the page writes, in which nothing stays longer than `keep_seconds`.

    Old files go whenever new ones are made, and all of them when the process ends or nobody holds this object any more.
    """

    def __init__(self, keep_seconds: float = KEEP_SECONDS):
        self._folder = tempfile.TemporaryDirectory(prefix="fusargpt-demo-", ignore_cleanup_errors=True)
        self.root = Path(self._folder.name)
        self.keep_seconds = keep_seconds

    def new_folder(self) -> Path:
        """An empty folder with a name that cannot be guessed."""
        oldest = time.time() - self.keep_seconds
        for folder in self.root.iterdir():
            # Another thread may have removed it.
            with contextlib.suppress(FileNotFoundError):
                if folder.stat().st_mtime < oldest:
                    shutil.rmtree(folder, ignore_errors=True)
        folder = self.root / uuid.uuid4().hex
        folder.mkdir()
        return folder


def public_message(error: InputError, shown: dict[str, str]) -> str:
    """One line for a visitor: paths of the server by the names in `shown`, and markup of a file's content as text."""
    text = str(error)
    for hidden in sorted(shown, key=len, reverse=True):
        text = text.replace(hidden, shown[hidden])
    return html.escape(text, quote=False)
