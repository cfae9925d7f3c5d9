import socket
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.windows import Window

from fusargpt.errors import InputError
from fusargpt.geo.remote import rasterio_path, shown
from fusargpt.geo.sar_scene import SarScene
from tests.fusargpt.alphaearth.range_server import RangeServer, serve

SIDE, BLOCK = 1024, 256
BLOCK_BYTES = BLOCK * BLOCK * 2


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    with rasterio.open(
        folder / "scene.tif",
        "w",
        driver="GTiff",
        width=SIDE,
        height=SIDE,
        count=1,
        dtype="uint16",
        tiled=True,
        blockxsize=BLOCK,
        blockysize=BLOCK,
        crs="EPSG:32611",
        transform=rasterio.Affine(10, 0, 4e5, 0, -10, 37e5),
    ) as dataset:
        dataset.write(values(), 1)
    (folder / "page.tif").write_text("<html>" + 5000 * "x")
    return folder


@pytest.fixture
def server(root: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GDAL_HTTP_RETRY_DELAY", "0.01")
    monkeypatch.setenv("GDAL_HTTP_LOW_SPEED_TIME", "1")
    with serve(root) as running:
        yield running


def values() -> np.ndarray:
    return np.random.default_rng(0).integers(1, 1000, (SIDE, SIDE), dtype=np.uint16)


def window(left: int, top: int, width: int, height: int) -> Window:
    return Window.from_slices((top, top + height), (left, left + width))


def test_a_remote_scene_is_read_in_the_blocks_touched(server: RangeServer):
    with SarScene.open(server.url + "/scene.tif") as scene:
        assert scene.geometry is not None
        assert sum(server.sent.values()) <= 2**16  # the header, of 2 MB
        server.reset()
        part, valid = scene.read(window(300, 300, 400, 150))  # two blocks
        np.testing.assert_array_equal(part, values()[300:450, 300:700])
        assert valid.all()
        assert 2 * BLOCK_BYTES <= server.sent["/scene.tif"] <= 2.5 * BLOCK_BYTES
    assert set(server.requests) == {"/scene.tif"}  # no guess at files beside it


def test_a_query_is_sent_but_never_shown(server: RangeServer):
    with SarScene.open(server.url + "/scene.tif?signature=SECRET/part") as scene:
        server.failures["/scene.tif"] = [403] * 50
        with pytest.raises(InputError, match=r"/scene\.tif: cannot be read") as caught:
            scene.read(window(0, 0, 500, 500))
        assert "SECRET" not in str(caught.value)
        with pytest.raises(InputError, match="no band 2") as caught:
            scene.read(band=2)
        assert "SECRET" not in str(caught.value)
    with pytest.raises(InputError, match="not recognized") as caught:
        SarScene.open(server.url + "/page.tif?signature=SECRET/part")
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize("failures", [[503, 503], [0, 0], [503, 0, 429]])
def test_failures_that_pass_cost_a_retry(server: RangeServer, failures: list[int]):
    server.failures["/scene.tif"] = list(failures)
    with SarScene.open(server.url + "/scene.tif") as scene:
        server.failures["/scene.tif"] = list(failures)
        np.testing.assert_array_equal(scene.read(window(300, 300, 50, 50))[0], values()[300:350, 300:350])


def opened(url: str) -> None:
    SarScene.open(url).close()


@pytest.mark.parametrize(
    ("failures", "message", "attempts"),
    [
        ([404] * 50, "HTTP response code: 404", 2),
        ([403] * 50, "HTTP response code: 403", 2),
        ([503] * 50, "HTTP response code: 503", 8),
        ([0] * 50, "Empty reply from server", 8),
    ],
)
def test_failures_that_stay_end_in_one_line_after_few_attempts(
    server: RangeServer, failures: list[int], message: str, attempts: int
):
    server.failures["/scene.tif"] = failures
    with pytest.raises(InputError, match=message) as caught:
        opened(server.url + "/scene.tif")
    assert str(caught.value).startswith(f"{server.url}/scene.tif: cannot be read")
    assert "\n" not in str(caught.value)
    assert 1 <= server.requests["/scene.tif"] <= attempts


@pytest.mark.parametrize("failures", [[503] * 99, [0] * 99])
def test_a_connection_lost_while_reading_ends_in_one_line(server: RangeServer, failures: list[int]):
    with SarScene.open(server.url + "/scene.tif") as scene:
        server.failures["/scene.tif"] = failures
        with pytest.raises(InputError, match=r"scene\.tif: cannot be read") as caught:
            scene.read(window(700, 700, 50, 50))
        assert "\n" not in str(caught.value)
        server.failures["/scene.tif"] = []
        np.testing.assert_array_equal(scene.read(window(700, 700, 50, 50))[0], values()[700:750, 700:750])


def test_a_server_that_hangs_is_given_up(server: RangeServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "1")
    server.delay = 30
    start = time.monotonic()
    with pytest.raises(InputError, match="too slow"):
        opened(server.url + "/scene.tif")
    assert time.monotonic() - start < 10


def test_a_transfer_that_breaks_off_is_no_image(monkeypatch: pytest.MonkeyPatch):
    """The answer promises more bytes than come."""
    monkeypatch.setenv("GDAL_HTTP_RETRY_DELAY", "0.01")
    listener = socket.create_server(("127.0.0.1", 0))
    content = b"II*\0" + bytes(1000)

    def answer() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + content)

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    try:
        with pytest.raises(InputError, match="cannot be read"):
            opened(f"http://127.0.0.1:{listener.getsockname()[1]}/scene.tif")
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def test_no_server_at_all_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GDAL_HTTP_RETRY_DELAY", "0.01")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(InputError, match=rf"http://127.0.0.1:{port}/scene.tif: cannot be read .*connect"):
        opened(f"http://127.0.0.1:{port}/scene.tif")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://host/a.tif", "/vsicurl/http://host/a.tif"),
        ("HTTPS://host/a.tif?key=1#x", "/vsicurl/https://host/a.tif?key=1#x"),
        ("s3://bucket/folder/a.tif", "/vsis3/bucket/folder/a.tif"),
        ("gs://bucket/folder/a.tif", "/vsigs/bucket/folder/a.tif"),
    ],
)
def test_urls_become_what_gdal_opens(url: str, expected: str):
    assert rasterio_path(url) == expected


def test_passwords_are_not_shown():
    assert shown("https://me:secret@host/a/b.tif?sig=1/2@3#x") == "https://host/a/b.tif"
    assert shown("http://host/a@b.tif") == "http://host/a@b.tif"
    assert shown("what?.tif") == "what?.tif"
