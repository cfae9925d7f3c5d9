"""Which phrases are true of an image, and which are near misses."""

import pytest

from fusargpt.captioning.agreement import agrees
from fusargpt.tasks.facts import DIMENSIONS

TRUE = {
    "terrain": "mostly water (61%), trees (35%) and traces of crops",
    "functionality": "open water, with shipping (three ships)",
    "distribution": "water lies on the left side, trees and grass in the upper right; one ship is in the centre",
    "layout": "two large patches and one small patch on 840 m by 840 m, the largest with 61% of the image",
    "boundary": "the longest boundary, between water and trees, is bent and about 790 m long",
    "buildings": "built area covers 12% (about 8.5 ha), in one compact patch in the centre",
    "water": "water covers 61% (about 43 ha) and reaches the left edge",
    "target_count": "three ships",
    "target_category": "ship (cargo ship and tanker)",
}


@pytest.mark.parametrize(
    ("dimension", "said"),
    [
        ("terrain", "mostly water (56%), trees (40%) and built area (4%)"),
        ("distribution", "trees and grass lie in the upper right, water on the left side; one ship is in the centre"),
        ("layout", "two large patches on 840 m by 840 m, the larger with 55% of the image"),
        ("boundary", "the longest boundary, between water and trees, is bent and about 1 km long"),
        ("buildings", "built area covers 20% (about 14 ha), in one compact patch in the centre"),
        ("water", "water covers 55% (about 39 ha) and reaches the left edge"),
        ("target_category", "ship"),
    ],
)
def test_what_differs_as_little_as_maps_do_is_true(dimension: str, said: str) -> None:
    assert agrees(dimension, said, TRUE[dimension])


@pytest.mark.parametrize(
    ("dimension", "said"),
    [
        ("terrain", "mostly water (61%), shrubs (35%) and traces of crops"),
        ("terrain", "mostly water (75%) and trees (25%)"),
        ("terrain", "mostly water and trees"),
        ("functionality", "open water, with shipping (two ships)"),
        ("distribution", "water lies on the right side, trees and grass in the upper right; one ship is in the centre"),
        ("distribution", "water lies on the left side, trees and grass in the upper right"),
        ("layout", "three large patches on 840 m by 840 m, the largest with 61% of the image"),
        ("boundary", "the longest boundary, between water and trees, is straight and about 790 m long"),
        ("boundary", "the longest boundary, between water and trees, is bent and about 1.2 km long"),
        ("buildings", "no buildings are mapped"),
        ("water", "water covers 61% (about 43 ha) and reaches the right edge"),
        ("water", "water covers 40% (about 28 ha) and reaches the left edge"),
        ("target_count", "two ships"),
        ("target_category", "aircraft"),
        ("target_category", "ship (fishing vessel)"),
        ("target_category", "none"),
    ],
)
def test_another_fact_is_false(dimension: str, said: str) -> None:
    assert not agrees(dimension, said, TRUE[dimension])


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_what_is_true_agrees_with_itself_and_gibberish_with_nothing(dimension: str) -> None:
    true = TRUE.get(dimension, "water")
    assert agrees(dimension, true, true) and not agrees(dimension, "four score and seven", true)


def test_no_targets_are_no_class_of_target() -> None:
    assert not agrees("target_category", "ship", "none") and agrees("target_category", "none", "none")
