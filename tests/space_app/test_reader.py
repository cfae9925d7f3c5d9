"""Uploads are read apart: within limits of time and memory, and what they cost ends with their process."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from gradio.utils import NamedString
from PIL import Image

from fusargpt.errors import InputError
from fusargpt.geo.image import read_image
from fusargpt.geo.reading import Reading
from fusargpt.inference.predict import FusarGpt
from space_app import reading_process
from space_app.limits import Visitors
from space_app.reader import Reader
from space_app.reading_process import ReadingProcess
from space_app.streaming import stream_of
from tests.bombs import jpeg_of_exif, jpeg_of_nested_exif, jpeg_of_scans, png_of_nested_exif, tiff_of_items


@pytest.fixture
def kept() -> Iterator[Reader]:
    with closing(Reader(at_once=1)) as opened:
        yield opened


def test_a_file_is_read_as_in_this_process(kept: Reader, image: str) -> None:
    found = kept.read(image)
    assert found.picture.tobytes() == read_image(image).tobytes()
    assert found.geometry is not None and found.bands == ("VV",)


def test_a_file_that_keeps_a_decoder_busy_is_left_and_costs_nobody_else(
    tmp_path: Path, image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What takes long however its header is looked at: noise, and no time for it.
    slow = tmp_path / "slow.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (1024, 1024, 3), np.uint8)).save(slow, compress_level=0)
    with closing(Reader(at_once=1, seconds=0)) as hurried:
        hurried.start()
        monkeypatch.setattr(reading_process, "_AT_LEAST_SECONDS", 0.01)
        with pytest.raises(InputError, match=r"slow.png: takes more than 0 seconds or 2 GB to read; save it again"):
            hurried.read(str(slow))
        monkeypatch.undo()
        assert hurried.read(image).bands == ("VV",)


@pytest.mark.parametrize("bomb", [jpeg_of_scans, jpeg_of_exif, jpeg_of_nested_exif, png_of_nested_exif, tiff_of_items])
def test_small_files_that_cost_much_are_one_line(kept: Reader, tmp_path: Path, bomb: Callable[[Path], Path]) -> None:
    path = bomb(tmp_path / "bomb")
    with pytest.raises(InputError, match=r"bomb: .* save it again") as caught:
        kept.read(str(path))
    assert "\n" not in str(caught.value)


def test_a_process_reads_many_files_and_one_that_died_is_replaced(kept: Reader, tmp_path: Path, image: str) -> None:
    (process,) = kept._processes  # pyright: ignore[reportPrivateUsage]
    first = process.start()
    kept.read(image)
    with pytest.raises(InputError, match=r"nothing\.png: the file is empty"):
        (tmp_path / "nothing.png").touch()
        kept.read(str(tmp_path / "nothing.png"))
    assert process.start() is first
    first.kill()
    first.wait()
    other = tmp_path / "chip.png"
    Image.new("L", (32, 32)).save(other)
    assert kept.read(str(other)).picture.size == (32, 32)
    assert process.start() is not first


def test_the_process_loads_nothing_of_the_page(kept: Reader, image: str) -> None:
    """gradio hands paths over as a kind of text of its own, which takes a second to be known."""
    kept.read(NamedString(image))
    (process,) = kept._processes  # pyright: ignore[reportPrivateUsage]
    maps = Path(f"/proc/{process.start().pid}/maps")
    if not maps.exists():
        pytest.skip("no /proc")
    assert "rasterio" in maps.read_text() and "pandas" not in maps.read_text()


def test_what_is_read_is_remembered_until_it_changes(kept: Reader, tmp_path: Path) -> None:
    path = tmp_path / "chip.png"
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(path)
    first = kept.read(str(path))
    assert kept.read(str(path)) is first
    Image.fromarray(np.full((32, 40), 9, np.uint8)).save(path)
    assert kept.read(str(path)).picture.size == (40, 32)


def test_errors_are_those_of_the_file(kept: Reader, tmp_path: Path) -> None:
    (tmp_path / "picture.gif").write_bytes(b"GIF89a")
    with pytest.raises(InputError, match=r"picture\.gif: not a PNG, JPEG or TIFF image"):
        kept.read(str(tmp_path / "picture.gif"))


def test_a_visitor_has_so_many_requests_and_others_have_theirs() -> None:
    visitors = Visitors(most=1)
    with (
        visitors.at_work("a"),
        visitors.at_work("b"),
        visitors.at_work(None),
        pytest.raises(InputError, match="1 of your requests are under way; wait for one"),
        visitors.at_work("a"),
    ):
        pass
    with visitors.at_work("a"):
        pass


def test_the_files_of_one_visitor_are_read_one_by_one() -> None:
    visitors, begun, may_end = Visitors(), threading.Event(), threading.Event()

    def slowly() -> None:
        with visitors.in_turn("a"):
            begun.set()
            may_end.wait(30)

    with ThreadPoolExecutor(2) as at_once:
        first = at_once.submit(slowly)
        assert begun.wait(30)
        begun.clear()
        second = at_once.submit(slowly)
        assert not begun.wait(0.1)
        # Another one's, meanwhile.
        with visitors.in_turn("b"), visitors.in_turn(None):
            pass
        may_end.set()
        first.result(30)
        second.result(30)
    assert begun.is_set()


def test_the_model_s_place_is_waited_for_piece_by_piece(predictor: FusarGpt) -> None:
    stream = stream_of(predictor, threading.Lock())
    picture = Image.new("RGB", (56, 56))
    first, second = (stream(picture, "What is there?", None, 4, 60.0, None) for _ in range(2))
    next(first)
    assert next(second).text == "" and not next(second).final
    first.close()
    *_, last = second
    assert last.final


def test_nothing_passes_the_queue_and_nobody_watches(address: str) -> None:
    for name in ("look", "ask", "anchors"):
        answer = httpx.post(f"{address}gradio_api/run/{name}", json={"data": [None] * 13})
        assert answer.status_code in (401, 403, 404), answer.text
    for place in ("monitoring", "monitoring/summary"):
        assert httpx.get(f"{address}gradio_api/{place}").status_code >= 400


def test_ten_requests_at_once_are_read_two_at_a_time(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ten of them need of memory is what two processes with limits may take."""
    lock, working, most = threading.Lock(), 0, 0
    read = ReadingProcess.read

    def counted(process: ReadingProcess, path: str, reading: Reading | None) -> Any:
        nonlocal working, most
        with lock:
            working += 1
            most = max(most, working)
        try:
            return read(process, path, reading)
        finally:
            with lock:
                working -= 1

    monkeypatch.setattr(ReadingProcess, "read", counted)
    server = f"{address}gradio_api"
    with httpx.Client(timeout=120) as client:
        uploaded: list[str] = []
        for number in range(10):
            path = tmp_path / f"{number}.png"
            Image.new("L", (64 + number, 64)).save(path)
            uploaded += client.post(f"{server}/upload", files={"files": (path.name, path.read_bytes())}).json()
        look = [
            [{"path": path, "meta": {"_type": "gradio.FileData"}}, 1, "", "", "", "", None, ""] for path in uploaded
        ]

        def straight(data: list[Any]) -> int:
            return client.post(f"{server}/run/look", json={"data": data}).status_code

        def queued(data: list[Any]) -> str:
            event = client.post(f"{server}/call/look", json={"data": data}).json()["event_id"]
            return client.get(f"{server}/call/look/{event}").text

        with ThreadPoolExecutor(10) as at_once:
            assert set(at_once.map(straight, look)) <= {401, 403, 404} and most == 0
            answers = list(at_once.map(queued, look))
    assert all(f"[{64 + number}, 64]" in answer for number, answer in enumerate(answers)), answers
    assert 1 <= most <= 2
