"""Parts of files, on this machine or on a server: what is read of an AlphaEarth tile is a small share of it.

Servers are asked anonymously, by HTTP(S) range requests; s3:// and gs:// addresses are read in the same way, through
the HTTPS address that each public bucket has.
"""

import io
import os
import re
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote, urljoin, urlsplit

import urllib3

from fusargpt.errors import InputError, one_line
from fusargpt.geo.remote import is_remote, shown

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

CONNECTIONS = 16
"""Requests to one server at a time."""

CONNECT_SECONDS = 10.0
READ_SECONDS = 20.0  # without a byte arriving
SLOWEST_BYTES_PER_SECOND = 1000  # after the seconds above; as of scenes, see `fusargpt.geo.remote`
RETRIES = 3
BACKOFF_SECONDS = 0.5  # before the first retry; doubled for each one after it

_PIECE_BYTES = 2**16
_TRANSIENT = (408, 429, 500, 502, 503, 504)
_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_REDIRECTS = 5


class ByteRanges(Protocol):
    """A file of which parts can be read, by several threads at once.

    Attributes:
        name: for messages.
        size: bytes.
        version: another text whenever the content is another one.
    """

    name: str
    size: int
    version: str

    def read(self, offset: int, length: int) -> bytes:
        """`length` bytes from `offset`; fewer where the file ends.

        Raises:
            InputError: the file cannot be read, or is no longer the one that was opened.
        """
        ...


def open_ranges(path_or_url: str | Path) -> ByteRanges:
    """A local file, or an http, https, s3 or gs URL.

    Raises:
        InputError: no such file, no permission, a server that does not answer in time after three retries, or one
            that knows no range requests.
    """
    return _RemoteRanges(str(path_or_url)) if is_remote(path_or_url) else _LocalRanges(Path(path_or_url))


def open_file(ranges: ByteRanges) -> io.BufferedReader:
    """As a seekable file, for libraries that parse headers; it reads and keeps pieces of 64 KiB."""
    return io.BufferedReader(_RangeFile(ranges))


class _RangeFile(io.RawIOBase):
    def __init__(self, ranges: ByteRanges) -> None:
        self._ranges = ranges
        self._pieces: dict[int, bytes] = {}
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._ranges.size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer).cast("B")
        end = min(self._position + len(view), self._ranges.size)
        filled = 0
        while self._position < end:
            number, start = divmod(self._position, _PIECE_BYTES)
            part = self._piece(number)[start : start + end - self._position]
            if not part:
                break
            view[filled : filled + len(part)] = part
            filled += len(part)
            self._position += len(part)
        return filled

    def _piece(self, number: int) -> bytes:
        if number not in self._pieces:
            self._pieces[number] = self._ranges.read(number * _PIECE_BYTES, _PIECE_BYTES)
        return self._pieces[number]


class _LocalRanges:
    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path
        with _local_errors(path):
            status = path.stat()
        # A named pipe would be waited for.
        if not path.is_file():
            raise InputError(f"{path}: {'a folder' if path.is_dir() else 'no regular file'}; expected a file")
        self.size = status.st_size
        self.version = f"{status.st_size}-{status.st_mtime_ns}"

    def read(self, offset: int, length: int) -> bytes:
        with _local_errors(self._path), open(self._path, "rb") as file:
            file.seek(offset)
            return file.read(length)


@contextmanager
def _local_errors(path: Path) -> Generator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


class _RemoteRanges:
    """The first request, for the beginning of the file, also tells its size and version."""

    def __init__(self, url: str) -> None:
        self.name = shown(url)
        self._address = https_address(url)
        headers, self._head = self._request(0, _PIECE_BYTES)
        total = re.fullmatch(r"bytes 0-\d+/(\d{1,18})", headers.get("Content-Range", ""))
        if not total:
            raise InputError(f"{self.name}: the server does not tell the size of the file; use another server")
        self.size = int(total[1])
        self._stamp = _stamp(headers)
        self.version = f"{self.size}-{self._stamp}"

    def read(self, offset: int, length: int) -> bytes:
        length = min(length, self.size - offset)
        if length <= 0:
            return b""
        if offset + length <= len(self._head):
            return self._head[offset : offset + length]
        headers, content = self._request(offset, length)
        if _stamp(headers) != self._stamp:
            raise InputError(f"{self.name}: the file was replaced while it was read; run again")
        if len(content) != length:
            raise InputError(
                f"{self.name}: the server sent {len(content):,} bytes from byte {offset:,}; expected {length:,}"
            )
        return content

    def _request(self, offset: int, length: int) -> tuple[Mapping[str, str], bytes]:
        """Headers and content of a complete answer with status 206."""
        failure = ""
        for attempt in range(RETRIES + 1):
            if attempt:
                time.sleep(BACKOFF_SECONDS * 2 ** (attempt - 1))
            try:
                response = self._answer(
                    {"Range": f"bytes={offset}-{offset + length - 1}", "Accept-Encoding": "identity"}
                )
                if response.status == 206:
                    return response.headers, self._content(response, length)
                # A server that knows no ranges sends the whole file, which may be gigabytes: hang up.
                response.close()
            # Also raised when the connection breaks halfway through the content.
            except urllib3.exceptions.HTTPError as error:
                failure = _reason(error)
                continue
            if response.status not in _TRANSIENT:
                raise InputError(f"{self.name}: {_refusal(response.status)}")
            failure = f"status {response.status}"
        raise InputError(
            f"{self.name}: no answer in {RETRIES + 1} attempts ({failure}); check the address and the connection, "
            "or try again later"
        )

    def _answer(self, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
        """What the server, or the place on the same server that it names instead, answers; the content is not read."""
        address = self._address
        for _ in range(_MOST_REDIRECTS + 1):
            response = _pool(os.getpid()).request(
                "GET", address, headers=headers, preload_content=False, redirect=False
            )
            place = response.headers.get("Location")
            if response.status not in _REDIRECTS or not place:
                return response
            response.close()
            before, address = address, urljoin(address, place)
            if not _same_server(before, address):
                # It may name any machine that this one reaches, this one included.
                raise InputError(
                    f"{self.name}: the server sends to another one, {shown(_server(address))}; give that address if "
                    "you trust it"
                )
        raise InputError(f"{self.name}: more than {_MOST_REDIRECTS} redirects; check the address")

    def _content(self, response: urllib3.BaseHTTPResponse, length: int) -> bytes:
        """No more than `length` bytes, whatever is sent."""
        encoding = response.headers.get("Content-Encoding", "identity")
        if encoding.strip().lower() not in ("", "identity"):
            response.close()
            raise InputError(f"{self.name}: the server packs what it sends ({encoding[:40]!r}); use another server")
        until = time.monotonic() + READ_SECONDS + length / SLOWEST_BYTES_PER_SECOND
        pieces: list[bytes] = []
        missing = length + 1
        while missing and (piece := response.read1(min(missing, _PIECE_BYTES), decode_content=False)):
            pieces.append(piece)
            missing -= len(piece)
            if time.monotonic() > until:
                response.close()
                raise InputError(f"{self.name}: less than {SLOWEST_BYTES_PER_SECOND} bytes a second; try again later")
        if not missing:
            response.close()
            raise InputError(f"{self.name}: the server sends more than the {length:,} bytes it was asked for")
        response.release_conn()
        return b"".join(pieces)


@cache
def _pool(process: int) -> urllib3.PoolManager:
    """Connections of one process: a child that inherited its parent's would read the parent's answers."""
    return urllib3.PoolManager(
        maxsize=CONNECTIONS,
        timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
        retries=urllib3.Retry(total=None, connect=0, read=0, status=0, other=0, redirect=0),
    )


def _stamp(headers: Mapping[str, str]) -> str:
    return headers.get("ETag") or headers.get("Last-Modified") or ""


def _server(address: str) -> str:
    """Scheme, host and port, without names and passwords."""
    parts = urlsplit(address)
    try:
        return f"{parts.scheme}://{parts.hostname}:{parts.port or {'https': 443}.get(parts.scheme, 80)}"
    except ValueError as error:
        raise InputError(f"{shown(address)}: not an address ({error})") from error


def _same_server(before: str, after: str) -> bool:
    """Whether both are of one host and port; http may become https."""
    old, new = _server(before), _server(after)
    return new in (old, old.replace("http://", "https://").removesuffix(":80") + ":443")


def _reason(error: urllib3.exceptions.HTTPError) -> str:
    cause = error.reason if isinstance(error, urllib3.exceptions.MaxRetryError) else error
    return one_line(cause or error)


def _refusal(status: int) -> str:
    match status:
        case 200:
            return "the server answers no range requests; use one that does"
        case 401 | 403 | 404 | 410:
            return f"no such file on the server, or not a public one (status {status})"
        case 416:
            return "the file on the server is empty"
        case _:
            return f"the server refuses to send the file (status {status})"


def https_address(url: str) -> str:
    """The HTTPS address of an s3 or gs URL; http and https URLs as they are.

    The environment variable AWS_ENDPOINT_URL names another server than Amazon's for s3 URLs.

    Raises:
        InputError: a URL of another kind, or a bucket that S3 does not know.
    """
    scheme, _, rest = url.partition("://")
    bucket, _, key = rest.partition("/")
    match scheme.lower():
        case "http" | "https":
            return url
        case "gs":
            return f"https://storage.googleapis.com/{bucket}/{quote(key)}"
        case "s3":
            endpoint = os.environ.get("AWS_ENDPOINT_URL") or f"https://s3.{_region(bucket)}.amazonaws.com"
            return f"{endpoint.rstrip('/')}/{bucket}/{quote(key)}"
        case _:
            raise InputError(f"{shown(url)}: expected a local file or an http, https, s3 or gs URL")


@cache
def _region(bucket: str) -> str:
    """Of an S3 bucket. The server tells it in answers of any status."""
    try:
        response = _pool(os.getpid()).request("HEAD", f"https://s3.amazonaws.com/{bucket}", redirect=False)
    except urllib3.exceptions.HTTPError as error:
        raise InputError(f"s3://{bucket}: S3 does not answer ({_reason(error)}); check the connection") from error
    if region := response.headers.get("x-amz-bucket-region"):
        return region
    raise InputError(f"s3://{bucket}: no such bucket (status {response.status}); check the address")
