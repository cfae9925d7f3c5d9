"""What is asked next is read in a thread of its own while the model answers: scenes and priors may lie on a server."""

from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from fusargpt.inference.questions import Item

AnyItem = TypeVar("AnyItem", bound=Item)
Found = TypeVar("Found")


def read_ahead(
    items: Sequence[AnyItem], read: Callable[[AnyItem], Found], most: int, most_pixels: int
) -> Generator[tuple[AnyItem, Found | Exception]]:
    """Each item with what `read` gives, or with the exception that it raises; in order, one at a time.

    Args:
        items: what is read.
        read: always called by the same thread, which is not the caller's.
        most: items that are read before they are asked for.
        most_pixels: likewise, of the images of items that say how large theirs are. One is read whatever its size.
    """
    left = iter(items)
    waiting: deque[tuple[AnyItem, Future[Found]]] = deque()
    pixels, at_end = 0, False
    with ThreadPoolExecutor(1, thread_name_prefix="reading") as reader:
        try:
            while True:
                while not at_end and len(waiting) < most and (pixels < most_pixels or not waiting):
                    item = next(left, None)
                    at_end = item is None
                    if item is not None:
                        waiting.append((item, reader.submit(read, item)))
                        pixels += item.pixels
                if not waiting:
                    return
                item, future = waiting.popleft()
                pixels -= item.pixels
                error = future.exception()
                # What ends a program goes on as it is.
                if error is not None and not isinstance(error, Exception):
                    raise error
                yield item, future.result() if error is None else error
        finally:
            reader.shutdown(cancel_futures=True)
