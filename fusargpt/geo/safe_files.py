"""The files of a Sentinel-1 product as it is downloaded: a `.SAFE` folder, or a `.zip` of one that stays packed.

Copies of the folder without its suffix, as cloud stores keep them, are read too: what counts are the folders inside.
"""

import os
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from fusargpt.errors import InputError, one_line
from fusargpt.files import read_regular, reason

MANIFEST = "manifest.safe"
MAX_TEXT_BYTES = 64 * 2**20
"""Of an XML file. The largest of a real product, an annotation in full resolution, has a few megabytes."""
_FOLDERS = ("annotation", "annotation/calibration", "measurement")


class SafeFiles(ABC):
    """The files of one product.

    Attributes:
        path: of the folder or zip.
        members: paths inside the product, as "annotation/calibration/noise-iw-vv.xml"; ascending.
    """

    path: Path
    members: tuple[str, ...]

    @staticmethod
    def of(path: str | Path) -> "SafeFiles":
        """The files of a folder or zip.

        Raises:
            InputError: neither, a damaged zip, one that names files outside itself, or one without a product.
        """
        path = Path(path)
        if path.name == MANIFEST:
            path = path.parent
        return _Folder(path) if path.is_dir() else _Zip(path)

    def within(self, folder: str, suffixes: Iterable[str]) -> list[str]:
        """The members that lie in a folder, not deeper, and end in one of the suffixes."""
        return [
            member
            for member in self.members
            if str(PurePosixPath(member).parent) == folder and PurePosixPath(member).suffix.lower() in suffixes
        ]

    @abstractmethod
    def read(self, member: str) -> bytes:
        """What a text file holds; raises InputError for one that cannot be read, or of more than 64 MiB."""

    @abstractmethod
    def gdal_path(self, member: str) -> str:
        """By what GDAL opens a file."""


class _Folder(SafeFiles):
    def __init__(self, path: Path) -> None:
        self.path = path
        found = (file for folder in _FOLDERS for file in path.joinpath(folder).glob("*") if file.is_file())
        self.members = tuple(sorted(file.relative_to(path).as_posix() for file in found))

    def read(self, member: str) -> bytes:
        file = self.path / member
        try:
            _check_length(str(file), file.stat().st_size)
            return read_regular(file)
        except OSError as error:
            raise InputError(f"{file}: cannot be read ({reason(error)})") from error

    def gdal_path(self, member: str) -> str:
        return str((self.path / member).absolute())


class _Zip(SafeFiles):
    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({reason(error)})") from error
        except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise InputError(f"{path}: a damaged zip ({one_line(error)}); download it again") from error
        for name in names:
            if os.path.isabs(name) or "\\" in name or ".." in PurePosixPath(name).parts:
                raise InputError(f"{path}: holds {name[:80]!r}, which lies outside the zip; expected a product's files")
        roots = {PurePosixPath(name).parent for name in names if PurePosixPath(name).name.lower() == MANIFEST}
        if len(roots) != 1:
            found = "none" if not roots else f"{len(roots)}: {', '.join(sorted(map(str, roots))[:3])}"
            raise InputError(f"{path}: expected a zip of one Sentinel-1 product with a {MANIFEST}, found {found}")
        root = roots.pop()
        self._prefix = "" if str(root) == "." else f"{root}/"
        inside = (name.removeprefix(self._prefix) for name in names if name.startswith(self._prefix))
        self.members = tuple(sorted({name for name in inside if str(PurePosixPath(name).parent) in _FOLDERS}))

    def read(self, member: str) -> bytes:
        name = f"{self.path}/{self._prefix}{member}"
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(self._prefix + member) as file:
                # What the zip says of the length may be wrong.
                content = file.read(MAX_TEXT_BYTES + 1)
        except (OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError) as error:
            raise InputError(f"{name}: cannot be unpacked ({one_line(error)}); download the zip again") from error
        _check_length(name, len(content))
        return content

    def gdal_path(self, member: str) -> str:
        return f"/vsizip/{{{self.path.absolute()}}}/{self._prefix}{member}"


def is_safe(path: str | Path) -> bool:
    """Whether a local path is that of a Sentinel-1 product: a folder of one, its manifest, or a zip."""
    path = Path(path)
    if path.is_dir():
        return path.suffix.upper() == ".SAFE" or all((path / folder).is_dir() for folder in _FOLDERS)
    return path.is_file() and (path.name == MANIFEST or path.suffix.lower() == ".zip")


def _check_length(name: str, length: int) -> None:
    if length > MAX_TEXT_BYTES:
        raise InputError(f"{name}: more than {MAX_TEXT_BYTES:,} bytes; expected an XML file of a Sentinel-1 product")
