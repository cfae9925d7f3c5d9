"""Boxes and cover follow the pixels exactly, however a picture is cut, turned, scaled and put together."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from trl_recipes.small.pictures import (
    UNKNOWN,
    WAYS,
    Picture,
    as_amplitude,
    as_decibels,
    cut,
    cuts,
    in_whole_pixels,
    scaled,
    together,
    turned,
)


def painted(width: int, height: int, *boxes: tuple[int, int, int, int]) -> Picture:
    """A black picture whose boxes are painted 100, 101, ... in pixels and 1, 2, ... in cover."""
    pixels = np.zeros((height, width), np.uint8)
    cover = np.zeros((height, width), np.uint8)
    for number, (x1, y1, x2, y2) in enumerate(boxes):
        pixels[y1:y2, x1:x2] = 100 + number
        cover[y1:y2, x1:x2] = 1 + number
    return Picture(pixels, np.array(boxes, float).reshape(-1, 4), tuple("ship" for _ in boxes), cover)


def hull(where: NDArray[np.bool_]) -> list[int]:
    """Edges of the pixels that are true."""
    rows, columns = np.flatnonzero(where.any(1)), np.flatnonzero(where.any(0))
    return [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]


def check(picture: Picture) -> None:
    """Each box is the hull of its pixels, and of its cover."""
    for box in picture.boxes:
        x1, y1, x2, y2 = (int(edge) for edge in box)
        value = picture.cover[y1, x1]
        assert value > 0 and hull(picture.cover == value) == [x1, y1, x2, y2]
        assert (picture.pixels[y1:y2, x1:x2] == 99 + int(value)).all()


@st.composite
def pictures(draw: st.DrawFn) -> Picture:
    """With one box, or two that do not meet."""
    width, height = draw(st.integers(12, 40)), draw(st.integers(6, 40))
    middle = width // 2
    boxes = []
    for low, high in ((0, middle), (middle, width))[: draw(st.integers(1, 2))]:
        x1, y1 = draw(st.integers(low, high - 2)), draw(st.integers(0, height - 2))
        boxes.append((x1, y1, draw(st.integers(x1 + 1, high)), draw(st.integers(y1 + 1, height))))
    return painted(width, height, *boxes)


@given(pictures(), st.integers(0, WAYS - 1))
@settings(max_examples=60, deadline=None)
def test_boxes_turn_with_their_pixels(picture: Picture, way: int) -> None:
    check(turned(picture, way))
    assert len({turned(picture, other).pixels.tobytes() for other in range(WAYS)}) <= WAYS


@given(pictures(), st.data())
@settings(max_examples=60, deadline=None)
def test_a_part_has_the_boxes_that_are_whole_in_it(picture: Picture, data: st.DataObject) -> None:
    x1, y1 = data.draw(st.integers(0, picture.width - 1)), data.draw(st.integers(0, picture.height - 1))
    part = (
        x1,
        y1,
        data.draw(st.integers(x1 + 1, picture.width)),
        data.draw(st.integers(y1 + 1, picture.height)),
    )
    found = cut(picture, part)
    check(found)
    shown = {int(value) for value in np.unique(found.cover)} - {0}
    assert cuts(picture, part) == (len(shown) > len(found.labels))


@given(pictures(), st.integers(1, 4), st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_boxes_grow_with_their_pixels(picture: Picture, across: int, down: int) -> None:
    grown = scaled(picture, across * picture.width, down * picture.height)
    for number, box in enumerate(grown.boxes):
        assert hull(grown.cover == number + 1) == box.tolist()


def test_pictures_together_keep_their_places() -> None:
    parts = [painted(20, 20, (2 * n, 4, 2 * n + 6, 10)) for n in range(4)]
    whole = together(parts, 40)
    assert whole.boxes.tolist() == [[0, 4, 6, 10], [22, 4, 28, 10], [4, 24, 10, 30], [26, 24, 32, 30]]
    for box in whole.boxes.astype(int).tolist():
        x1, y1, x2, y2 = box
        assert (whole.cover[y1:y2, x1:x2] == 1).all()
    assert int((whole.cover == 1).sum()) == 4 * 36


def test_boxes_become_whole_and_stay_inside() -> None:
    picture = painted(50, 50, (0, 0, 10, 10))
    odd = Picture(
        picture.pixels, np.array([[-0.4, 3.3, 7.6, 9.9], [49.8, 49.7, 50.2, 50.4]]), ("a", "b"), picture.cover
    )
    assert in_whole_pixels(odd).boxes.tolist() == [[0, 3, 8, 10], [49, 49, 50, 50]]


@given(st.floats(3, 60))
@settings(max_examples=20, deadline=None)
def test_tones_keep_what_is_brighter(median: float) -> None:
    rng = np.random.default_rng(0)
    grey = rng.integers(20, 200, (16, 16)).astype(np.uint8)
    picture = Picture(grey, np.zeros((0, 4)), (), np.full(grey.shape, UNKNOWN, np.uint8))
    for toned in (as_amplitude(picture, median), as_decibels(picture, median)):
        assert (np.diff(toned.pixels.ravel()[np.argsort(grey.ravel())].astype(int)) >= 0).all()
        assert np.median(toned.pixels) == pytest.approx(median, abs=1.5)
