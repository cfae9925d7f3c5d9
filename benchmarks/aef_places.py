"""Where the real points lie: how they are held out by place, and what a location alone says."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold

from fusargpt.errors import InputError

BLOCK_DEGREES = 0.1
FOLDS = 10
SCHEMES = ("random", "blocks", "regions")
"""How points are held out: scenes at random, whole blocks of 0.1 degree, whole regions."""
# Wavelengths of the location encoder, in degrees: from the whole Earth to half a block.
_WAVELENGTHS = np.geomspace(360, 0.05, 20)
_COLUMNS = ["longitude", "latitude", "region"]


@dataclass(frozen=True)
class Places:
    """N places: lonlat [N, 2] in degrees, region [N] the name of the region of each."""

    lonlat: NDArray[np.float64]
    region: NDArray[np.str_]

    def take(self, chosen: NDArray[np.integer]) -> "Places":
        return Places(self.lonlat[chosen], self.region[chosen])

    def blocks(self) -> NDArray[np.int64]:
        """The number of each place's block, a square of `BLOCK_DEGREES`: [N]."""
        corners = np.floor(self.lonlat / BLOCK_DEGREES).astype(np.int64)
        return np.unique(corners, axis=0, return_inverse=True)[1].ravel()


def read_places(paths: Sequence[Path]) -> Places:
    """The places of the points of all files, in their order.

    Raises:
        InputError: a file that cannot be read, lacks a column, or holds a coordinate that is not on Earth.
    """
    tables = []
    for path in paths:
        try:
            table = pd.read_csv(path)
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: cannot be read ({error}); expected a CSV of points") from error
        missing = [name for name in _COLUMNS if name not in table]
        if missing:
            raise InputError(f"{path}: no column {', '.join(missing)}; expected {', '.join(_COLUMNS)}")
        lonlat = table[_COLUMNS[:2]].to_numpy(np.float64)
        wrong = ~(np.abs(lonlat) <= (180, 90)).all(1)
        if wrong.any():
            raise InputError(f"{path}, row {int(wrong.argmax()) + 2}: expected longitude and latitude in degrees")
        tables.append(table[_COLUMNS])
    joined = pd.concat(tables)
    return Places(joined[_COLUMNS[:2]].to_numpy(np.float64), joined["region"].to_numpy(str))


def block_folds(places: Places) -> NDArray[np.int64]:
    """The fold of each place, of `FOLDS` of about as many places: a block is in one alone. [N]

    Raises:
        InputError: fewer blocks than folds.
    """
    blocks = places.blocks()
    if (found := len(np.unique(blocks))) < FOLDS:
        raise InputError(f"points: found {found} blocks of {BLOCK_DEGREES} degree; expected {FOLDS} or more")
    fold = np.empty(len(blocks), np.int64)
    for index, (_, held_out) in enumerate(GroupKFold(FOLDS).split(blocks, groups=blocks)):
        fold[held_out] = index
    return fold


def scene_order(places: Places, fold: NDArray[np.integer], size: int) -> NDArray[np.intp]:
    """Places in an order in which every `size` that follow each other are of one region and one fold.

    Scenes of several points are then on one side of every split. What is left over of a region and fold is left out.
    """
    rng = np.random.default_rng(0)
    parts = []
    for region in np.unique(places.region):
        for index in range(FOLDS):
            chosen = rng.permutation(np.flatnonzero((places.region == region) & (fold == index)))
            parts.append(chosen[: len(chosen) // size * size])
    return np.concatenate(parts)


def folds(places: Places, blocks: NDArray[np.integer], size: int) -> dict[str, NDArray[np.int64]]:
    """The fold of each place under each of `SCHEMES`; all that are of one fold are held out together.

    Args:
        places: in the order of `scene_order`.
        blocks: their folds by block.
        size: points of a scene, which are of one fold.
    """
    scenes = np.random.default_rng(0).permutation(len(blocks) // size) % FOLDS
    regions = np.unique(places.region, return_inverse=True)[1].ravel()
    return {"random": np.repeat(scenes, size), "blocks": blocks.astype(np.int64), "regions": regions}


def location_features(lonlat: NDArray[np.floating]) -> NDArray[np.float64]:
    """A location encoder: longitude and latitude on spheres of falling wavelength, [N, 60].

    At each scale sin(lat), cos(lat) cos(lon) and cos(lat) sin(lon), both divided by the scale: sphereC of Mai et al.,
    Sphere2Vec, 2023.
    """
    scaled = np.radians(lonlat)[:, None] * (360 / _WAVELENGTHS)[:, None]
    longitude, latitude = scaled[..., 0], scaled[..., 1]
    parts = [np.sin(latitude), np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude)]
    return np.concatenate(parts, axis=1)
