"""Keys of facts and phrases read back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusargpt.errors import InputError
from fusargpt.geo.land_classes import LANDCOVER_CLASSES
from fusargpt.tasks.answers import LabelledBox
from fusargpt.tasks.eight_dimensions import describe_place
from fusargpt.tasks.facts import DIMENSIONS, classes_in, counts_in, fact_key, fact_keys, parse_phrase, phrases_of
from fusargpt.tasks.target_dimensions import NO_TARGETS, TargetBox, category, describe_targets
from fusargpt.tasks.wordings import count_of, number

names = st.sampled_from(["ship", "aircraft", "cargo ship", "bus", "wide-body airliner"])


def test_keys_are_the_same_in_every_release() -> None:
    assert len(DIMENSIONS) == len(set(DIMENSIONS)) == 16
    assert DIMENSIONS[0] == "terrain" and DIMENSIONS[8:10] == ("target_count", "target_location")
    # A stored key is compared with one made later: these two numbers must never change.
    assert fact_key("terrain", "nothing but water") == 1_386_928_864_031_641_925
    assert fact_key("target_count", "three ships") == 6_482_373_642_845_079_109


@settings(deadline=None, max_examples=50)
@given(st.sampled_from(DIMENSIONS), st.sampled_from(DIMENSIONS), st.text(), st.text())
def test_a_key_tells_dimension_and_phrase(first: str, second: str, one: str, other: str) -> None:
    same = (first, one) == (second, other)
    assert (fact_key(first, one) == fact_key(second, other)) == same
    assert 1 <= fact_key(first, one) < 2**63


def test_what_is_not_said_has_key_zero() -> None:
    keys = fact_keys({"target_count": "one ship", "water": "no water is mapped"})
    assert keys.dtype == np.int64 and keys.shape == (16,)
    assert set(np.flatnonzero(keys)) == {DIMENSIONS.index("target_count"), DIMENSIONS.index("water")}
    with pytest.raises(ValueError, match="dimension: found 'count', expected one of terrain, "):
        fact_keys({"count": "one ship"})


def test_phrases_of_a_row() -> None:
    row = {
        "description": None,
        "target_description": vars(describe_targets([TargetBox((1, 1, 3, 3), "ship")], (9, 9))),
    }
    found = phrases_of(row)
    assert list(found) == [name for name in DIMENSIONS if name in found]
    assert found["target_count"] == "one ship" and "target_size" not in found and "terrain" not in found
    with pytest.raises(InputError, match="row: no column target_description"):
        phrases_of({"description": None})


@settings(deadline=None, max_examples=30)
@given(st.dictionaries(names, st.integers(1, 40), min_size=1))
def test_counts_are_read_back(counts: dict[str, int]) -> None:
    targets = [TargetBox((1, 1, 3, 3), label) for label, count in counts.items() for _ in range(count)]
    assert parse_phrase("target_count", str(describe_targets(targets, (9, 9)).count)) == len(targets)
    assert parse_phrase("target_count", str(NO_TARGETS.count)) == 0


@given(st.dictionaries(names, st.sets(names), min_size=1))
def test_classes_are_read_back(classes: dict[str, set[str]]) -> None:
    assert classes_in(category(classes)) == classes
    assert parse_phrase("target_category", category(classes)) == frozenset(classes).union(*classes.values())
    assert parse_phrase("target_category", str(NO_TARGETS.category)) == frozenset()


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(-1, 8), min_size=1, max_size=4), st.integers(1, 9))
def test_the_largest_land_cover_is_read_back(classes: list[int], side: int) -> None:
    cover = np.repeat(np.array(classes), side)[None].repeat(10, 0)
    counts = np.bincount(cover.ravel() + 1, minlength=10)[1:]
    read = parse_phrase("terrain", describe_place(cover, [LabelledBox((1, 1, 2, 2), "ship")], 5.0).terrain)
    if counts.any():
        assert read == LANDCOVER_CLASSES[int(np.argsort(-counts, kind="stable")[0])]
    else:
        assert read == "an unknown surface"


@given(st.integers(0, 10**7))
def test_numbers_are_read_back(count: int) -> None:
    assert count_of(number(count)) == count


@pytest.mark.parametrize("word", ["", "3", "012", "1,00", "-1", "Three", "several", "1.5"])
def test_other_words_are_no_numbers(word: str) -> None:
    assert count_of(word) is None


@pytest.mark.parametrize("phrase", ["", "ships", "many ships", "three", "three ships and some"])
def test_other_phrases_are_no_counts(phrase: str) -> None:
    with pytest.raises(ValueError, match="target_count: found"):
        counts_in(phrase)


@pytest.mark.parametrize("phrase", ["", "ship (", "ship ()", "(tanker)"])
def test_other_phrases_are_no_classes(phrase: str) -> None:
    with pytest.raises(ValueError, match="target_category: found"):
        classes_in(phrase)


def test_other_dimensions_are_compared_as_they_are() -> None:
    assert parse_phrase("target_location", "in the centre") == "in the centre"
    with pytest.raises(ValueError, match="dimension: found 'place'"):
        parse_phrase("place", "in the centre")
