"""Real points by region, and how they are held out: whole regions, or blocks of 0.1 degree."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.aef_probe import Points, read_points
from fusargpt.errors import InputError
from fusargpt.geo.land_classes import WATER

BLOCKS = "blocks"
"""What is held out where it is no region: blocks of all of them."""
BLOCK_DEGREES = 0.1
HELD_OUT_SHARE = (0.15, 0.35)
FEWEST = 8  # water points, and land points, on both sides of a split of a region
STRIPS = 16


@dataclass(frozen=True)
class Region:
    """Points of one region. lonlat: float64 [N, 2], degrees."""

    name: str
    points: Points
    lonlat: NDArray[np.float64]

    def take(self, chosen: NDArray[np.integer] | NDArray[np.bool_]) -> "Region":
        index = np.arange(len(self.points))[chosen]
        return Region(self.name, self.points.take(index), self.lonlat[index])

    @property
    def water(self) -> NDArray[np.bool_]:
        return self.points.landcover == WATER


@dataclass(frozen=True)
class Split:
    """Regions to learn from and regions, or parts of them, to be asked about; no point is in both."""

    train: tuple[Region, ...]
    test: tuple[Region, ...]


def read_region(path: Path) -> Region:
    """The points of one file.

    Raises:
        InputError: as `read_points`; no column latitude, longitude or region; more than one region, or a name that
            cannot be a folder's; coordinates that are not on Earth; fewer than `FEWEST` points of water or of land.
    """
    points = read_points([path])
    table = pd.read_csv(path)
    missing = [name for name in ("latitude", "longitude", "region") if name not in table]
    if missing:
        raise InputError(f"{path}: no column {', '.join(missing)}; expected the place of each point and its region")
    lonlat = table[["longitude", "latitude"]].to_numpy(dtype=np.float64)
    if not (np.abs(lonlat) <= (180, 90)).all():
        raise InputError(f"{path}: a coordinate that is not on Earth; expected latitude and longitude in degrees")
    names = sorted({str(name) for name in table["region"]})
    if len(names) != 1 or not re.fullmatch(r"\w+", names[0]) or names[0] == BLOCKS:
        raise InputError(f"{path}: column region: found {', '.join(names)[:80]}; expected one name of letters and _")
    region = Region(names[0], points, lonlat)
    if min(region.water.sum(), (~region.water).sum()) < FEWEST:
        raise InputError(
            f"{path}: found {int(region.water.sum())} points of water among {len(points)}; expected {FEWEST} of water "
            "and of land at least"
        )
    return region


def split(regions: Sequence[Region], held_out: str, validate: bool = False) -> Split:
    """What is learned from and what is asked about.

    Args:
        regions: all of them, of different names.
        held_out: the name of one, or `BLOCKS` for about a quarter of the blocks of each.
        validate: ask about blocks of the training regions instead, and leave what is held out alone: for choosing
            settings.

    Raises:
        InputError: an unknown name, nothing left to learn from, or a region whose blocks cannot be split.
    """
    if held_out == BLOCKS:
        found = _by_blocks(regions)
    else:
        named = tuple(region for region in regions if region.name == held_out)
        others = tuple(region for region in regions if region.name != held_out)
        if not named or not others:
            names = ", ".join(region.name for region in regions)
            raise InputError(f"held out: {held_out}; expected one of several regions ({names}), or {BLOCKS}")
        found = Split(others, named)
    return _by_blocks(found.train) if validate else found


def _by_blocks(regions: Sequence[Region]) -> Split:
    halves = [(region.take(~chosen), region.take(chosen)) for region in regions for chosen in (_blocks_of(region),)]
    train, test = zip(*halves, strict=True)
    return Split(train, test)


def _blocks_of(region: Region) -> NDArray[np.bool_]:
    """Which points are in the blocks held out: the first random order of blocks that leaves enough on both sides."""
    _, block = np.unique(np.floor(region.lonlat / BLOCK_DEGREES), axis=0, return_inverse=True)
    sizes = np.bincount(block)
    low, high = (share * len(block) for share in HELD_OUT_SHARE)
    for seed in range(1000):
        order = np.random.default_rng(seed).permutation(len(sizes))
        taken = order[: int(np.searchsorted(np.cumsum(sizes[order]), low)) + 1]
        chosen = np.isin(block, taken)
        sides = [(side & ground).sum() for side in (chosen, ~chosen) for ground in (region.water, ~region.water)]
        if chosen.sum() <= high and min(sides) >= FEWEST:
            return chosen
    raise InputError(f"region {region.name}: no blocks of {BLOCK_DEGREES} degree to hold out; it is too small an area")


def strips(region: Region, count: int) -> list[NDArray[np.intp]]:
    """Points in `count` strips from west to east, as many of water, and of land, in each; a strip shares no point."""
    parts = []
    counts = (int(region.water.sum()), int((~region.water).sum()))
    for ground in (region.water, ~region.water):
        points = np.flatnonzero(ground)
        ordered = points[np.argsort(region.lonlat[points, 0], kind="stable")]
        parts.append(np.array_split(ordered, min(count, *counts)))
    return [np.concatenate(pair) for pair in zip(*parts, strict=True)]
