"""Whatever a model writes: what is read of it, and what is reported."""

import json
import re
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fusargpt.tasks.answers import LabelledBox, parse_boxes, parse_cells, parse_class, parse_count, scale_boxes
from fusargpt.tasks.prompts import format_boxes, format_cells

SHIP = LabelledBox([1.0, 2.0, 30.0, 40.0], "ship")
PLANE = LabelledBox([5.0, 6.0, 7.5, 8.0], "aircraft")
ONE = '{"bbox_2d": [1, 2, 30, 40], "label": "ship"}'
TWO = '{"bbox_2d": [5, 6, 7.5, 8], "label": "aircraft"}'


@pytest.mark.parametrize(
    "answer",
    [
        f"[{ONE}, {TWO}]",
        f"```json\n[\n\t{ONE},\n\t{TWO}\n]\n```",
        f"```\n[{ONE}, {TWO}]",
        f"[{ONE}, {TWO},]",
        f"[{ONE}, {TWO}]".replace('"', "'"),
        "[{'bbox_2d': [1, 2, 30, 40,], 'label': 'ship',}, {\"bbox_2d\": [5, 6, 7.5, 8], 'label': \"aircraft\"}]",
        f"Here are the targets:\n[{ONE}, {TWO}]\nLet me know if there's more.",
        f"{ONE}\n{TWO}",
        f'{{"objects": [{ONE}, {TWO}]}}',
        '[{"label": "ship", "score": 0.9, "bbox_2d": [1e0, 2.0, 30, 4E1]}, ' + TWO + "]",
    ],
)
def test_boxes_are_read_in_every_form_that_models_write(answer: str) -> None:
    assert parse_boxes(answer).value == [SHIP, PLANE]
    assert parse_boxes(answer).problems == ()


@pytest.mark.parametrize(
    "answer", ["None", " none.\n", "'None'", "```\nNone\n```", "**None**", "[]", "```json\n[ ]\n```"]
)
def test_no_box_is_an_answer(answer: str) -> None:
    assert parse_boxes(answer) == parse_boxes("None")
    assert parse_boxes("None").value == [] and parse_boxes("None").problems == ()


@pytest.mark.parametrize(
    ("rest", "problem"),
    [
        ("", "breaks off inside a list"),
        (', {"bbox_2d": [5, 6, 7', "breaks off inside an object"),
        (', {"bbox_2d": [5, 6, 7.5, 8], "label": "airc', "breaks off inside an object"),
        (', {"bbox_2d": [5, 6, 7.5, 8], "label": "aircraft"', "breaks off inside an object"),
        (', {"bbox_2d": [5, 6, 7.5], "label": "aircraft"}]', "object 2: no bbox_2d of four numbers"),
        (', {"bbox_2d": [5, 6, NaN, 8], "label": "aircraft"}]', "object 2: a corner that is no finite number"),
        (', {"bbox_2d": [5, 6, 1e999, 8], "label": "aircraft"}]', "object 2: a corner that is no finite number"),
        (f', {{"bbox_2d": [5, 6, {"9" * 400}, 8], "label": "aircraft"}}]', "object 2: a corner that is no finite"),
        (', {"bbox_2d": [5, 6, "7.5", 8], "label": "aircraft"}]', "object 2: a corner that is no finite number"),
        (', {"bbox_2d": [5, 6, true, 8], "label": "aircraft"}]', "object 2: a corner that is no finite number"),
        (', {"bbox_2d": [5, 6, 7.5, 8]}]', "object 2: no label"),
        (', {"bbox_2d": [5, 6, 7.5, 8], "label": " "}]', "object 2: no label"),
        (', {"bbox_2d": [5, 6, 7.5, 8], "label": null}]', "object 2: no label"),
        (', {"bbox_2d": [x1, y1, x2, y2], "label": "ship"}]', "object 2: no JSON"),
        (', {"bbox_2d": (5, 6, 7.5, 8), "label": "ship"}]', "object 2: no JSON"),
        (f', {{"bbox_2d": {"[" * 400}}}]', "object 2: no JSON"),
        (', {"bbox_2d": [5, 6, 7.5, 8], "label": "aircraft}]', "quotes do not match"),
        (', {"bbox_2d": [5, 6, 7.5, 8], "label": "aircraft", "parts": {"wings": 2}}]', "an object inside it"),
    ],
)
def test_complete_boxes_are_kept_and_the_rest_is_reported(rest: str, problem: str) -> None:
    parsed = parse_boxes(f"[{ONE}{rest}")
    assert parsed.value == [SHIP]
    assert any(problem in line for line in parsed.problems)


def test_a_box_with_unmatched_quotes_costs_itself_alone() -> None:
    parsed = parse_boxes('[{"bbox_2d": [5, 6, 7.5, 8], "label": "aircraft}, ' + ONE + "]")
    assert parsed.value == [SHIP]
    assert len(parsed.problems) == 1


@pytest.mark.parametrize("answer", ["", "  ", "Two ships.", "[1, 2, 30, 40]", "ship: (1, 2), (30, 40)", "[", "{"])
def test_what_is_neither_a_box_nor_none_is_reported(answer: str) -> None:
    parsed = parse_boxes(answer)
    assert parsed.value == []
    assert len(parsed.problems) == 1 and "\n" not in parsed.problems[0]


corner = st.integers(-5000, 5000)
label = st.text(min_size=1, max_size=20).filter(str.strip)
labelled_boxes = st.lists(st.tuples(st.tuples(corner, corner, corner, corner), label), max_size=6)


def read(items: list[tuple[tuple[int, ...], str]]) -> list[tuple[list[float], str]]:
    return [(list(map(float, box)), label) for box, label in items]


@settings(deadline=None)
@given(labelled_boxes)
@example([((1, 2, 3, 4), "a {box}, 'quoted' \\ \"twice\"")])
def test_what_is_written_is_read(items: list[tuple[tuple[int, ...], str]]) -> None:
    parsed = parse_boxes(format_boxes([box for box, _ in items], [label for _, label in items]))
    assert parsed.value == read(items)
    assert parsed.problems == ()


@settings(deadline=None)
@given(labelled_boxes.filter(len), st.data())
def test_a_list_cut_anywhere_keeps_its_complete_boxes_and_says_that_it_was_cut(
    items: list[tuple[tuple[int, int, int, int], str]], data: st.DataObject
) -> None:
    written = [json.dumps({"bbox_2d": box, "label": label}) for box, label in items]
    answer = f"[{', '.join(written)}]"
    end = data.draw(st.integers(1, len(answer) - 1))
    complete = sum(len(f"[{', '.join(written[:count])}") <= end for count in range(1, len(items) + 1))
    parsed = parse_boxes(answer[:end])
    assert parsed.value == read(items)[:complete]
    assert parsed.problems


json_like = st.text("[]{}\"'\\,:. \n`abxN0129-e", max_size=80) | st.lists(
    st.sampled_from([ONE, TWO, "[", "]", "{", "}", '"', "'", ",", "None", "bbox_2d", "```json\n", "\\", "cells", "3"])
).map("".join)


@settings(deadline=None)
@given(st.text(st.characters(codec=None)) | json_like)
def test_no_text_makes_a_reader_fail(answer: str) -> None:
    boxes, cells, count = parse_boxes(answer), parse_cells(answer), parse_count(answer)
    # Nothing is made up: each box is written in the answer as an object, and each number as a number.
    assert len(boxes.value) <= answer.count("bbox_2d")
    assert all(str(cell) in answer for cell in cells.value)
    assert count.value is None or count.value in map(int, re.findall(r"[0-9]+", answer))
    assert (count.value is None) == bool(count.problems)
    assert bool(parse_class(answer).value) != bool(parse_class(answer).problems)
    assert all("\n" not in line for parsed in (boxes, cells, count) for line in parsed.problems)


@pytest.mark.parametrize("piece", ["{", '{"', '{\\"', "[", "'", '{"a": 1}', "  ", "1, ", "```a", ONE + ", "])
def test_long_answers_are_read_in_time(piece: str) -> None:
    answer = "x" + piece * (100_000 // len(piece)) + "x"
    # Processor time: the machine may be busy with other things.
    start = time.process_time()
    for reader in (parse_boxes, parse_cells, parse_count, parse_class):
        reader(answer)
    assert time.process_time() - start < 3


@pytest.mark.parametrize(
    ("answer", "count"),
    [
        ("3", 3),
        (" 3.\n", 3),
        ("**3**", 3),
        ("```\n12\n```", 12),
        ("007", 7),
        ("3 ships", 3),
        ("There are 3 ships in this image.", 3),
        ("there is 1 aircraft", 1),
    ],
)
def test_counts(answer: str, count: int) -> None:
    assert parse_count(answer).value == count
    assert parse_count(answer).problems == ()


@pytest.mark.parametrize(
    ("answer", "count"),
    [
        ("3 bridges", 3),
        ("There is 1 bridge in this image.", 1),
        ("2 Bridges.", 2),
        ("3 ships", 3),
        ("3 oil tanks", None),
    ],
)
def test_a_count_may_name_what_the_question_asks_about(answer: str, count: int | None) -> None:
    assert parse_count(answer, "How many bridges are there in this image?").value == count


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "three",
        "-1",
        "3.5",
        ".5",
        "3 or 4",
        "3 dozen",
        "3 bridges",
        "3 bridges and 2 ships",
        "1st",
        "Image 1 shows no ships.",
        "None",
        "²",
        "٣",
        "9" * 5000,
    ],
)
def test_what_is_no_count_is_not_made_one(answer: str) -> None:
    assert parse_count(answer).value is None
    assert len(parse_count(answer).problems) == 1


@pytest.mark.parametrize(
    ("answer", "cells"),
    [
        ("1, 5, 9", {1, 5, 9}),
        ("9 5 1 5", {1, 5, 9}),
        ("[1, 5,]", {1, 5}),
        ("(2)", {2}),
        ("Cells 1, 2 and 3.", {1, 2, 3}),
        ("cell: 7", {7}),
        ("```\n4\n```", {4}),
        ("None", set()),
        ("none.", set()),
        ("[]", set()),
    ],
)
def test_cells(answer: str, cells: set[int]) -> None:
    assert parse_cells(answer).value == cells
    assert parse_cells(answer).problems == ()


@pytest.mark.parametrize(
    ("answer", "cells", "problem"),
    [
        ("1, 12, 0", {1}, "no cell 12"),
        ("[1, 5", {1, 5}, "breaks off"),
        ("", set(), "an empty answer"),
        ("all", set(), "no list of cells"),
        ("1-3", set(), "no list of cells"),
        ("There are 3 ships in cell 5", set(), "no list of cells"),
        ("cells", set(), "no list of cells"),
    ],
)
def test_what_is_no_cell_is_reported(answer: str, cells: set[int], problem: str) -> None:
    assert parse_cells(answer).value == cells
    assert problem in parse_cells(answer).problems[0]


@settings(deadline=None)
@given(st.sets(st.integers(1, 9)))
def test_written_cells_are_read(cells: set[int]) -> None:
    assert parse_cells(format_cells(sorted(cells))).value == cells
    assert parse_cells(format_cells(sorted(cells))).problems == ()


def test_class_names_are_compared_without_case_and_decoration() -> None:
    assert parse_class("Ship.\n").value == parse_class("`ship`").value == "ship"
    assert parse_class(" Cargo\n ship ").value == "cargo ship"
    assert parse_class("a ship").value == "a ship"
    assert parse_class(" .").value is None


def test_boxes_are_scaled_and_all_else_stays() -> None:
    text = (
        "Two ships: [{'bbox_2d': [9, 12.0, 48, 36], 'label': \"a [1, 2] ship\"}, {\"bbox_2d\":[0,0,96,72]}] in 96 x 72."
    )
    scaled = (
        "Two ships: [{'bbox_2d': [4, 8, 24, 24], 'label': \"a [1, 2] ship\"}, {\"bbox_2d\":[0, 0, 48, 48]}] in 96 x 72."
    )
    assert scale_boxes(text, (96, 72), (48, 48)) == scaled
    assert scale_boxes(text, (96, 72), (96, 72)) == text
    assert scale_boxes("None", (96, 72), (48, 48)) == "None"
    assert scale_boxes('{"bbox_2d": [1, 2, 3, 4]}', (96, 72), (48, 48), 2) == '{"bbox_2d": [0.5, 1.33, 1.5, 2.67]}'


@given(
    st.lists(st.integers(0, 500), min_size=4, max_size=4).filter(lambda box: box[0] < box[2] and box[1] < box[3]),
    st.tuples(st.integers(1, 1000), st.integers(1, 1000)),
)
def test_a_box_keeps_its_place_and_a_pixel_at_least(box: list[int], new: tuple[int, int]) -> None:
    (found, _), *_ = parse_boxes(scale_boxes(format_boxes([box], ["ship"]), (500, 500), new)).value
    exact = [value * side / 500 for value, side in zip(box, new * 2, strict=True)]
    assert all(abs(one - other) < 1 for one, other in zip(found, exact, strict=True))
    assert found[0] < found[2] and found[1] < found[3]
    assert all(0 <= value <= side for value, side in zip(found, new * 2, strict=True))


@pytest.mark.parametrize(
    "text",
    [
        '{"bbox_2d": [1, 2, 3]}',
        '{"bbox_2d": [1, 2, 3, "four"]}',
        '{"bbox_2d": [1, 2, 3, NaN]}',
        '{"bbox_2d": [[1, 2], [3, 4]]}',
    ],
)
def test_boxes_that_cannot_be_scaled_are_named(text: str) -> None:
    with pytest.raises(ValueError, match=r"found .*, expected"):
        scale_boxes(text, (96, 72), (48, 48))


def test_a_question_may_speak_of_the_form_alone() -> None:
    asked = 'Where is [{"bbox_2d": [9, 12, 48, 36]}]? Answer with "bbox_2d", as [{"bbox_2d": [x1, y1, x2, y2]}].'
    moved = asked.replace("[9, 12, 48, 36]", "[4, 8, 24, 24]")
    assert scale_boxes(asked, (96, 72), (48, 48), strict=False) == moved
