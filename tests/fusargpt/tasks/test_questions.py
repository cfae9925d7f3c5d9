"""What an image is asked."""

import json

from fusargpt.tasks.answers import LabelledBox
from fusargpt.tasks.questions import questions_about
from fusargpt.tasks.target_names import TARGETS

SHIPS = [LabelledBox([10, 10, 20, 20], "ship"), LabelledBox([150, 150, 160, 160], "ship")]
PLANE = [LabelledBox([80, 80, 99, 99], "aircraft")]


def asked(
    objects: list[LabelledBox], cut: tuple[str, ...] = (), targets: tuple[str, ...] = TARGETS, name: str = "a"
) -> dict[tuple[str, str], str]:
    found = questions_about(name, objects, cut, targets, 168, 168)
    return {(item.task, item.target): item.answer for item in found}


def test_a_chip_is_asked_about_what_it_holds() -> None:
    answers = asked(SHIPS, targets=("ship",))
    assert answers == {
        ("count", "ship"): "2",
        ("localize", "ship"): "1, 9",
        ("detect", "ship"): json.dumps([{"bbox_2d": box, "label": "ship"} for box, _ in SHIPS]),
        ("classify", ""): "ship",
    }


def test_an_empty_chip_is_asked_once_of_each_kind() -> None:
    answers = asked([])
    assert sorted(task for task, _ in answers) == ["classify", "count", "detect", "localize"]
    assert {answers[key] for key in answers if key[0] != "count"} == {"None"}


def test_several_classes_cannot_be_classified() -> None:
    answers = asked([*SHIPS, *PLANE])
    assert ("classify", "") not in answers
    assert answers["count", "ship"] == "2" and answers["count", "aircraft"] == "1"


def test_nothing_is_asked_about_a_class_that_is_cut() -> None:
    answers = asked([*SHIPS, *PLANE], cut=("ship",))
    assert {target for _, target in answers} == {"aircraft"}
    assert asked([], cut=("ship",), targets=("ship",)) == {}


def test_absent_classes_are_asked_about_now_and_then() -> None:
    about_aircraft = sum(("count", "aircraft") in asked(SHIPS, name=str(n)) for n in range(400))
    assert 50 < about_aircraft < 110
    wordings = {questions_about(str(n), SHIPS, (), ("ship",), 168, 168)[0].prompt for n in range(20)}
    assert len(wordings) == 2
