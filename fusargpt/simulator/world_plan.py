"""Which places a simulated world has, where they lie and in which form each is handed over.

Forms take turns, so that a world of a few places has every kind of georeference, stored value, land-cover raster and
annotation that a user may bring.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from affine import Affine

from fusargpt.errors import InputError
from fusargpt.geo.geometry import Geometry
from fusargpt.geo.mapping import WGS84, project
from fusargpt.simulator.ground import GROUND_KINDS
from fusargpt.simulator.simulated_scene import RESOLUTION_M

FIRST_YEAR, LAST_YEAR = 2017, 2100
MARGIN = 24
"""Pixels of ground around a scene on which the land cover and the vectors are known, too."""
DEFAULT_SIDES = (504, 756, 1008)

_FIRST_SEED = 30_000_000  # beyond those of the splits in `fusargpt.simulator.records`
_MOST_PLACES = 10_000
_SMALLEST_SIDE, _LARGEST_SIDE = 112, 4096
_ALONG_ZONE_BORDER_M = 300.0  # a place near a border has its centre at most so far from it

Storage = Literal["decibels", "rotated amplitude", "control points", "dual decibels"]
Annotation = Literal["inline", "voc", "geojson", "coco", "inline polygons"]
STORAGES: tuple[Storage, ...] = ("decibels", "rotated amplitude", "control points", "dual decibels")
ANNOTATIONS: tuple[Annotation, ...] = ("inline", "voc", "geojson", "coco", "inline polygons")


@dataclass(frozen=True)
class Place:
    """One place with one scene of it.

    Attributes:
        name: of its files.
        seed: of its ground.
        kind: of ground.
        storage: how the raster keeps values and georeference.
        annotation: how its boxes are handed over.
        zone: UTM zone, 1 to 60.
        south: whether it lies on the southern hemisphere.
        at_border: whether it straddles the zone's eastern border; the field then has tiles in both zones.
        width, height: of the scene in pixels.
        resolution_m: of a pixel.
        transform: from the scene's pixels to metres in the zone.
        acquired: ISO date.
        captioned: whether the manifest brings a caption.
    """

    name: str
    seed: int
    kind: str
    storage: Storage
    annotation: Annotation
    zone: int
    south: bool
    at_border: bool
    width: int
    height: int
    resolution_m: float
    transform: Affine
    acquired: str
    captioned: bool

    @property
    def crs(self) -> str:
        return zone_crs(self.zone, self.south)

    @property
    def geometry(self) -> Geometry:
        """Of the scene."""
        return Geometry.from_affine(self.transform, self.crs, self.width, self.height)

    @property
    def ground_geometry(self) -> Geometry:
        """Of the ground, `MARGIN` pixels wider on each side."""
        transform = _anchored(self.transform, MARGIN, MARGIN, self.transform.c, self.transform.f)
        return Geometry.from_affine(transform, self.crs, self.width + 2 * MARGIN, self.height + 2 * MARGIN)


def zone_crs(zone: int, south: bool) -> str:
    return f"EPSG:{32700 + zone if south else 32600 + zone}"


def plan_places(
    places: int, years: Sequence[int], seed: int, sides: Sequence[int] = DEFAULT_SIDES
) -> tuple[Place, ...]:
    """The places of a world, always the same for the same arguments.

    Args:
        places: how many.
        years: of the AlphaEarth field; scenes are acquired in each of them in turn.
        seed: of the world, 0 or more.
        sides: pixels; heights and widths of scenes are drawn from them.

    Raises:
        InputError: a number out of its range, or a year that is there twice.
    """
    _check("places", places, 1 <= places <= _MOST_PLACES, f"1 to {_MOST_PLACES:,}")
    _check("seed", seed, 0 <= seed < 2**32, "0 or more")
    _check("years", list(years), len(years) > 0 and len(set(years)) == len(years), "one or more, each once")
    for year in years:
        _check("years", year, FIRST_YEAR <= year <= LAST_YEAR, f"{FIRST_YEAR}, the first of AlphaEarth, or later")
    _check("sides", list(sides), len(sides) > 0, "one or more")
    for side in sides:
        _check("sides", side, _SMALLEST_SIDE <= side <= _LARGEST_SIDE, f"{_SMALLEST_SIDE} to {_LARGEST_SIDE:,} pixels")
    # Zones in an order of the world's own, so that neighbours in the manifest are far apart on Earth.
    zones = np.random.default_rng([_FIRST_SEED, seed]).permutation(60) + 1
    return tuple(_place(index, int(zones[index % 60]), years, seed, sides) for index in range(places))


def _place(index: int, zone: int, years: Sequence[int], seed: int, sides: Sequence[int]) -> Place:
    rng = np.random.default_rng([_FIRST_SEED, seed, index])
    turn = index % len(STORAGES)
    # Shifted with every turn, so that each kind meets each storage.
    kind = GROUND_KINDS[(index + index // len(STORAGES)) % len(GROUND_KINDS)]
    captioned = index % 6 == 5
    height, width = (min(sides), min(sides)) if captioned else (int(side) for side in rng.choice(sides, 2))
    resolution_m = RESOLUTION_M if kind == "airfield" else 2 * RESOLUTION_M
    at_border = STORAGES[turn] == "dual decibels"
    south, latitude = index % 2 == 1, rng.uniform(5, 55)
    if at_border:
        # East of zone 60 lies the antimeridian: two zones, but also two ends of the world.
        zone = min(zone, 59)
    longitude = 6.0 * zone - 180 - (0.0 if at_border else rng.uniform(1, 5))
    centre = project(WGS84, zone_crs(zone, south), np.array([[longitude, -latitude if south else latitude]]))[0]
    if at_border:
        centre[0] -= rng.uniform(0, min(_ALONG_ZONE_BORDER_M, width * resolution_m / 4))
    angle = rng.uniform(5, 20) if STORAGES[turn] in ("rotated amplitude", "control points") else 0.0
    # Whole metres, as products have them.
    x, y = (np.round(centre / 10) * 10).tolist()
    right, down = resolution_m * math.cos(math.radians(angle)), resolution_m * math.sin(math.radians(angle))
    transform = _anchored(Affine(right, down, 0, down, -right, 0), width // 2, height // 2, x, y)
    return Place(
        name=f"place-{index:04d}-{kind}",
        seed=_FIRST_SEED + seed * _MOST_PLACES + index,
        kind=kind,
        storage=STORAGES[turn],
        annotation=ANNOTATIONS[index % len(ANNOTATIONS)],
        zone=zone,
        south=south,
        at_border=at_border,
        width=width,
        height=height,
        resolution_m=resolution_m,
        transform=transform,
        acquired=f"{years[index % len(years)]}-{int(rng.integers(1, 13)):02d}-{int(rng.integers(1, 29)):02d}",
        captioned=captioned,
    )


def _anchored(transform: Affine, column: float, row: float, x: float, y: float) -> Affine:
    """The transform shifted so that it leads from a pixel (column, row) to (x, y)."""
    a, b, _, d, e, _ = transform[:6]
    return Affine(a, b, x - a * column - b * row, d, e, y - d * column - e * row)


def _check(name: str, found: object, fits: bool, expected: str) -> None:
    if not fits:
        raise InputError(f"{name}: found {found}; expected {expected}")
