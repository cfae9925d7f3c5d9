"""A model's chat template: a program in its folder, which makes the text that the model reads of a question."""

import signal
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import cast

from fusargpt.errors import InputError, one_line
from fusargpt.inference.faces import Processes
from modeling_fusargpt.processing_fusargpt import FusarGptProcessor

_SECONDS = 5.0
"""More than a thousand times what a template takes."""
_PROBE = "What does this image show?"


def render(processor: FusarGptProcessor, question: str) -> str:
    """The text of one question about one image, up to where the answer begins.

    Raises:
        InputError: the template fails, or does not show one image.
    """
    message: dict[str, object] = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}
    try:
        text = cast(Processes, processor).apply_chat_template([message], add_generation_prompt=True)
    # A template is a program, and may raise anything.
    except Exception as error:
        raise InputError(f"chat template: fails with {type(error).__name__}: {one_line(error)}") from error
    shown = text.count(processor.image_token)
    if shown != 1:
        raise InputError(f"chat template: shows {shown} images; expected one, as {processor.image_token}")
    return text


def check_template(processor: FusarGptProcessor) -> None:
    """Raises InputError for a template that fails, takes some seconds, or does not show image and question."""
    with _time_limit(_SECONDS):
        text = render(processor, _PROBE)
    if _PROBE not in text.partition(processor.image_token)[2]:
        raise InputError("chat template: does not show the question behind the image")


@contextmanager
def _time_limit(seconds: float) -> Generator[None]:
    """Raises TimeoutError in the block; only the first thread has a timer, and not on Windows."""
    if sys.platform == "win32" or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"it has run for {seconds:g} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    timer = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        # What a limit around this one had left goes on, a little longer.
        signal.setitimer(signal.ITIMER_REAL, *timer)
