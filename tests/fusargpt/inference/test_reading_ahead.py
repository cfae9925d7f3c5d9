"""Reading ahead changes when things are read, and nothing else."""

import threading
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusargpt.inference.questions import Item
from fusargpt.inference.reading_ahead import read_ahead


def items(*pixels: int) -> list[Item]:
    return [Item(str(number), "count", "?", "", count) for number, count in enumerate(pixels)]


# Threads are started, which takes what it takes on a busy machine.
@settings(deadline=None)
@given(st.lists(st.integers(0, 9), max_size=20), st.integers(1, 5), st.integers(0, 12))
def test_order_and_errors_are_kept_and_what_waits_is_bounded(sizes: list[int], most: int, most_pixels: int) -> None:
    asked, done, high = items(*sizes), 0, 0

    def read(item: Item) -> str:
        nonlocal high
        high = max(high, int(item.id) - done)
        if item.pixels == 3:
            raise ValueError(item.id)
        return item.id

    found = []
    for item, outcome in read_ahead(asked, read, most, most_pixels):
        done = int(item.id) + 1
        found.append((item, str(outcome)))
        assert isinstance(outcome, ValueError) == (item.pixels == 3)
    assert found == [(item, item.id) for item in asked]
    assert high <= most


def test_the_next_are_read_while_one_is_looked_at() -> None:
    read: list[str] = []
    third = threading.Event()

    def note(item: Item) -> None:
        read.append(f"{item.id} {threading.current_thread() is threading.main_thread()}")
        if len(read) == 3:
            third.set()

    with closing(read_ahead(items(1, 1, 1, 1, 1), note, 3, 100)) as outcomes:
        next(outcomes)
        assert third.wait(10)
    assert read[:3] == ["0 False", "1 False", "2 False"] and len(read) < 5, "the rest is left unread"


def test_large_images_do_not_wait_together() -> None:
    read: list[int] = []
    for item, _ in read_ahead(items(50, 50, 50), lambda item: read.append(int(item.id)), 3, 40):
        assert read == list(range(int(item.id) + 1))


def test_what_ends_a_program_ends_it() -> None:
    def stop(item: Item) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(read_ahead(items(1), stop, 1, 1))
