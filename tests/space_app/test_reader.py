"""Uploads are read apart: within limits of time and memory, and what they cost ends with their process."""

import io
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from fusargpt.errors import InputError
from fusargpt.geo.image import read_image
from fusargpt.inference.predict import FusarGpt
from space_app import reader
from space_app.limits import Visitors
from space_app.reader import Reader
from space_app.streaming import stream_of


def slow_jpeg(path: Path, scans: int = 20_000) -> str:
    """A progressive JPEG whose last scan stands there again and again: each leads the decoder over the whole image."""
    encoded = io.BytesIO()
    Image.new("L", (4096, 4096)).save(encoded, "JPEG", progressive=True)
    content = encoded.getvalue()
    last = content.rindex(b"\xff\xda")
    path.write_bytes(content[:last] + content[last:-2] * scans + b"\xff\xd9")
    return str(path)


def test_a_file_is_read_as_in_this_process(image: str) -> None:
    found = Reader().read(image)
    assert found.picture.tobytes() == read_image(image).tobytes()
    assert found.geometry is not None and found.bands == ("VV",)


@pytest.mark.slow
def test_a_file_that_keeps_a_decoder_busy_is_left_and_costs_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "_START_SECONDS", 10.0)
    path = slow_jpeg(tmp_path / "slow.jpg")
    start = time.monotonic()
    with pytest.raises(InputError, match=r"slow.jpg: takes more than 1 seconds or 2 GB to read; save it again"):
        Reader(seconds=1).read(path)
    assert time.monotonic() - start < 15


def test_what_is_read_is_remembered_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "chip.png"
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(path)
    kept = Reader()
    first = kept.read(str(path))
    with monkeypatch.context() as patch:
        patch.setattr(reader.subprocess, "Popen", None)
        assert kept.read(str(path)) is first
    Image.fromarray(np.full((32, 40), 9, np.uint8)).save(path)
    assert kept.read(str(path)).picture.size == (40, 32)


def test_errors_are_those_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "picture.gif").write_bytes(b"GIF89a")
    with pytest.raises(InputError, match=r"picture\.gif: not a PNG, JPEG or TIFF image"):
        Reader().read(str(tmp_path / "picture.gif"))


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


def test_the_model_s_place_is_waited_for_piece_by_piece(predictor: FusarGpt) -> None:
    stream = stream_of(predictor)
    picture = Image.new("RGB", (56, 56))
    first, second = (stream(picture, "What is there?", None, 4, 60.0) for _ in range(2))
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
