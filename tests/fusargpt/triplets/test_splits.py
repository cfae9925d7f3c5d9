"""Which scenes are for training and which for testing."""

from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusargpt.errors import InputError
from fusargpt.geo.geometry import Bounds
from fusargpt.triplets.splits import Located, _places, gap_km, split_by_place  # pyright: ignore[reportPrivateUsage]


def located(name: str, bounds: Bounds | None, split: str | None = None) -> Located:
    return Located(name, f"m.csv, row {name}", bounds, split)


places = st.tuples(st.floats(-180, 179.99), st.floats(-84, 83), st.floats(0.001, 1.5), st.floats(0.001, 0.9)).map(
    lambda box: (box[0], box[1], box[0] + box[2], box[1] + box[3])
)


@settings(max_examples=60, deadline=None)
@given(st.lists(places, max_size=25), st.sampled_from([0.0, 1.0, 50.0]))
def test_no_two_splits_share_a_place(bounds: list[Bounds], distance_km: float) -> None:
    scenes = [located(str(number), box) for number, box in enumerate(bounds)]
    splits = split_by_place(scenes, distance_km, (0.34, 0.33, 0.33))
    for one in scenes:
        for other in scenes:
            assert one.bounds and other.bounds
            if splits[one.id] != splits[other.id]:
                assert gap_km(one.bounds, other.bounds) > distance_km
    assert splits == split_by_place(scenes[::-1], distance_km, (0.34, 0.33, 0.33))


def _box(base: tuple[float, float], offset: tuple[float, float], size: tuple[float, float]) -> Bounds:
    west, south = base[0] + offset[0], base[1] + offset[1]
    return west, south, west + size[0], south + size[1]


crowded = st.builds(
    _box,
    st.sampled_from([(-180.0, 0.0), (179.96, 0.0), (12.0, 60.0), (12.0, 89.5)]),
    st.tuples(st.floats(0, 0.03), st.floats(0, 0.08)),
    st.tuples(st.floats(0, 0.05), st.floats(0, 0.02)),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(crowded, max_size=20), st.sampled_from([0.0, 0.3, 1.0]))
def test_places_are_those_of_comparing_every_pair(bounds: list[Bounds], distance_km: float) -> None:
    scenes = [located(str(number), box) for number, box in enumerate(bounds)]
    expected = list(range(len(scenes)))
    for one, other in combinations(range(len(scenes)), 2):
        if gap_km(bounds[one], bounds[other]) <= distance_km:
            expected = [expected[one] if place == expected[other] else place for place in expected]
    places = _places(scenes, distance_km)
    assert [[one == other for other in places] for one in places] == [
        [one == other for other in expected] for one in expected
    ]


@pytest.mark.parametrize(
    ("one", "other", "gap"),
    [
        ((0, 0, 1, 1), (0.5, 0.5, 2, 2), 0),
        ((0, 0, 1, 1), (1.1, 0, 2, 1), 11.1),
        ((0, 60, 1, 60.001), (1.1, 60, 2, 60.001), 5.56),
        ((179, 0, 179.9, 1), (-180, 0, -179, 1), 11.1),
        ((179.5, 0, 180.5, 1), (-179.4, 0, -179, 1), 11.1),
        ((0, 0, 1, 1), (0, 1.2, 1, 2), 22.2),
    ],
)
def test_gaps_on_the_ground(one: Bounds, other: Bounds, gap: float) -> None:
    assert gap_km(one, other) == gap_km(other, one) == pytest.approx(gap, rel=0.01, abs=1e-6)


def test_chains_and_repeats_stay_together() -> None:
    chain = [located(str(n), (n * 0.02, 0, n * 0.02 + 0.015, 0.01)) for n in range(60)]
    assert len(set(split_by_place(chain).values())) == 1
    shares = Counter(
        split_by_place(
            [located(str(n), (n % 300 - 150, n // 300 - 1, n % 300 - 149.9, n // 300)) for n in range(600)]
        ).values()
    )
    assert 420 < shares["train"] < 540 and shares["validation"] > 30 and shares["test"] > 30


def test_a_place_keeps_its_split_when_others_come() -> None:
    first = located("a", (10.0, 50.0, 10.1, 50.1))
    alone = split_by_place([first])["a"]
    others = [located(f"b{n}", (n * 1.0, 20.0, n + 0.1, 20.1)) for n in range(40)]
    assert split_by_place([*others, first])["a"] == alone


def test_the_manifest_decides_for_the_whole_place() -> None:
    near = [located("1", (0, 0, 1, 1), "test"), located("2", (0.5, 0.5, 2, 2)), located("3", None, "train")]
    assert split_by_place(near) == {"1": "test", "2": "test", "3": "train"}
    with pytest.raises(InputError, match=r"row 2: split train, but m\.csv, row 1 lies in the same place and is test"):
        split_by_place([near[0], located("2", (0.5, 0.5, 2, 2), "train")])
