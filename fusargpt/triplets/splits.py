"""Which scenes are for training and which for testing: by place, so that no location is in two splits.

Scenes that overlap, or lie within `SPLIT_DISTANCE_KM` of each other, form one place; so do chains of such scenes. The
split of a place follows from the cell of a grid of 0.1 degrees in which its first scene's centre lies, so that a place
stays where it is when scenes are added elsewhere. A scene without georeference is a place of its own, known by its id.
Where the manifest names the split of a scene, its whole place has it.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from fusargpt.errors import InputError
from fusargpt.geo.earth import METRES_PER_DEGREE
from fusargpt.geo.geometry import Bounds
from fusargpt.tasks.stable_random import share
from fusargpt.triplets.manifest import SPLITS

SPLIT_DISTANCE_KM = 1.0
DEFAULT_SHARES = (0.8, 0.1, 0.1)
_CELL_DEGREES = 0.1
_BUCKET_DEGREES = 1.0
_KM_PER_DEGREE = METRES_PER_DEGREE / 1000


@dataclass(frozen=True)
class Located:
    """What the split of a scene depends on. `split` is the one that the manifest names, or None."""

    id: str
    origin: str
    bounds: Bounds | None
    split: str | None


def split_by_place(
    scenes: Sequence[Located],
    distance_km: float = SPLIT_DISTANCE_KM,
    shares: tuple[float, float, float] = DEFAULT_SHARES,
) -> dict[str, str]:
    """The split of each scene, by id.

    Args:
        scenes: with ids that differ.
        distance_km: scenes nearer than this share a split.
        shares: of places in train, validation and test; each place takes its own by its position, so that a few
            places come near the shares by chance only.

    Raises:
        InputError: the manifest names two splits in one place.
    """
    places: dict[int, list[Located]] = defaultdict(list)
    for scene, place in zip(scenes, _places(scenes, distance_km), strict=True):
        places[place].append(scene)
    splits: dict[str, str] = {}
    for place in places.values():
        split = _named(place) or _drawn(min(map(_cell, place)), shares)
        splits |= {scene.id: split for scene in place}
    return splits


def gap_km(one: Bounds, other: Bounds) -> float:
    """Kilometres between the nearest edges of two boxes in degrees, 0 where they touch; never more than the true gap
    by 1 %, and less near the poles."""
    south_north = max(one[1] - other[3], other[1] - one[3], 0.0)
    apart = abs((one[0] + one[2]) - (other[0] + other[2])) / 2 % 360
    west_east = max(min(apart, 360 - apart) - ((one[2] - one[0]) + (other[2] - other[0])) / 2, 0.0)
    # Degrees of longitude are shortest where the two are farthest from the equator.
    latitude = min(max(abs(edge) for edge in (one[1], one[3], other[1], other[3])), 90.0)
    return _KM_PER_DEGREE * math.hypot(south_north, west_east * math.cos(math.radians(latitude)))


def _places(scenes: Sequence[Located], distance_km: float) -> list[int]:
    """The number of each scene's place: scenes joined directly or by others have the same."""
    parents = list(range(len(scenes)))

    def root(index: int) -> int:
        while parents[index] != index:
            parents[index] = parents[parents[index]]
            index = parents[index]
        return index

    for members in _buckets(scenes, distance_km).values():
        for position, index in enumerate(members):
            for other in members[:position]:
                if root(index) != root(other) and _near(scenes[index].bounds, scenes[other].bounds, distance_km):
                    parents[root(index)] = root(other)
    return [root(index) for index in range(len(scenes))]


def _near(one: Bounds | None, other: Bounds | None, distance_km: float) -> bool:
    return one is not None and other is not None and gap_km(one, other) <= distance_km


def _buckets(scenes: Sequence[Located], distance_km: float) -> Mapping[tuple[int, int], list[int]]:
    """Scenes by the squares of a coarse grid that they reach, so that only neighbours are compared."""
    buckets: dict[tuple[int, int], list[int]] = defaultdict(list)
    across = round(360 / _BUCKET_DEGREES)
    for index, scene in enumerate(scenes):
        if scene.bounds is None:
            continue
        west, south, east, north = scene.bounds
        margin = distance_km / _KM_PER_DEGREE
        latitude = min(max(abs(south), abs(north)) + margin, 89.9)
        sideways = margin / math.cos(math.radians(latitude))
        columns = range(_bucket(west - sideways), _bucket(east + sideways) + 1)
        rows = range(_bucket(south - margin), _bucket(north + margin) + 1)
        for row, column in {(row, column % across) for row, column in product(rows, columns)}:
            buckets[row, column].append(index)
    return buckets


def _bucket(degrees: float) -> int:
    return math.floor(degrees / _BUCKET_DEGREES)


def _named(place: Sequence[Located]) -> str | None:
    named = {scene.split: scene for scene in place if scene.split is not None}
    if len(named) > 1:
        first, second = list(named.values())[:2]
        raise InputError(
            f"{second.origin}: split {second.split}, but {first.origin} lies in the same place and is {first.split}; "
            "no location may be in two splits"
        )
    return next(iter(named), None)


def _cell(scene: Located) -> str:
    if scene.bounds is None:
        return f"scene {scene.id}"
    west, south, east, north = scene.bounds
    # A longitude of 180 and one of -180 are the same cell.
    column = math.floor((west + east) / 2 % 360 / _CELL_DEGREES)
    return f"cell {math.floor((south + north) / 2 / _CELL_DEGREES):+05d} {column:04d}"


def _drawn(key: str, shares: tuple[float, float, float]) -> str:
    number = share(key)
    if number < shares[0]:
        return SPLITS[0]
    return SPLITS[1] if number < shares[0] + shares[1] else SPLITS[2]
