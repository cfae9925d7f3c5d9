"""Counting, localization and classification by hand, and what must hold for any answers."""

import math
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusargpt.errors import InputError
from fusargpt.metrics.classification import classify_tallies
from fusargpt.metrics.counting import count_tallies
from fusargpt.metrics.localization import localize_tallies
from fusargpt.tasks.prompts import format_cells
from tests.fusargpt.metrics.values import values

EVERY_CELL = "1, 2, 3, 4, 5, 6, 7, 8, 9"


def test_counting_by_hand() -> None:
    tallies = count_tallies(["3", "There are 2 ships.", "many", "1"], ["3", "4", "1", "0"])
    assert values(tallies) == {"accuracy": 1 / 4, "mae": (0 + 2 + 1) / 3, "readable": 3 / 4}
    assert tallies["mae"].score().n == 3


def test_without_a_count_there_is_no_error_to_average() -> None:
    found = values(count_tallies(["many"], ["1"]))
    assert found["accuracy"] == found["readable"] == 0
    assert math.isnan(found["mae"])


def test_localization_by_hand() -> None:
    tallies = localize_tallies(["1, 2", "5", "1", "None", "4"], ["1, 2", "5, 6", "9", "None", "None"])
    assert values(tallies) == {
        "acc@100": 1 / 3,
        "acc@50": 2 / 3,
        "top1": 2 / 3,
        "exact": 2 / 5,
        "precision": 3 / 5,
        "readable": 1,
    }
    assert (tallies["acc@100"].score().n, tallies["exact"].score().n) == (3, 5)


def test_an_answer_with_something_unreadable_is_not_exact() -> None:
    found = values(localize_tallies(["1, 12", "somewhere", "None"], ["1", "None", "None"]))
    assert found["acc@100"] == 1
    assert found["exact"] == found["readable"] == 1 / 3


cells = st.sets(st.integers(1, 9)).map(lambda numbers: format_cells(sorted(numbers)))


@settings(deadline=None)
@given(st.lists(st.tuples(cells, cells), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_localization_of_any_cells(images: list[tuple[str, str]], random: random.Random) -> None:
    answers, references = zip(*images, strict=True)
    found = values(localize_tallies(answers, references))
    if any(reference != "None" for reference in references):
        assert found["acc@100"] <= found["acc@50"] <= found["top1"]
    # Naming every cell wins what is lenient and never what is strict.
    every = values(localize_tallies([EVERY_CELL] * len(images), references))
    assert all(every[name] == 1 or math.isnan(every[name]) for name in ("acc@100", "acc@50", "top1"))
    assert every["exact"] == sum(reference == EVERY_CELL for reference in references) / len(images)
    true = values(localize_tallies(references, references))
    assert true["exact"] == 1 and (math.isnan(true["precision"]) or every["precision"] <= true["precision"])
    random.shuffle(images)
    assert values(localize_tallies(*zip(*images, strict=True))) == pytest.approx(found, nan_ok=True)


FLEET = {"cargo ship": "ship", "tanker": "ship", "airliner": "aircraft"}


def test_classification_by_hand() -> None:
    answers = ["tanker", "Cargo ship.", "ship", "tanker", "None"]
    references = ["tanker", "tanker", "cargo ship", "airliner", "None"]
    assert values(classify_tallies(answers, references, FLEET)) == {
        "accuracy": 2 / 5,
        "accuracy/airliner": 0,
        "accuracy/cargo ship": 0,
        "accuracy/none": 1,
        "accuracy/tanker": 1 / 2,
        "coarse_accuracy": 4 / 5,
        "coarse_accuracy/aircraft": 0,
        "coarse_accuracy/none": 1,
        "coarse_accuracy/ship": 1,
    }


def test_without_a_hierarchy_classes_are_what_they_are_called() -> None:
    found = values(classify_tallies(["ship", "an aircraft"], ["ship", "aircraft"]))
    assert found == {"accuracy": 1 / 2, "accuracy/aircraft": 0, "accuracy/ship": 1}


@pytest.mark.parametrize(
    ("tallies", "reference"),
    [(count_tallies, "three"), (localize_tallies, "1, 12"), (localize_tallies, "left"), (classify_tallies, " ")],
)
def test_a_reference_that_cannot_be_read_is_refused(tallies: Any, reference: str) -> None:
    with pytest.raises(InputError, match=r"references\[1\]: found "):
        tallies(["1", "1"], ["1", reference])
