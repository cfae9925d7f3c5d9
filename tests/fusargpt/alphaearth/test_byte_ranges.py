"""Parts of local and remote files: exactly these bytes, within time limits, after bounded retries."""

import functools
import http.server
import multiprocessing
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fusargpt.alphaearth import byte_ranges
from fusargpt.alphaearth.byte_ranges import https_address, open_file, open_ranges
from fusargpt.errors import InputError
from tests.fusargpt.alphaearth.range_server import HALF, HANG_UP, RangeServer, serve

NAME = "/folder/file.bin"


@pytest.fixture
def content() -> bytes:
    return np.random.default_rng(0).bytes(300_000)


@pytest.fixture
def server(tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "folder").mkdir()
    (tmp_path / NAME[1:]).write_bytes(content)
    monkeypatch.setattr(byte_ranges, "BACKOFF_SECONDS", 0.01)
    with serve(tmp_path) as running:
        yield running


@pytest.mark.parametrize("remote", [False, True])
def test_reads_the_bytes_asked_for(server: RangeServer, content: bytes, remote: bool):
    ranges = open_ranges(server.url + NAME if remote else server.root / NAME[1:])
    assert ranges.size == 300_000
    for offset, length in ((0, 10), (65_530, 20), (100_000, 150_000), (299_990, 100), (400_000, 5)):
        assert ranges.read(offset, length) == content[offset : offset + length]


def test_a_server_sends_no_more_than_was_asked_for(server: RangeServer):
    ranges = open_ranges(server.url + NAME)
    server.reset()
    ranges.read(70_000, 1000)
    ranges.read(200, 1000)  # the beginning came with the first answer
    assert (server.sent[NAME], server.requests[NAME]) == (1000, 1)


def test_reads_as_a_file(server: RangeServer, content: bytes):
    file = open_file(open_ranges(server.url + NAME))
    file.seek(65_000)
    assert file.read(2000) == content[65_000:67_000]
    file.seek(-5, 2)
    assert file.read() == content[-5:]


@pytest.mark.parametrize("failures", [[503, 500, 429], [HANG_UP], [HALF, 502]])
def test_passing_faults_are_tried_again(server: RangeServer, content: bytes, failures: Any):
    ranges = open_ranges(server.url + NAME)
    server.failures[NAME] = list(failures)
    assert ranges.read(80_000, 70_000) == content[80_000:150_000]
    assert not server.failures[NAME]


@pytest.mark.parametrize(
    "failure, reason", [(503, "status 503"), (HANG_UP, "Remote end closed"), (HALF, "IncompleteRead")]
)
def test_gives_up_after_three_retries(server: RangeServer, failure: Any, reason: str):
    ranges = open_ranges(server.url + NAME)
    server.reset()
    server.failures[NAME] = [failure] * 10
    with pytest.raises(InputError, match=rf"file.bin: no answer in 4 attempts \(.*{reason}.*\); check the address"):
        ranges.read(80_000, 70_000)
    assert server.requests[NAME] == 4


def test_a_silent_server_costs_bounded_time(server: RangeServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(byte_ranges, "READ_SECONDS", 0.1)
    byte_ranges._pool.cache_clear()  # pyright: ignore[reportPrivateUsage]  # as a new process
    server.delay = 1.0
    start = time.monotonic()
    try:
        with pytest.raises(InputError, match=r"no answer in 4 attempts .*timed out"):
            open_ranges(server.url + NAME)
    finally:
        byte_ranges._pool.cache_clear()  # pyright: ignore[reportPrivateUsage]  # as a new process
    assert time.monotonic() - start < 10  # of 80 with the usual limits


@pytest.mark.parametrize("status", [403, 404])
def test_a_missing_file_is_not_asked_for_again(server: RangeServer, status: int):
    server.failures[NAME] = [status] * 10
    with pytest.raises(InputError, match=rf"no such file on the server, or not a public one \(status {status}\)"):
        open_ranges(server.url + NAME)
    assert server.requests[NAME] == 1


def test_a_file_replaced_while_it_is_read_is_noticed(server: RangeServer):
    ranges = open_ranges(server.url + NAME)
    (server.root / NAME[1:]).write_bytes(b"x" * 300_000)
    with pytest.raises(InputError, match="replaced while it was read"):
        ranges.read(80_000, 100)


@pytest.mark.parametrize("remote", [False, True])
def test_the_version_changes_with_the_content(server: RangeServer, remote: bool):
    place = server.url + NAME if remote else server.root / NAME[1:]
    before = open_ranges(place).version
    assert open_ranges(place).version == before
    (server.root / NAME[1:]).write_bytes(b"x" * 300_000)
    assert open_ranges(place).version != before


def test_a_server_without_ranges_is_refused(server: RangeServer):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=server.root)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as plain:
        threading.Thread(target=plain.serve_forever, daemon=True).start()
        with pytest.raises(InputError, match="answers no range requests; use one that does"):
            open_ranges(f"http://127.0.0.1:{plain.server_port}{NAME}")
        plain.shutdown()


@pytest.mark.parametrize(
    "place, reason",
    [
        ("nowhere.bin", "nowhere.bin: no such file"),
        (".", "a folder; expected a file"),
        ("ftp://example.org/file", "expected a local file or an http, https, s3 or gs URL"),
    ],
)
def test_refuses_other_places(place: str, reason: str):
    with pytest.raises(InputError, match=reason):
        open_ranges(place)


def test_buckets_are_read_over_https(server: RangeServer, content: bytes, monkeypatch: pytest.MonkeyPatch):
    assert https_address("gs://bucket/a/b c.tiff") == "https://storage.googleapis.com/bucket/a/b%20c.tiff"
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    assert open_ranges("s3://folder/file.bin").read(5, 90_000) == content[5:90_005]


def _read(address: str) -> bytes:
    return open_ranges(address).read(80_000, 70_000)


def test_a_forked_process_has_connections_of_its_own(server: RangeServer, content: bytes):
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("this system does not fork")
    _read(server.url + NAME)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        parts = pool.map(_read, [server.url + NAME] * 6)
    assert parts == [content[80_000:150_000]] * 6
