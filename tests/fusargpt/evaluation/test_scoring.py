"""Scores of answers in other pixels, comparisons over shared images, and what a report counts."""

import pytest

from fusargpt.evaluation.items import KnownItem
from fusargpt.evaluation.scoring import differences, parsed, parts, scores
from fusargpt.evaluation.tables import cell_recall, class_confusion, count_confusion, count_errors
from fusargpt.inference.questions import Answer

BOX = '[{"bbox_2d": [%s], "label": "ship"}]'


def item(task: str, reference: str, name: str = "a", size: tuple[int, int] = (100, 50)) -> KnownItem:
    return KnownItem(
        name, task, "?", "0", size[0] * size[1], reference=reference, width=size[0], height=size[1], prior=""
    )


def said(*texts: str, seen: tuple[int, int] = (100, 50)) -> dict[str, Answer]:
    return {
        name: Answer(name, "", "?", text, seen, seen, None, 0.0) for name, text in zip("abcdefgh", texts, strict=False)
    }


def asked(task: str, *references: str) -> list[KnownItem]:
    return [item(task, reference, name) for name, reference in zip("abcdefgh", references, strict=False)]


def test_boxes_are_compared_in_the_pixels_that_the_model_saw() -> None:
    question = item("detect", BOX % "10, 10, 30, 20")
    answers = said(BOX % "5, 20, 15, 40", seen=(50, 100))
    found = scores("detect", [question], answers)
    assert found["f1@0.50"].value == found["clipped_f1@0.50"].value == 1
    assert parsed(question, answers["a"]) == ([{"bbox_2d": [10, 10, 30, 20], "label": "ship"}], [])
    assert scores("detect", [question], said(BOX % "5, 20, 15, 40"))["f1@0.25"].value == 0


def test_items_without_an_answer_are_left_out() -> None:
    questions = asked("count", "1", "2", "3")
    found = scores("count", questions, said("1", "2"))
    assert (found["accuracy"].value, found["accuracy"].n) == (1, 2)
    assert scores("count", questions, {}) == {}
    assert differences("count", questions, said("1", "5", "3"), said("1", "2"))["accuracy"].value == -0.5


def test_errors_of_counts_are_compared_where_both_can_be_read() -> None:
    questions = asked("count", "1", "1", "1", "1")
    # As many readable answers on both sides, but not of the same images.
    found = differences("count", questions, said("1", "3", "?", "1"), said("4", "?", "9", "2"))
    assert found["mae"].n == 2
    assert found["mae"].value == pytest.approx((0 + 0) / 2 - (3 + 1) / 2)
    assert not found["mae"].percent
    assert differences("count", questions, said("?", "?", "?", "?"), said("1", "1", "1", "1"))["mae"].n == 0


def test_the_parts_of_one_image() -> None:
    assert parts(item("count", "2"), said("5")["a"]) == {"accuracy": 0, "mae": 3, "readable": 1}
    assert parts(item("count", "2"), said("many")["a"]) == {"accuracy": 0, "mae": None, "readable": 0}
    described = parts(item("describe", "Mostly water."), said("Mostly water.")["a"])
    assert described["rouge_l"] == described["exact"] == 1 and "cider" not in described


def test_parsed_answers_say_what_could_not_be_read() -> None:
    assert parsed(item("count", "2"), said("three")["a"])[0] is None
    assert parsed(item("localize", "2"), said("5, 1")["a"]) == ([1, 5], [])
    assert parsed(item("classify", "ship"), said("**Ship**")["a"]) == ("ship", [])
    assert parsed(item("detect", "None"), said("there are none, I think")["a"])[1]


def test_confusions_count_every_answer_once() -> None:
    table = count_confusion(asked("count", "0", "2", "2", "12"), said("0", "2", "dozens", "99"))
    assert table.true[-1] == "> 10" and table.answered[-1] == "unreadable"
    assert sum(map(sum, table.counts)) == 4
    assert table.counts[2][2] == table.counts[2][-1] == table.counts[-1][-2] == 1
    classes = class_confusion(asked("classify", "ship", "None", "ship"), said("Ship.", "bird", ""))
    assert (classes.true, classes.answered) == (["none", "ship"], ["none", "ship", "other", "unreadable"])
    assert classes.counts == [[0, 0, 1, 0], [0, 1, 0, 1]]


def test_errors_beyond_the_last_bin_are_in_it() -> None:
    errors = count_errors(asked("count", "3", "3", "3", "9"), said("3", "99", "?", "0"))
    assert errors.unreadable == 1
    assert dict(zip(errors.labels, errors.counts, strict=True)) == {
        **dict.fromkeys(errors.labels, 0),
        "0": 1,
        "≥ +5": 1,
        "≤ -5": 1,
    }


def test_cells_that_are_found() -> None:
    found = cell_recall(asked("localize", "1, 5", "5", "None"), said("1", "5, 9", "2"))
    assert found == [(1, 1), (0, 0), (0, 0), (0, 0), (1, 2), (0, 0), (0, 0), (0, 0), (0, 0)]
