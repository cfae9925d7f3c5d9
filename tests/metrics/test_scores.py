"""Hand-computed scores."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics.scores import (
    bootstrap,
    box_overlap,
    classify_scores,
    count_scores,
    describe_scores,
    detect_scores,
    localize_scores,
    match_boxes,
)
from modeling_fusargpt.tasks import format_boxes

SHIPS = format_boxes([(0, 0, 10, 10), (20, 20, 30, 30)], ["ship", "ship"])


def test_count_takes_whole_numbers_only() -> None:
    assert count_scores(["3", "three", " 2 ", "-1"], ["3", "3", "2", "1"])["accuracy"].value == 0.5


def test_localize_by_hand() -> None:
    scores = localize_scores(["1, 2", "5", "1", "None", "4"], ["1, 2", "5, 6", "9", "None", "None"])
    assert scores["acc@100"].value == pytest.approx(1 / 3)
    assert scores["acc@50"].value == pytest.approx(2 / 3)
    assert scores["top1"].value == pytest.approx(2 / 3)
    assert scores["acc@100"].n == 3
    assert scores["exact"].value == pytest.approx(2 / 5)
    assert scores["precision"].value == pytest.approx(3 / 5)


def test_naming_every_cell_does_not_pay() -> None:
    scores = localize_scores(["1,2,3,4,5,6,7,8,9"] * 2, ["1", "None"])
    assert scores["top1"].value == 1
    assert scores["exact"].value == 0


def test_classify_and_describe() -> None:
    assert classify_scores(["ship", "None"], ["ship", "aircraft"])["accuracy"].value == 0.5
    scores = describe_scores(
        ["Mostly water. Two ships on the water."] * 2, ["Mostly water. Two ships on the water."] * 2
    )
    assert scores["bleu4"].value == pytest.approx(1)
    assert scores["exact"].value == 1


def test_detection_is_matched_one_to_one_by_overlap_and_label() -> None:
    assert match_boxes(SHIPS, SHIPS, 0.5) == (2, 2, 2)
    twice = format_boxes([(0, 0, 10, 10), (0, 0, 10, 10)], ["ship", "ship"])
    assert match_boxes(twice, SHIPS, 0.5) == (1, 2, 2)
    aircraft = format_boxes([(0, 0, 10, 10)], ["aircraft"])
    assert match_boxes(aircraft, SHIPS, 0.5) == (0, 1, 2)
    assert match_boxes('[{"bbox_2d": [0, 0, 10', SHIPS, 0.5) == (0, 0, 2)
    half = format_boxes([(0, 0, 10, 5)], ["ship"])
    assert match_boxes(half, SHIPS, 0.5)[0] == 1
    assert match_boxes(half, SHIPS, 0.51)[0] == 0
    assert detect_scores([half, "None"], [SHIPS, "None"])["f1@0.50"].value == pytest.approx(2 / 3)


def test_no_images_is_an_error() -> None:
    with pytest.raises(ValueError, match="no images"):
        bootstrap(np.array([]), np.mean)


corner = st.integers(0, 50)


@given(st.tuples(corner, corner, corner, corner), st.tuples(corner, corner, corner, corner))
def test_overlap_is_symmetric_and_bounded(first: tuple[int, ...], second: tuple[int, ...]) -> None:
    boxes = [(x, y, x + width, y + height) for x, y, width, height in (first, second)]
    assert box_overlap(*boxes) == box_overlap(boxes[1], boxes[0])
    assert 0 <= box_overlap(*boxes) <= 1
