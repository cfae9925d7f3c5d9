"""Descriptions say what land cover and objects show, all of it right, and nothing else."""

import re
from collections import deque
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from fusargpt.errors import InputError
from fusargpt.geo.land_classes import BUILT, CROPS, LANDCOVER_CLASSES, WATER
from fusargpt.tasks.answers import LabelledBox
from fusargpt.tasks.cover_measures import longest_boundary, patches, where
from fusargpt.tasks.eight_dimensions import Description, describe_place
from fusargpt.tasks.target_names import plural
from fusargpt.tasks.wordings import area, distance, series

TREES, GRASS = LANDCOVER_CLASSES.index("trees"), LANDCOVER_CLASSES.index("grass")
covers = arrays(np.int64, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(-1, 8))
objects = st.lists(
    st.builds(
        LabelledBox,
        st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(7, 12), st.integers(7, 12)),
        st.sampled_from(["ship", "aircraft", "storage tank"]),
    ),
    max_size=6,
)


def halves(left: int, right: int, side: int = 60) -> np.ndarray:
    """A square cover of two classes that meet down the middle."""
    cover = np.full((side, side), right)
    cover[:, : side // 2] = left
    return cover


@settings(max_examples=50, deadline=None)
@given(covers, objects, st.floats(0.1, 100), st.integers(0, 10**9))
def test_any_place_is_described_in_eight_sentences(cover: np.ndarray, boxes: Any, resolution_m: float, wording: int):
    description = describe_place(cover, boxes, resolution_m)
    for phrase in asdict(description).values():
        assert phrase and phrase[0].islower() | phrase[0].isdigit() and not phrase.endswith(".")
        assert "  " not in phrase and "nan" not in phrase and "{" not in phrase
    text = description.text(wording)
    assert len(re.findall(r"\.(?= [A-Z0-9]|$)", text)) == 8
    assert text[0].isupper() or text[0].isdigit()


@settings(max_examples=50, deadline=None)
@given(covers, st.integers(0, 10**9))
def test_every_class_is_named_with_its_share_and_no_absent_one(cover: np.ndarray, wording: int):
    description = describe_place(cover, [], 10.0)
    phrases = asdict(description)
    for index, name in enumerate(LANDCOVER_CLASSES):
        share = float(np.mean(cover == index))
        if share == 0:
            named = [dimension for dimension, phrase in phrases.items() if re.search(rf"\b{name}\b", phrase)]
            absence = ("no water is mapped", "nothing is known of water")
            assert not named or (named == ["water"] and phrases["water"] in absence), (name, phrases)
        elif share == 1:
            assert phrases["terrain"] == f"nothing but {name}"
        elif share >= 0.01:
            found = re.search(rf"\b{name} \((\d+)%\)", phrases["terrain"])
            assert found and abs(int(found[1]) - 100 * share) <= 0.5
        else:
            assert "traces of" in phrases["terrain"] and name in phrases["terrain"]
    unknown = re.search(r"an unknown part \((?:over |under )?(\d+)%\)", phrases["terrain"])
    assert bool(unknown) == (0 < float(np.mean(cover == -1)) < 1)
    assert all(phrase[1:] in description.text(wording) for phrase in phrases.values())


@settings(max_examples=60, deadline=None)
@given(arrays(np.int64, (7, 9), elements=st.integers(-1, 2)))
def test_patches_are_those_of_a_flood_fill(cover: np.ndarray):
    labels, sizes = patches(cover, cover >= 0)
    assert (labels > 0).tolist() == (cover >= 0).tolist()
    assert np.bincount(labels.ravel(), minlength=len(sizes) + 1)[1:].tolist() == sizes.tolist()
    seen = np.zeros(cover.shape, bool)
    filled = 0
    for start in zip(*np.nonzero(cover >= 0), strict=True):
        if seen[start]:
            continue
        filled += 1
        queue = deque([start])
        seen[start] = True
        while queue:
            row, column = queue.popleft()
            assert labels[row, column] == labels[start]
            for neighbour in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
                inside = 0 <= neighbour[0] < 7 and 0 <= neighbour[1] < 9
                if inside and not seen[neighbour] and cover[neighbour] == cover[start]:
                    seen[neighbour] = True
                    queue.append(neighbour)
    assert filled == len(sizes)


def test_a_coast_with_ships_is_told_whole():
    cover = halves(WATER, TREES, 100)
    ships = [LabelledBox((5, y, 10, y + 4), "ship") for y in (5, 45, 85)]
    assert describe_place(cover, ships, 10.0) == Description(
        terrain="water (50%) and trees (50%)",
        functionality="open water, with shipping (three ships)",
        distribution="water lies on the left side and trees on the right side; "
        "three ships are in the upper left (one), the middle left (one) and the lower left (one)",
        layout="two large patches on 1 km by 1 km, the larger with 50% of the image, with the objects in a row",
        boundary="the boundary between water and trees is straight and about 1 km long",
        buildings="no buildings are mapped",
        roads="no roads are annotated",
        water="water covers 50% (about 50 ha) and reaches the upper, lower and left edges",
    )


def test_a_place_without_land_cover_tells_of_its_objects_alone():
    description = describe_place(np.full((30, 30), -1), [LabelledBox((12, 12, 16, 16), "ship")], 10.0)
    assert description.distribution == "one ship is in the centre"
    assert description.functionality.endswith("shipping (one ship)")
    assert description.water == "nothing is known of water" and description.terrain == "an unknown surface"


def test_the_use_of_a_place_follows_its_cover():
    assert describe_place(np.full((9, 9), CROPS), [], 10.0).functionality == "farmland"
    assert describe_place(halves(CROPS, BUILT), [], 10.0).functionality == "farmland and built-up land"
    assert describe_place(np.full((9, 9), TREES), [], 10.0).functionality == "ground without a recorded use"


@pytest.mark.parametrize(
    ("rows", "columns", "place"),
    [
        (slice(0, 30), slice(0, 30), "everywhere in the image"),
        (slice(0, 30), slice(0, 9), "on the left side"),
        (slice(0, 30), slice(0, 21), "on the left side"),
        (slice(0, 30), slice(12, 18), "down the middle"),
        (slice(22, 30), slice(0, 30), "in the lower part"),
        (slice(0, 8), slice(21, 30), "in the upper right"),
        (slice(12, 18), slice(12, 18), "in the centre"),
        (slice(5, 25), slice(10, 30), "in the middle right"),
        (slice(12, 18), slice(0, 6), "in the middle left"),
    ],
)
def test_a_place_is_named_by_where_it_lies(rows: Any, columns: Any, place: str):
    mask = np.zeros((30, 30), bool)
    mask[rows, columns] = True
    assert where(mask) == place


def test_a_ring_is_not_placed_in_its_empty_centre():
    y, x = np.mgrid[0:90, 0:90]
    radius = np.hypot(y - 45, x - 45)
    assert where((radius > 30) & (radius < 40)) == "across the image"
    small_ring = (np.hypot(y - 15, x - 45) > 7) & (np.hypot(y - 15, x - 45) < 12)
    assert where(small_ring) == "in the upper centre"


@pytest.mark.parametrize("angle", [0.0, 20.0, 45.0, 70.0])
def test_a_straight_boundary_is_straight_at_any_angle(angle: float):
    y, x = np.mgrid[0:200, 0:200] - 99.5
    cover = (x * np.cos(np.radians(angle)) + y * np.sin(np.radians(angle)) > 0).astype(int)
    boundary = longest_boundary(cover, cover >= 0)
    assert boundary and boundary.course == "straight"
    assert boundary.length == pytest.approx(200 / np.cos(np.radians(min(angle, 90 - angle))), rel=0.02)


def test_the_length_of_a_round_boundary_is_its_circumference():
    y, x = np.mgrid[0:200, 0:200]
    cover = (np.hypot(y - 100, x - 100) < 60).astype(int)
    boundary = longest_boundary(cover, cover >= 0)
    assert boundary and boundary.course == "bent"
    assert boundary.length == pytest.approx(2 * np.pi * 60, rel=0.06)


def test_scattered_fields_have_an_irregular_boundary():
    cover = np.indices((60, 60)).sum(0) // 10 % 2 + np.indices((60, 60))[0] // 15 % 2
    assert "irregular" in describe_place(cover, [], 10.0).boundary


def test_a_narrow_straight_strip_is_told_and_not_called_a_road():
    cover = np.full((100, 100), TREES)
    cover[48:51, 5:95] = BUILT
    roads = describe_place(cover, [], 10.0).roads
    assert roads == (
        "no roads are annotated, but a straight strip of built area, about 30 m wide and 900 m long, "
        "lies across the middle"
    )
    cover[20:80, 20:80] = BUILT
    assert describe_place(cover, [], 10.0).roads == "no roads are annotated"


def test_annotated_traffic_objects_are_told():
    objects = [LabelledBox((1, 1, 9, 3), "bridge"), LabelledBox((4, 4, 6, 6), "ship")]
    description = describe_place(np.full((30, 30), GRASS), objects, 10.0)
    assert description.roads == "one bridge is annotated"


def test_wordings_are_many_fixed_and_keep_every_phrase():
    description = describe_place(halves(WATER, BUILT), [LabelledBox((3, 3, 9, 9), "ship")], 10.0)
    texts = [description.text(wording) for wording in range(2000)]
    assert len(set(texts)) == 2000
    assert texts[:50] == [description.text(wording) for wording in range(50)]
    assert len({text[:12] for text in texts}) > 8
    again = Description(**asdict(description))
    assert again.text(17) == texts[17]
    with pytest.raises(ValueError, match="wording"):
        description.text(-1)


@pytest.mark.parametrize(
    ("cover", "resolution_m", "message"),
    [
        (np.full((4, 4), 9), 10.0, "found class 9"),
        (np.full((4, 4), 255, np.uint8), 10.0, "found class 255"),
        (np.full((4, 4), -2), 10.0, "found class -2"),
        (np.zeros((0, 4), int), 10.0, r"found shape \[0, 4\]"),
        (np.zeros(4, int), 10.0, r"found shape \[4\]"),
        (np.zeros((4, 4), int), 0.0, "resolution_m: found 0"),
        (np.zeros((4, 4), int), float("nan"), "resolution_m: found nan"),
    ],
)
def test_what_is_no_land_cover_is_refused(cover: np.ndarray, resolution_m: float, message: str):
    with pytest.raises(InputError, match=message):
        describe_place(cover, [], resolution_m)


def test_words_are_grammatical():
    assert [plural(noun) for noun in ("ship", "aircraft", "bus", "dish", "ferry", "quay")] == [
        "ships",
        "aircraft",
        "buses",
        "dishes",
        "ferries",
        "quays",
    ]
    assert series([]) == "" and series(["a"]) == "a" and series(["a", "b", "c"]) == "a, b and c"
    assert [distance(metres) for metres in (0.5, 43.2, 999.0, 2540.0)] == ["0.5 m", "43 m", "1 km", "2.5 km"]
    assert [area(metres**2) for metres in (10, 840, 2500)] == ["0.01 ha", "71 ha", "6.2 km²"]
