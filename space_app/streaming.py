"""An answer as it grows, from a model that decodes in a thread of its own."""

import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event

from PIL import Image
from torch import Tensor
from transformers import PreTrainedTokenizerBase, TextIteratorStreamer

from fusargpt.geo.prior import Prior
from fusargpt.inference.predict import FusarGpt
from space_app.accelerator import on_gpu
from space_app.limits import MAX_ANSWER_SECONDS

_WAITING_SECONDS = 0.5
"""Between pieces without text, while another answer is written; a visitor may stop at each."""


@dataclass(frozen=True)
class Piece:
    """The answer so far; the last piece is `final`, and `out_of_time` when the model was stopped before its end."""

    text: str
    final: bool = False
    out_of_time: bool = False


Stream = Callable[[Image.Image, str, Prior | None, int, float, str | None], Generator[Piece]]
"""`stream_answer` on one model: image, question, prior, most new tokens, seconds and task."""


class _Stopped(Exception):
    """Ends decoding when nobody reads the answer any more, or when its time is over."""


class _Streamer(TextIteratorStreamer):
    def __init__(self, tokenizer: PreTrainedTokenizerBase, seconds: float):
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self.reader_left = Event()
        self.deadline = time.monotonic() + seconds
        self.out_of_time = False

    def put(self, value: Tensor) -> None:
        self.out_of_time = time.monotonic() > self.deadline
        if self.out_of_time or self.reader_left.is_set():
            raise _Stopped
        super().put(value)

    def end_of_stream(self) -> None:
        """Release the reader; also when decoding failed before it came to its own end."""
        self.text_queue.put(self.stop_signal)


def stream_answer(
    predictor: FusarGpt,
    image: Image.Image,
    question: str,
    prior: Prior | None,
    max_new_tokens: int,
    seconds: float = MAX_ANSWER_SECONDS,
    task: str | None = None,
) -> Generator[Piece]:
    """The answer to `question` so far, longer with every piece; the last one is the whole answer.

    After `seconds` the model is stopped at the token it is at, and the last piece says so. Closing the iterator stops
    it likewise, and returns when it has stopped, so that at no time more answers are decoded than are read.

    A whole answer says how sure the model was, by its `task`, see `fusargpt.inference.confidences.ScoredAnswer`.

    Raises:
        InputError: as `FusarGpt.answer`.
    """
    streamer = _Streamer(predictor.processor.tokenizer, seconds)

    def decode() -> str:
        try:
            return predictor.answer(image, question, prior, max_new_tokens, streamer, None, task)
        finally:
            streamer.end_of_stream()

    text = ""
    with ThreadPoolExecutor(max_workers=1) as executor:
        decoding = executor.submit(decode)
        try:
            for piece in streamer:
                text += piece
                yield Piece(text.strip())
        finally:
            streamer.reader_left.set()
    try:
        yield Piece(decoding.result(), final=True)
    except _Stopped:
        yield Piece(text.strip(), final=True, out_of_time=True)


def stream_of(predictor: FusarGpt, place: threading.Lock) -> Stream:
    """`stream_answer` on this model, with the GPU of a Space that lends one, while `place` is held.

    The model is bound to the function, not handed over with each call: what is handed over goes to another process.
    """

    def lent(
        image: Image.Image, question: str, prior: Prior | None, max_new_tokens: int, seconds: float, task: str | None
    ) -> Generator[Piece]:
        yield from stream_answer(predictor, image, question, prior, max_new_tokens, seconds, task)

    marked = on_gpu(lent)

    def stream(
        image: Image.Image, question: str, prior: Prior | None, max_new_tokens: int, seconds: float, task: str | None
    ) -> Generator[Piece]:
        while not place.acquire(timeout=_WAITING_SECONDS):
            yield Piece("")
        try:
            yield from marked(image, question, prior, max_new_tokens, seconds, task)
        finally:
            place.release()

    return stream
