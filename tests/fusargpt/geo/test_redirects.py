"""Servers that send those who ask for a scene elsewhere."""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from fusargpt.errors import InputError
from fusargpt.geo import redirects
from fusargpt.geo.redirects import check_redirects
from fusargpt.geo.sar_scene import SarScene
from tests.fusargpt.alphaearth.range_server import serve


@contextmanager
def leading_to(target: str) -> Generator[tuple[str, list[str]]]:
    """A server that leads everybody to `target`; its address, and what it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(302)
            self.send_header("Location", target.replace("{port}", str(server.server_port)))
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    values = np.random.default_rng(0).integers(1, 1000, (64, 64)).astype(np.uint16)
    shape: dict[str, Any] = {"width": 64, "height": 64, "count": 1, "dtype": "uint16"}
    with rasterio.open(tmp_path / "scene.tif", "w", driver="GTiff", **shape) as dataset:
        dataset.write(values, 1)
    return tmp_path


def test_a_redirect_to_this_machine_is_not_followed(root: Path) -> None:
    with serve(root) as inside:
        port = inside.url.rpartition(":")[2]
        # By another name, as from a public host: localhost is this machine.
        with leading_to(f"http://localhost:{port}/scene.tif") as (outside, asked):
            with pytest.raises(InputError, match=r"/a\.tif: the server leads to localhost, on this machine or in a"):
                SarScene.open(f"{outside}/a.tif?signature=SECRET")
            assert asked == ["/a.tif?signature=SECRET"]
        assert not inside.requests


@pytest.mark.parametrize(
    "host", ["10.0.0.1", "192.168.1.1", "172.16.0.1", "169.254.169.254", "[::1]", "[fd00::1]", "0.0.0.0", "2130706433"]
)
def test_nor_one_into_the_network_behind_it(host: str) -> None:
    with leading_to(f"http://{host}/latest/meta-data") as (outside, _), pytest.raises(InputError, match="private net"):
        check_redirects(outside + "/a.tif")


@pytest.mark.parametrize("target", ["file:///etc/passwd", "gopher://127.0.0.1/", "ftp://example.com/a.tif"])
def test_nor_one_to_another_kind_of_address(target: str) -> None:
    with leading_to(target) as (outside, _), pytest.raises(InputError, match="an address of another kind"):
        check_redirects(outside + "/a.tif")


def test_an_endless_way_ends() -> None:
    with leading_to("/again") as (outside, asked), pytest.raises(InputError, match="more than 10 times"):
        check_redirects(outside + "/a.tif")
    assert len(asked) == 10


def test_a_redirect_on_the_same_host_and_to_public_ones_is_followed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(root) as inside, leading_to(f"{inside.url}/scene.tif") as (outside, _):
        with SarScene.open(f"{outside}/a.tif") as scene:
            assert (scene.width, scene.height) == (64, 64)
        port = inside.url.rpartition(":")[2]
        monkeypatch.setattr(redirects, "_is_public", lambda host: host == "localhost")
        with leading_to(f"http://localhost:{port}/scene.tif") as (outside, _):
            check_redirects(f"{outside}/a.tif")


def test_what_cannot_be_reached_is_left_to_who_reads_it() -> None:
    check_redirects("http://127.0.0.1:9/a.tif")
    check_redirects("http://user:word@127.0.0.1:9/a.tif")
