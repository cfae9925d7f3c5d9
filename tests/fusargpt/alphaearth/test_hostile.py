"""Tiles and servers that are not what they say: bounded by what was asked for, and one line."""

import gzip
import os
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fusargpt.alphaearth import byte_ranges
from fusargpt.alphaearth.byte_ranges import open_ranges
from fusargpt.alphaearth.layout import write_tile
from fusargpt.alphaearth.tile import AlphaEarthTile
from fusargpt.errors import InputError
from tests.fusargpt.alphaearth.fields import SOUTH_UP, UTM_13N, random_codes, write_plain_tile

WIDTH, LENGTH, COMPRESSION = 256, 257, 259


def set_tag(path: Path, tag: int, value: int, image: int = 0) -> None:
    """Overwrite a short or long value in one of the directories of a classic little-endian TIFF."""
    content = bytearray(path.read_bytes())
    (start,) = struct.unpack_from("<I", content, 4)
    for _ in range(image):
        (count,) = struct.unpack_from("<H", content, start)
        (start,) = struct.unpack_from("<I", content, start + 2 + 12 * count)
    (count,) = struct.unpack_from("<H", content, start)
    entries = range(start + 2, start + 2 + 12 * count, 12)
    (entry,) = [entry for entry in entries if struct.unpack_from("<H", content, entry)[0] == tag]
    (kind,) = struct.unpack_from("<H", content, entry + 2)
    struct.pack_into("<H" if kind == 3 else "<I", content, entry + 8, value)
    path.write_bytes(content)


@pytest.fixture
def tile(tmp_path: Path) -> Path:
    path = tmp_path / "tile.tiff"
    write_tile(path, random_codes(70, 50), crs=UTM_13N, transform=SOUTH_UP, block_size=64)
    return path


@pytest.mark.parametrize("tag", [WIDTH, LENGTH])
def test_a_tile_without_width_or_length_is_refused(tile: Path, tag: int) -> None:
    set_tag(tile, tag, 0)
    with pytest.raises(InputError, match=r"tile.tiff: "):
        AlphaEarthTile(open_ranges(tile))


@pytest.mark.parametrize("tag", [WIDTH, LENGTH])
def test_an_overview_without_width_or_length_is_none(tile: Path, tag: int) -> None:
    before = len(AlphaEarthTile(open_ranges(tile)).levels)
    set_tag(tile, tag, 0, image=1)
    try:
        assert len(AlphaEarthTile(open_ranges(tile)).levels) == before - 1
    except InputError as error:
        assert "\n" not in str(error)


def test_a_compression_that_unpacks_to_any_size_is_refused(tile: Path) -> None:
    set_tag(tile, COMPRESSION, 7)
    with pytest.raises(InputError, match=r"tile.tiff: .*(compression 7|damaged)"):
        AlphaEarthTile(open_ranges(tile))


def test_blocks_are_bounded(tmp_path: Path) -> None:
    path = tmp_path / "tile.tiff"
    wide: dict[str, Any] = {
        "tiled": True,
        "blockxsize": 4096,
        "blockysize": 4096,
        "compress": "deflate",
        "SPARSE_OK": True,
    }
    write_plain_tile(path, random_codes(16, 16), **wide)
    with pytest.raises(InputError, match="blocks of 4096 x 4096 pixels; write smaller ones"):
        AlphaEarthTile(open_ranges(path))


def test_mutated_headers_end_in_one_line(tile: Path, tmp_path: Path) -> None:
    write_plain_tile(tmp_path / "plain.tiff", random_codes(40, 30), interleave="pixel")
    contents = [tile.read_bytes(), (tmp_path / "plain.tiff").read_bytes()]
    mutated, refused = tmp_path / "mutated.tiff", 0
    for seed in range(300):
        chance = random.Random(seed)
        content = bytearray(contents[seed % 2])
        for _ in range(chance.randint(1, 6)):
            start, length = chance.randrange(min(len(content), 6000)), chance.choice([1, 2, 4])
            content[start : start + length] = bytes([chance.choice([0, 1, 127, 128, 255])]) * length
        mutated.write_bytes(content)
        try:
            opened = AlphaEarthTile(open_ranges(mutated))
            opened.read_block(opened.levels[0], 0, 0)
        except InputError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 50


def test_a_named_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "tile.tiff")
    with pytest.raises(InputError, match=r"tile.tiff: no regular file; expected a file"):
        open_ranges(tmp_path / "tile.tiff")


@contextmanager
def answering(answer: Callable[[socket.socket], None]) -> Generator[str]:
    """A server that reads the head of each request and leaves the rest to `answer`."""

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                try:
                    connection.recv(2**16)
                    answer(connection)
                except OSError:
                    pass

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            server.shutdown(socket.SHUT_RDWR)


HEAD = b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-65535/1000000\r\n"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(byte_ranges, "BACKOFF_SECONDS", 0.01)


def test_packed_answers_are_refused_unread() -> None:
    packed = gzip.compress(bytes(2**20))

    def answer(connection: socket.socket) -> None:
        connection.sendall(HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed) + packed)

    with (
        answering(answer) as url,
        pytest.raises(InputError, match=r"file: the server packs what it sends \('gzip'\); use another"),
    ):
        open_ranges(f"{url}/file")


def test_an_answer_without_end_is_left() -> None:
    sent = 0

    def answer(connection: socket.socket) -> None:
        nonlocal sent
        connection.sendall(HEAD + b"\r\n")
        while sent < 2**28:
            connection.sendall(bytes(2**16))
            sent += 2**16

    with (
        answering(answer) as url,
        pytest.raises(InputError, match=r"file: the server sends more than the 65,536 bytes it was asked for"),
    ):
        open_ranges(f"{url}/file")
    assert sent < 2**26


def test_a_server_that_trickles_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(byte_ranges, "READ_SECONDS", 0.2)
    monkeypatch.setattr(byte_ranges, "SLOWEST_BYTES_PER_SECOND", 10**9)

    def answer(connection: socket.socket) -> None:
        connection.sendall(HEAD + b"Content-Length: 65536\r\n\r\n")
        for _ in range(600):
            connection.sendall(b"x")
            time.sleep(0.05)

    with answering(answer) as url, pytest.raises(InputError, match=r"bytes a second; try again later"):
        open_ranges(f"{url}/file")


@pytest.mark.parametrize("place", ["http://localhost:1/x", "http://127.0.0.1:1/x", "//169.254.169.254/x", "file:///x"])
def test_redirects_to_other_servers_are_refused(place: str) -> None:
    def answer(connection: socket.socket) -> None:
        connection.sendall(f"HTTP/1.1 302 Found\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n".encode())

    with (
        answering(answer) as url,
        pytest.raises(InputError, match=r"file: the server sends to another one, .*; give that address if you"),
    ):
        open_ranges(f"{url}/file")


def test_redirects_on_the_server_are_followed_and_counted() -> None:
    asked: list[int] = []

    def answer(connection: socket.socket) -> None:
        asked.append(1)
        if len(asked) == 1:
            connection.sendall(
                b"HTTP/1.1 302 Found\r\nLocation: /moved\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )
        else:
            connection.sendall(b"HTTP/1.1 206 OK\r\nContent-Range: bytes 0-3/4\r\nContent-Length: 4\r\n\r\nabcd")

    with answering(answer) as url:
        assert open_ranges(f"{url}/file").read(0, 4) == b"abcd"

    def circle(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    with answering(circle) as url, pytest.raises(InputError, match="more than 5 redirects"):
        open_ranges(f"{url}/file")
