"""Bright points: ships, aircraft, what stands in water, and ghosts of what lies elsewhere along the track."""

import numpy as np
from numpy.typing import NDArray

from fusargpt.simulator.simulated_scene import RESOLUTION_M, Target
from fusargpt.simulator.version2.fixtures import Fixture
from fusargpt.simulator.version2.imaging import Points
from fusargpt.simulator.version2.view import PLACE_M, View

# Of a ship of l metres: 0.08 l^(7/3) (0.78 + 0.11 incidence) m^2 (after Vachon et al., Canadian Journal of Remote
# Sensing 23(1), 1997). Of 200 m it is 49 dB m^2; measured on a Sentinel-1 scene, the 40 ships at anchor off Los Angeles
# have 49.7 in the median, and 41 to 57 from the 5th to the 95th percentile.
_SPREAD_DB = 3.5
_CROSS_POLARISED_DB = -9.0
# Scatterers by metre of a ship's length: of the side that faces the radar, the deck with what stands on it, and the
# superstructure aft. How the whole is shared among the three differs from ship to ship.
_HULL, _DECK, _BRIDGE = 0.6, 2.0, 0.25
_AIRCRAFT_DB = -9.0  # against a ship of its length
_SMEARED_SHARE, _SMEAR_M = 0.6, (8.0, 50.0)  # ships that roll or sail are drawn out along the track, with tails
_COPIES = 15
_BUOYS, _BUOY_DB = 3, (12.0, 27.0)
# Sentinel-1's specification for ambiguities is -22 dB or better (ESA, Sentinel-1 SAR technical guide, performance). At
# the wavelength, range and pulse frequency of the wide swath they lie some 5 km away along the track, outside the
# place, so that those in it are of what is not: ships, or a piece of town.
_GHOST_SHARE, _GHOST_DB = 0.15, (-30.0, -22.0)


def cross_section(length_m: float, view: View, rng: np.random.Generator) -> float:
    """Square metres, of a ship of that length."""
    square_metres = 0.08 * length_m ** (7 / 3) * (0.78 + 0.11 * view.incidence)
    decibels = rng.normal(0, _SPREAD_DB) + (_CROSS_POLARISED_DB if view.polarization == "VH" else 0)
    return square_metres * 10 ** (decibels / 10)


def _shares(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Of the whole: a few scatterers have most."""
    parts = rng.exponential(size=count) ** 2.2
    return parts / parts.sum()


def target_points(target: Target, moored: bool, view: View, rng: np.random.Generator) -> Points:
    """A ship, or an aircraft, of which every part counts alike."""
    cells = np.argwhere(target.mask)
    origin = np.array([target.box[1], target.box[0]])
    places = (cells + origin) * RESOLUTION_M
    middle = places.mean(0) + RESOLUTION_M / 2
    axes = np.linalg.eigh(np.cov((cells * RESOLUTION_M).T) + np.eye(2))[1].T
    across, along = axes[0], axes[1] * rng.choice([-1.0, 1.0])
    reach = [np.abs((places + RESOLUTION_M / 2 - middle) @ axis).max() + RESOLUTION_M / 2 for axis in (along, across)]
    total = cross_section(2 * reach[0], view, rng)
    if target.label == "aircraft":
        count = max(12, 2 * len(places))
        chosen = places[rng.integers(0, len(places), count)] + rng.uniform(0, RESOLUTION_M, (count, 2))
        return Points(chosen, _shares(rng, count) * total * 10 ** (_AIRCRAFT_DB / 10))
    facing = -np.sign(across @ np.array(view.range_direction)) or 1.0
    parts = [(_HULL, (-1.0, 1.0), 0.9 * facing, 8.0), (_DECK, (-1.0, 0.98), None, 10.0), (_BRIDGE, None, None, 25.0)]
    points: list[Points] = []
    for share, (per_metre, reached, side, top) in zip(rng.dirichlet((1.2, 1.2, 1.2)), parts, strict=True):
        count = max(4, round(per_metre * 2 * reach[0]))
        place = rng.normal(-0.68, 0.09, count) if reached is None else rng.uniform(*reached, count)
        # The bow is narrow.
        beam = np.clip((1.05 - place) / 0.5, 0.1, 1) * (rng.uniform(-0.95, 0.95, count) if side is None else side)
        metres = middle + np.outer(place * reach[0], along) + np.outer(beam * reach[1], across)
        height = rng.uniform(0, min(top, reach[0] / 3), count)
        metres -= np.outer([view.layover_m(value) for value in height], view.range_direction)
        points.append(Points(metres, share * total * _shares(rng, count)))
    whole = Points.together(points)
    if not moored and rng.random() < _SMEARED_SHARE:
        return _smeared(whole, rng.uniform(*_SMEAR_M), view, rng)
    return whole


def _smeared(points: Points, length_m: float, view: View, rng: np.random.Generator) -> Points:
    """Every point drawn out along the track, its power shared."""
    shift = length_m / 4 * rng.standard_t(3, (len(points.metres), _COPIES, 1)) * np.array(view.azimuth_direction)
    metres = (points.metres[:, None] + shift).reshape(-1, 2)
    shares = rng.dirichlet(np.full(_COPIES, 0.4), len(points.metres))
    return Points(metres, (points.cross_section[:, None] * shares).ravel())


def fixture_points(fixture: Fixture, view: View, rng: np.random.Generator) -> Points:
    """As bright as ships: a platform as one of any length, a jetty as one of its own, a rock a tenth of that."""
    cells = np.argwhere(fixture.mask)
    extent = float(np.ptp(cells, 0).max() + 1) * RESOLUTION_M
    length = rng.uniform(50, 180) if fixture.kind in ("platform", "building") else extent
    total = cross_section(length, view, rng) * {"rock": 0.1, "building": 0.5}.get(fixture.kind, 1.0)
    count = max(20, len(cells))
    metres = cells[rng.integers(0, len(cells), count)] * RESOLUTION_M + rng.uniform(0, RESOLUTION_M, (count, 2))
    height = rng.uniform(0, fixture.height, count)
    metres = metres - np.outer([view.layover_m(value) for value in height], view.range_direction)
    return Points(metres, _shares(rng, count) * total)


def stray_points(view: View, water: bool, rng: np.random.Generator) -> list[Points]:
    """Buoys and boats too small to be counted, where there is water, and ghosts."""
    found: list[Points] = []
    if water:
        count = int(rng.integers(0, _BUOYS + 1))
        offset = _CROSS_POLARISED_DB if view.polarization == "VH" else 0
        found.append(Points(rng.uniform(0, PLACE_M, (count, 2)), 10 ** ((rng.uniform(*_BUOY_DB, count) + offset) / 10)))
    if rng.random() < _GHOST_SHARE:
        level = 10 ** (rng.uniform(*_GHOST_DB) / 10)
        town = rng.random() < 0.4
        count, spread = (60, 90.0) if town else (12, 15.0)
        total = cross_section(rng.uniform(100, 300), view, rng) * level * (8 if town else 1)
        metres = rng.uniform(0, PLACE_M, 2) + rng.normal(0, spread, (count, 2))
        found.append(_smeared(Points(metres, _shares(rng, count) * total), 40.0, view, rng))
    return found
