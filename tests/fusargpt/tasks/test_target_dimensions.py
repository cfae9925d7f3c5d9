"""The eight phrases of targets: what they say, that they follow from the scene alone, and what is left unsaid."""

import re
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusargpt.errors import InputError
from fusargpt.geo.land_classes import BUILT, LANDCOVER_CLASSES, WATER
from fusargpt.tasks.facts import counts_in
from fusargpt.tasks.target_dimensions import (
    CELL_NAMES,
    NO_TARGETS,
    TargetBox,
    TargetDescription,
    category,
    describe_targets,
    in_cells,
)

SIZE = (90, 60)


def ship(x: float, y: float, width: float = 4, height: float = 4, fine_label: str = "") -> TargetBox:
    return TargetBox((x - width / 2, y - height / 2, x + width / 2, y + height / 2), "ship", fine_label)


def shore() -> np.ndarray:
    """Water on the left, built area on the right third."""
    cover = np.full((60, 90), WATER)
    cover[:, 60:] = BUILT
    return cover


def test_all_that_is_known_is_said() -> None:
    targets = [ship(10, 10, 8, 3, "tanker"), ship(58, 10, 9, 3, "cargo ship"), ship(58, 50, 3, 3)]
    assert describe_targets(targets, SIZE, shore(), 10.0) == TargetDescription(
        count="three ships",
        location="in the upper left, the upper centre and the lower centre",
        feature="boxes mostly wider than high",
        size="25 to 100 m across",  # diagonals of 42, 85 and 95 m
        category="ship (cargo ship and tanker)",
        distribution="scattered",
        region="water",
        environment="water and built area",
    )


def test_targets_of_two_classes_are_told_in_one_order() -> None:
    plane = TargetBox((70, 20, 74, 24), "aircraft")
    for targets in ([ship(10, 10), plane], [plane, ship(10, 10)]):
        described = describe_targets(targets, SIZE, shore())
        assert described.count == "one aircraft and one ship" and described.category == "aircraft and ship"
        assert described.region == "water and built area"


@pytest.mark.parametrize(
    ("places", "distribution"),
    [
        ([(45, 30)], "alone"),
        ([(45, 30), (50, 30)], "close together"),
        ([(10, 30), (80, 30)], "scattered"),
        ([(10, 10), (45, 11), (80, 10)], "in a row"),
        ([(40, 30), (46, 30), (43, 36)], "close together"),
        ([(10, 10), (80, 10), (45, 50)], "scattered"),
    ],
)
def test_how_targets_stand_to_each_other(places: list[tuple[float, float]], distribution: str) -> None:
    assert describe_targets([ship(*place) for place in places], SIZE).distribution == distribution


@pytest.mark.parametrize(
    ("metres", "size"),
    [
        ([24], "up to 25 m across"),
        ([25], "25 to 50 m across"),
        ([60, 120], "50 to 150 m across"),
        ([20, 500], "0 to over 400 m across"),
        ([120, 500], "100 to over 400 m across"),
        ([400], "more than 400 m across"),
    ],
)
def test_sizes_are_told_by_classes(metres: list[float], size: str) -> None:
    # A box of 3 by 4 pixels is 5 from corner to corner.
    targets = [ship(45, 30, 3 * across / 50, 4 * across / 50) for across in metres]
    assert describe_targets(targets, SIZE, resolution_m=10.0).size == size


def test_where_more_than_three_cells_are_filled_the_fullest_is_named() -> None:
    corners = [ship(10, 10), ship(80, 10), ship(10, 50), ship(80, 50)]
    assert describe_targets(corners, SIZE).location == "all over the image"
    assert describe_targets([*corners, ship(75, 45)], SIZE).location == "all over the image, most in the lower right"


def test_what_is_not_known_is_not_said() -> None:
    described = describe_targets([ship(45, 30)], SIZE)
    assert (described.size, described.region, described.environment) == (None, None, None)
    unknown = describe_targets([ship(45, 30)], SIZE, np.full((60, 90), -1))
    assert (unknown.region, unknown.environment) == (None, None)
    half = shore()
    half[:, :45] = -1
    assert describe_targets([ship(50, 30)], SIZE, half).environment == "water and unknown ground"


def test_a_scene_without_targets_says_so_in_every_dimension() -> None:
    assert describe_targets([], SIZE, shore(), 10.0) == describe_targets([], SIZE) == NO_TARGETS
    assert all(vars(NO_TARGETS).values())


@pytest.mark.parametrize(
    ("targets", "cover", "resolution_m", "message"),
    [
        ([], np.zeros((90, 60), int), None, r"land cover: found shape \[90, 60\]; expected \[60, 90\]"),
        ([], np.full((60, 90), 9), None, "land cover: found class 9; expected 0 to 8"),
        ([], None, 0.0, "resolution_m: found 0; expected metres, above 0"),
        ([], None, float("nan"), "resolution_m: found nan"),
        ([ship(95, 30)], None, None, r"target: found box \[93, 28, 97, 32\]; expected .* image of 90 x 60 pixels"),
        ([ship(45, 30, -4)], None, None, "expected x1 < x2"),
        ([ship(float("nan"), 30)], None, None, "target: found box"),
    ],
)
def test_what_cannot_be_is_refused(
    targets: list[TargetBox], cover: np.ndarray | None, resolution_m: float | None, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        describe_targets(targets, SIZE, cover, resolution_m)


places = st.tuples(st.integers(4, 86), st.integers(4, 56), st.integers(1, 8), st.integers(1, 8))
scenes = st.lists(places.map(lambda place: ship(*place)), max_size=8)


@settings(deadline=None, max_examples=50)
@given(scenes, st.randoms(use_true_random=False), st.integers(0, 8))
def test_the_order_of_targets_changes_nothing(targets: list[TargetBox], random: Random, index: int) -> None:
    cover = shore()
    cover[20:40] = index
    described = describe_targets(targets, SIZE, cover, 5.0)
    shuffled = random.sample(targets, len(targets))
    assert describe_targets(shuffled, SIZE, cover, 5.0) == described
    assert sum(counts_in(str(described.count)).values()) == len(targets)
    for phrase in vars(described).values():
        assert phrase and phrase[0].islower() | phrase[0].isdigit() and not phrase.endswith(".")
    if targets:
        assert set(re.split(", | and ", str(described.region))) <= {"water", "built area", LANDCOVER_CLASSES[index]}


def test_names_of_cells_and_classes() -> None:
    assert in_cells([8, 0, 4]) == "in the upper left, the centre and the lower right" and len(set(CELL_NAMES)) == 9
    assert category({"ship": ["", "tanker"], "aircraft": [""]}) == "aircraft and ship (tanker)"
