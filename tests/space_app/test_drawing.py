import json

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from space_app.drawing import draw_answer, enlarge

GREY = Image.new("RGB", (168, 84), (90, 90, 90))
SCALE = 8  # 84 pixels to at least 640


def boxes(*items: tuple[list[float], str]) -> str:
    return json.dumps([{"bbox_2d": box, "label": label} for box, label in items])


def changed(picture: Image.Image) -> np.ndarray:
    return (np.asarray(picture) != np.asarray(enlarge(GREY))).any(-1)


def test_small_images_are_enlarged_by_a_whole_factor_and_large_ones_kept():
    assert enlarge(GREY).size == (168 * SCALE, 84 * SCALE)
    large = Image.new("RGB", (900, 700))
    assert enlarge(large).size == large.size


def test_a_strip_is_not_enlarged_without_end():
    assert max(enlarge(Image.new("RGB", (1680, 28))).size) <= 4096


def test_a_box_is_framed_where_the_answer_puts_it_and_its_inside_left_as_it_is():
    picture, note = draw_answer(GREY, "detect", boxes(([20, 30, 60, 50], "ship")))
    mask = changed(picture)
    assert mask[30 * SCALE - 1, 20 * SCALE : 60 * SCALE].all()
    assert mask[50 * SCALE, 20 * SCALE : 60 * SCALE].all()
    assert mask[30 * SCALE : 50 * SCALE, 20 * SCALE - 1].all()
    assert mask[30 * SCALE : 50 * SCALE, 60 * SCALE].all()
    assert not mask[30 * SCALE : 50 * SCALE, 20 * SCALE : 60 * SCALE].any()
    assert note == "1 box, in pixels of the image as the model sees it (168 x 84)."


def test_ships_and_aircraft_have_colours_of_their_own():
    ship, aircraft = (
        draw_answer(GREY, "detect", boxes(([20, 30, 60, 50], label)))[0].getpixel((30 * SCALE, 50 * SCALE))
        for label in ("ship", "aircraft")
    )
    assert ship != aircraft


def test_a_box_that_leaves_the_image_is_framed_at_its_edge():
    mask = changed(draw_answer(GREY, "detect", boxes(([100, 40, 400, 900], "ship")))[0])
    assert mask[40 * SCALE :, -1].all()
    assert mask[-1, 100 * SCALE :].all()


@pytest.mark.parametrize("box", [[20, 20, 20, 40], [60, 20, 20, 40], [200, 0, 300, 40]])
def test_boxes_without_area_in_the_image_are_counted_and_not_drawn(box: list[float]):
    picture, note = draw_answer(GREY, "detect", boxes((box, "ship")))
    assert not changed(picture).any()
    assert note.endswith("; 1 not drawn, having no area inside the image.")


def test_no_target_is_an_answer():
    picture, note = draw_answer(GREY, "detect", "None")
    assert not changed(picture).any()
    assert note == "0 boxes."


@pytest.mark.parametrize(
    ("task", "note"),
    [
        ("detect", "This answer cannot be read as boxes."),
        ("localize", "This answer names no cell."),
        ("count", "This answer is not a number."),
        ("describe", ""),
        ("classify", ""),
        (None, ""),
    ],
)
def test_an_answer_of_another_form_is_said_to_be_unreadable(task: str | None, note: str):
    picture, found = draw_answer(GREY, task, "a harbour")
    assert not changed(picture).any()
    assert found == note


def test_a_free_question_may_be_answered_by_boxes():
    answer = boxes(([20, 30, 60, 50], "bridge"))
    picture, note = draw_answer(GREY, None, answer)
    assert picture.tobytes() == draw_answer(GREY, "detect", answer)[0].tobytes()
    assert note.startswith("1 box")


def test_named_cells_are_tinted_and_the_others_only_framed():
    picture, note = draw_answer(GREY, "localize", "2, 9")
    height, width = 84 * SCALE, 168 * SCALE
    centres = [
        picture.getpixel((width * (2 * column + 1) // 6, height * (2 * row + 1) // 6))
        for row in range(3)
        for column in range(3)
    ]
    assert [index + 1 for index, colour in enumerate(centres) if colour != (90, 90, 90)] == [2, 9]
    assert note == "2 of 9 cells, numbered row by row."


def test_no_cell_is_an_answer():
    assert draw_answer(GREY, "localize", "None")[1] == "No cell."


def test_what_can_be_read_of_a_broken_answer_is_drawn_and_the_rest_admitted():
    whole = boxes(([20, 30, 60, 50], "ship"))
    picture, note = draw_answer(GREY, "detect", whole[:-1] + ', {"bbox_2d": [60, 2')
    assert picture.tobytes() == draw_answer(GREY, "detect", whole)[0].tobytes()
    assert note.endswith("; other parts of the answer cannot be read.")
    picture, note = draw_answer(GREY, "detect", boxes(([20, 30, float("inf"), 50], "ship")))
    assert not changed(picture).any()
    assert note == "This answer cannot be read as boxes."


coordinates = st.floats(allow_nan=False, allow_infinity=False) | st.floats(-50, 250)
labels = st.text(st.characters(codec=None), max_size=60).filter(lambda label: label.strip())


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.lists(coordinates, min_size=4, max_size=4), labels), max_size=3))
@example([([20, 30, 60, 50], "two\nlines \ud800")])
def test_whatever_boxes_a_model_writes_the_picture_is_drawn(items: list[tuple[list[float], str]]):
    picture, note = draw_answer(GREY, "detect", boxes(*items))
    assert picture.size == (168 * SCALE, 84 * SCALE)
    assert note.startswith(f"{len(items)} box")


def test_scores_stand_on_boxes_and_hide_those_below_the_least():
    answer = boxes(([20, 30, 60, 50], "ship"), ([90, 30, 130, 50], "ship"))
    picture, note = draw_answer(GREY, "detect", answer, scores=(0.8, 0.3), least=0.5)
    assert note.endswith("; 1 not drawn, of a score below 0.50.")
    mask = changed(picture)
    assert mask[:, 20 * SCALE : 60 * SCALE].any() and not mask[:, 90 * SCALE :].any()
    # The tab is as long as what stands on it.
    without = changed(draw_answer(GREY, "detect", boxes(([20, 30, 60, 50], "ship")))[0])
    assert mask[: 30 * SCALE - 3].sum() > without[: 30 * SCALE - 3].sum()
