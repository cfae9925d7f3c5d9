"""Names of classes: plural and article, which names can be classes, and what a model knows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusargpt.errors import InputError
from fusargpt.tasks.facts import counts_in
from fusargpt.tasks.prompts import TASKS, prompt
from fusargpt.tasks.target_dimensions import TargetBox, describe_targets
from fusargpt.tasks.target_names import check_distinct, check_known, check_target, in_order, plural, with_article


@pytest.mark.parametrize(
    ("noun", "several"),
    [
        ("ship", "ships"),
        ("aircraft", "aircraft"),
        ("Hovercraft", "Hovercraft"),
        ("bridge", "bridges"),
        ("ferry", "ferries"),
        ("quay", "quays"),
        ("oil tank", "oil tanks"),
        ("bus", "buses"),
        ("wharf", "wharves"),
        ("large-vehicle", "large-vehicles"),
        ("A220", "A220s"),
    ],
)
def test_plurals(noun: str, several: str) -> None:
    assert plural(noun) == several


@pytest.mark.parametrize(
    "phrase",
    [
        "a ship",
        "an aircraft",
        "an oil tank",
        "a bridge",
        "a unit",
        "an island",
        "an SUV",
        "a UAV",
        "an F-16",
        "a Bridge",
    ],
)
def test_articles(phrase: str) -> None:
    assert with_article(phrase.partition(" ")[2]) == phrase


def test_questions_about_any_class() -> None:
    assert prompt("count", "bridge") == "How many bridges are there in this image?"
    assert prompt("detect", "oil tank", 1) == "Find every one of the oil tanks and give the boxes in JSON."


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "None",
        "ignore",
        "0",
        "12",
        "a, b",
        "search and rescue",
        "a  b",
        "{x}",
        'a"b',
        "x" * 61,
        " ship",
        "a\nb",
    ],
)
def test_what_no_question_could_hold_is_no_class(name: str) -> None:
    with pytest.raises(InputError, match=r"target: found .*; expected the name of a class") as caught:
        check_target(name)
    assert "\n" not in str(caught.value)
    for task in TASKS:
        with pytest.raises(ValueError):
            prompt(task, name)


@given(st.text("abAB12 -_.+/&'", min_size=1, max_size=8))
def test_descriptions_of_a_class_are_read_back(name: str) -> None:
    try:
        check_target(name)
    except InputError:
        return
    described = describe_targets([TargetBox((1, 1, 5, 5), name), TargetBox((8, 8, 12, 12), name)], (20, 20))
    assert described.count is not None and described.category == name
    assert counts_in(described.count) == {plural(name): 2}


def test_order_and_doubles() -> None:
    assert in_order({"bridge", "aircraft", "Airport", "ship"}) == ("ship", "aircraft", "Airport", "bridge")
    check_distinct(["ship", "ship", "bridge"])
    with pytest.raises(InputError, match="found 'Ship' and 'ship', which are one class in answers"):
        check_distinct(["Ship", "ship"])


def test_what_a_model_knows() -> None:
    check_known("bridge", None, "m")
    check_known("ship", ["ship", "aircraft"], "m")
    with pytest.raises(InputError, match="found 'bridge', which nano was not trained to find; it knows ship, aircraft"):
        check_known("bridge", ["ship", "aircraft"], "nano")
    with pytest.raises(InputError, match=r"found 'ships' \(did you mean ship\?\)"):
        check_known("ships", ["ship", "aircraft"], "nano")
