"""A file server on 127.0.0.1 with HTTP range requests, which counts what it sends and fails when it is told to."""

import re
import threading
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

HANG_UP, HALF = 0, -1


@dataclass
class RangeServer:
    """Serves the files below `root` at `url`.

    Attributes:
        sent: body bytes sent for each path, as "/2024/13N/tile.tiff".
        requests: how many requests each path received.
        failures: paths whose next requests fail, and how: with an HTTP status, by `HANG_UP`, or after `HALF` is sent.
        delay: seconds before each answer.
    """

    root: Path
    url: str = ""
    sent: Counter[str] = field(default_factory=Counter)
    requests: Counter[str] = field(default_factory=Counter)
    failures: dict[str, list[int]] = field(default_factory=dict)
    delay: float = 0.0

    def reset(self) -> None:
        self.sent.clear()
        self.requests.clear()


@contextmanager
def serve(root: Path) -> Generator[RangeServer]:
    """A running server; it ends with the block."""
    state = RangeServer(root)

    class Handler(_Handler):
        server_state = state

    with _Server(("127.0.0.1", 0), Handler) as server:
        state.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # connections that wait to be accepted

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is no error of the server."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body leave together: no 40 ms wait for an acknowledgement
    disable_nagle_algorithm = True
    server_state: RangeServer

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _answer(self, with_body: bool) -> None:
        state = self.server_state
        path = unquote(urlsplit(self.path).path)
        state.requests[path] += 1
        time.sleep(state.delay)
        failures = state.failures.get(path)
        failure = failures.pop(0) if failures else None
        if failure == HANG_UP:
            self.close_connection = True
            return
        if failure and failure != HALF:
            self._headers(failure, 0)
            return
        file = state.root / path.lstrip("/")
        if not file.is_file():
            self._headers(404, 0)
            return
        stat = file.stat()
        first, last, status = 0, stat.st_size - 1, 200
        if match := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, last, status = int(match[1]), min(int(match[2] or last), last), 206
        length = last - first + 1
        headers = {"Accept-Ranges": "bytes", "ETag": f'"{stat.st_mtime_ns:x}-{stat.st_size:x}"'}
        headers["Last-Modified"] = self.date_time_string(int(stat.st_mtime))
        if status == 206:
            headers["Content-Range"] = f"bytes {first}-{last}/{stat.st_size}"
        self._headers(status, length, headers)
        if failure == HALF:
            length //= 2
            self.close_connection = True
        if with_body:
            with open(file, "rb") as body:
                body.seek(first)
                while length and (chunk := body.read(min(length, 2**20))):
                    # Counted first: a client that has read all may look at the count before this thread goes on.
                    state.sent[path] += len(chunk)
                    self.wfile.write(chunk)
                    length -= len(chunk)

    def _headers(self, status: int, length: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(length)} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
