"""An answer as it grows, from a model that decodes in a thread of its own."""

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from threading import Event

from PIL import Image
from transformers import TextIteratorStreamer

from fusar_geo.prior import Prior
from modeling_fusargpt.predict import FusarGpt


class _ReaderLeft(Exception):
    """Ends decoding when nobody reads the answer any more."""


class _Streamer(TextIteratorStreamer):
    def __init__(self, tokenizer):
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self.reader_left = Event()

    def put(self, value) -> None:
        if self.reader_left.is_set():
            raise _ReaderLeft
        super().put(value)

    def end_of_stream(self) -> None:
        """Release the reader; also when decoding failed before it came to its own end."""
        self.text_queue.put(self.stop_signal)


def stream_answer(
    predictor: FusarGpt, image: Image.Image, question: str, prior: Prior | None, max_new_tokens: int
) -> Generator[str]:
    """The answer to `question` so far, longer with every item; the last one is the whole answer.

    Closing the iterator stops the model after the token it is at, and returns when it has stopped, so that at no time
    more answers are decoded than are read.

    Raises:
        InputError: as `FusarGpt.answer`.
    """
    streamer = _Streamer(predictor.processor.tokenizer)

    def decode() -> str:
        try:
            return predictor.answer(image, question, prior, max_new_tokens, streamer)
        finally:
            streamer.end_of_stream()

    with ThreadPoolExecutor(max_workers=1) as executor:
        decoding = executor.submit(decode)
        try:
            text = ""
            for piece in streamer:
                text += piece
                yield text.strip()
        finally:
            streamer.reader_left.set()
    yield decoding.result()
