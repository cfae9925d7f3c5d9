"""Which scenes are for training and which for testing: by place, so that no location is in two splits.

Scenes that overlap, or lie within `SPLIT_DISTANCE_KM` of each other, form one place; so do chains of such scenes. The
split of a place follows from the cell of a grid of 0.1 degrees in which its first scene's centre lies, so that a place
stays where it is when scenes are added elsewhere. A scene without georeference is a place of its own, known by its id.
Where the manifest names the split of a scene, its whole place has it.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from fusargpt.errors import InputError
from fusargpt.geo.earth import METRES_PER_DEGREE
from fusargpt.geo.geometry import Bounds
from fusargpt.tasks.stable_random import share
from fusargpt.triplets.manifest import SPLITS

SPLIT_DISTANCE_KM = 1.0
DEFAULT_SHARES = (0.8, 0.1, 0.1)
_CELL_DEGREES = 0.1
_SMALLEST_DEGREES = 1e-300
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
    return float(_gaps_km(np.array(one), np.array(other)))


def _gaps_km(ones: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """`gap_km` of boxes [..., 4] and others, pair by pair."""
    west, south, east, north = np.moveaxis(ones, -1, 0)
    other_west, other_south, other_east, other_north = np.moveaxis(others, -1, 0)
    south_north = np.maximum(np.maximum(south - other_north, other_south - north), 0)
    apart = np.abs((west + east) - (other_west + other_east)) / 2 % 360
    west_east = np.maximum(np.minimum(apart, 360 - apart) - ((east - west) + (other_east - other_west)) / 2, 0)
    # Degrees of longitude are shortest where the two are farthest from the equator.
    latitude = np.maximum(np.abs(ones[..., 1::2]).max(-1), np.abs(others[..., 1::2]).max(-1))
    return _KM_PER_DEGREE * np.hypot(south_north, west_east * np.cos(np.radians(np.minimum(latitude, 90))))


def _places(scenes: Sequence[Located], distance_km: float) -> list[int]:
    """The number of each scene's place: scenes joined directly or by others have the same."""
    parents = list(range(len(scenes)))

    def root(index: int) -> int:
        while parents[index] != index:
            parents[index] = parents[parents[index]]
            index = parents[index]
        return index

    located = np.array([index for index, scene in enumerate(scenes) if scene.bounds is not None], np.intp)
    bounds = np.array([scenes[index].bounds for index in located], np.float64).reshape(-1, 4)
    heaps = _heaps(bounds)
    for heap in heaps:
        for index in located[heap[1:]].tolist():
            parents[index] = int(located[heap[0]])
    firsts = np.array([heap[0] for heap in heaps], np.intp)
    pairs = _neighbours(bounds, heaps, distance_km)
    # Nearly always the first of two heaps are near already, and then the others need not be compared.
    near = _gaps_km(bounds[firsts[pairs[:, 0]]], bounds[firsts[pairs[:, 1]]]) <= distance_km
    for (one, other), known in sorted(zip(pairs.tolist(), near.tolist(), strict=True), key=lambda pair: not pair[1]):
        first, second = root(int(located[firsts[one]])), root(int(located[firsts[other]]))
        if first != second and (known or _any_near(bounds[heaps[one]], bounds[heaps[other]], distance_km)):
            parents[first] = second
    return [root(index) for index in range(len(scenes))]


def _heaps(bounds: NDArray[np.float64]) -> list[NDArray[np.intp]]:
    """Boxes [N, 4] that certainly overlap, gathered: thousands of one place are not compared pair by pair."""
    # Boxes whose sides are alike to a factor of two, and whose centres lie in one cell of half of the smaller side.
    sides = np.exp2(np.floor(np.log2(np.maximum(bounds[:, 2:] - bounds[:, :2], _SMALLEST_DEGREES)))) / 2
    keys = np.concatenate([sides, np.floor((bounds[:, :2] + bounds[:, 2:]) / 2 / sides)], 1)
    order = np.lexsort(keys.T)
    return np.split(order, np.flatnonzero((np.diff(keys[order], axis=0) != 0).any(1)) + 1) if len(order) else []


def _neighbours(bounds: NDArray[np.float64], heaps: Sequence[NDArray[np.intp]], distance_km: float) -> NDArray[np.intp]:
    """Pairs [P, 2] of heaps of which some boxes may be near to each other."""
    margin = distance_km / _KM_PER_DEGREE
    # At a pole every longitude is near.
    narrow = np.cos(np.radians(np.minimum(np.abs(bounds[:, 1::2]).max(1), 90)))
    sideways = np.minimum(margin / np.maximum(narrow, 1e-9), 180)
    reach = bounds + np.stack([-sideways, np.full_like(narrow, -margin), sideways, np.full_like(narrow, margin)], 1)
    edges = np.array([[*reach[heap, :2].min(0), *reach[heap, 2:].max(0)] for heap in heaps]).reshape(-1, 4)
    west, south, east, north = edges.T
    tree = shapely.STRtree(shapely.box(west, south, east, north))
    # Longitudes go on at the antimeridian: what lies beyond it is found one turn away.
    here, beyond = (tree.query(shapely.box(west + turn, south, east + turn, north)).T for turn in (0, 360))
    return np.concatenate([here[here[:, 0] < here[:, 1]], beyond])


def _any_near(ones: NDArray[np.float64], others: NDArray[np.float64], distance_km: float) -> bool:
    """Whether any of the boxes [N, 4] is near to any of the others [M, 4]."""
    few, many = sorted((ones, others), key=len)
    return (len(few) > 1 or len(many) > 1) and any((_gaps_km(box, many) <= distance_km).any() for box in few)


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
