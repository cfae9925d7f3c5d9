"""Boxes of an image as GeoJSON geometries (RFC 7946): polygons in WGS84 degrees."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from fusargpt.errors import InputError
from fusargpt.geo.earth import Points

_AT_POLE = 1e-9
"""Degrees of latitude: a tenth of a millimetre."""
_HALF_TURN = 1e-6
"""Degrees of longitude that two neighbours may lack to be opposite each other."""
DECIMALS = 7
"""Of degrees: a centimetre."""


def box_polygon(
    to_lonlat: Callable[[Points], Points], box: Sequence[float], points_per_edge: int = 8, decimals: int = DECIMALS
) -> dict[str, object]:
    """A box of an image as a polygon on Earth, counter-clockwise; two of them where the antimeridian is crossed.

    A box that holds a pole is the cap about it, from -180 to 180 degrees and closed along the pole; one with a pole on
    its edge reaches along it from one of the meridians that its edge follows to the other.

    Args:
        to_lonlat: degrees [N, 2] of pixels (x, y) [N, 2], as `fusargpt.geo.geometry.Geometry.to_lonlat`.
        box: [x1, y1, x2, y2] in these pixels.
        points_per_edge: what is straight in the image may be bent on a map; 1 gives the corners alone.
        decimals: of degrees.

    Raises:
        InputError: a part of the box lies nowhere on Earth.
    """
    lonlat = to_lonlat(_edge(box, points_per_edge))
    if not np.isfinite(lonlat).all():
        raise InputError("a part of the image lies nowhere on Earth by its georeference")
    ring = _through_pole(np.column_stack([np.unwrap(lonlat[:, 0], period=360), lonlat[:, 1]]))
    # Once more around, to where it began, or a turn away from there.
    around = float(np.unwrap([ring[-1, 0], ring[0, 0]], period=360)[1] - ring[0, 0])
    if abs(around) > 180:
        return {"type": "Polygon", "coordinates": [_cap(ring, around, decimals)]}
    x, y = ring.T
    if np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y) < 0:
        ring = ring[::-1]
    low, high = ring[:, 0].min(), ring[:, 0].max()
    for border in (-180.0, 180.0):
        if low < border < high:
            west, east = _half(ring, border, keep_east=False), _half(ring, border, keep_east=True)
            return {"type": "MultiPolygon", "coordinates": [[_closed(west, decimals)], [_closed(east, decimals)]]}
    return {"type": "Polygon", "coordinates": [_closed(ring, decimals)]}


def _edge(box: Sequence[float], points_per_edge: int) -> Points:
    """Points along a box, float64 [N, 2]."""
    x1, y1, x2, y2 = box
    ahead = np.linspace(0, 1, points_per_edge, endpoint=False)
    corners = [(x1, y1), (x1, y2), (x2, y2), (x2, y1), (x1, y1)]
    edges = [np.outer(1 - ahead, a) + np.outer(ahead, b) for a, b in pairwise(corners)]
    return np.concatenate(edges)


def _through_pole(ring: Points) -> Points:
    """A ring that runs through a pole, which has all longitudes, by way of those that it comes and goes by; others as
    they are."""
    turn = np.abs((np.roll(ring[:, 0], -1) - ring[:, 0]) % 360 - 180)
    at_pole = np.flatnonzero(np.abs(ring[:, 1]) > 90 - _AT_POLE)
    if len(at_pole):
        rest = np.delete(np.roll(ring, -at_pole[0], 0), np.arange(len(at_pole)), 0)
    elif turn.min() < _HALF_TURN:
        # Between two points of the ring.
        rest = np.roll(ring, -(int(turn.argmin()) + 1), 0)
    else:
        return ring
    pole = 90.0 if rest[:, 1].mean() > 0 else -90.0
    longitudes = np.unwrap(rest[:, 0], period=360)
    rest = np.column_stack([longitudes - 360 * np.floor((longitudes.min() + 180) / 360), rest[:, 1]])
    return np.concatenate([rest, [[rest[-1, 0], pole], [rest[0, 0], pole]]])


def _cap(ring: Points, around: float, decimals: int) -> list[list[float]]:
    """The positions of a ring about a pole, counter-clockwise, with those along the pole."""
    ring = ring if around > 0 else ring[::-1]
    # Ascending from -180: the ring is cut there, at the latitude between its neighbours.
    longitudes = np.concatenate([ring[:, 0], ring[:1, 0] + 360])
    latitudes = np.concatenate([ring[:, 1], ring[:1, 1]])
    cut = np.ceil((longitudes[0] + 180) / 360) * 360 - 180
    at_cut = float(np.interp(cut, longitudes, latitudes))
    after = longitudes[:-1] > cut
    inside = np.concatenate([ring[after], ring[~after & (ring[:, 0] != cut)] + (360, 0)]) - (cut + 180, 0)
    edge = [(-180.0, at_cut), *((float(x), float(y)) for x, y in inside), (180.0, at_cut)]
    pole = 90.0 if ring[:, 1].mean() > 0 else -90.0
    # Eastwards below the north pole and back along it; the other way about the south pole.
    points = [*edge, (180.0, pole), (-180.0, pole)] if pole > 0 else [*edge[::-1], (-180.0, pole), (180.0, pole)]
    rounded = [[round(x, decimals), round(y, decimals)] for x, y in points]
    return [*rounded, rounded[0]]


def _half(ring: Points, border: float, keep_east: bool) -> Points:
    """The part of a convex ring on one side of a meridian."""
    kept = []
    for start, end in zip(ring, np.roll(ring, -1, 0), strict=True):
        start_in, end_in = ((point[0] > border) == keep_east for point in (start, end))
        if start_in:
            kept.append(start)
        if start_in != end_in:
            share = (border - start[0]) / (end[0] - start[0])
            kept.append(start + share * (end - start))
    return np.array(kept)


def _closed(ring: Points, decimals: int) -> list[list[float]]:
    """Positions with the first repeated at the end, longitudes in [-180, 180]."""
    # By the middle of the ring, so that a ring that ends on the antimeridian stays on its side of it.
    turns = np.round((ring[:, 0].min() + ring[:, 0].max()) / 2 / 360) * 360
    points = [[round(float(x - turns), decimals), round(float(y), decimals)] for x, y in ring]
    return [*points, points[0]]
