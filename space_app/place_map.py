"""Where an image lies, drawn without a network: coasts, borders and cities around it, and the place in the world.

The outlines, see `fusargpt.geo.outlines`, are coarse, and the link below the map leads to OpenStreetMap for who wants
streets and has a network.
"""

import html
from typing import NamedTuple

import numpy as np

from fusargpt.errors import InputError
from fusargpt.geo.earth import METRES_PER_DEGREE, wrap_longitude
from fusargpt.geo.geometry import Geometry
from fusargpt.geo.outlines import cities, land_rings

_WIDTH, _HEIGHT = 320, 210  # about its size in the page, so that names can be read
_SPAN_DEGREES = 9.0
"""From the middle of the map to its northern and southern edge."""
_WORLD_WIDTH, _WORLD_HEIGHT = 92, 46
_NEAREST_CITY_KM = 1500
_KM_PER_DEGREE = METRES_PER_DEGREE / 1000
_DIRECTIONS = ("north", "north-east", "east", "south-east", "south", "south-west", "west", "north-west")


class _View(NamedTuple):
    """What part of the Earth a map shows: degrees to pixels, north up, longitudes shortened as at its middle."""

    longitude: float
    latitude: float
    pixels_per_degree: float
    shorten: float
    width: float
    height: float

    def at(self, lonlat: np.ndarray) -> np.ndarray:
        """Pixels [N, 2] of degrees [N, 2]; longitudes in one go, so that a ring stays whole."""
        x = (lonlat[:, 0] - self.longitude) * self.shorten * self.pixels_per_degree + self.width / 2
        y = (self.latitude - lonlat[:, 1]) * self.pixels_per_degree + self.height / 2
        return np.column_stack([x, y])


def place_map(geometry: Geometry | None, year: float | None, simulated: bool = False) -> str:
    """HTML: the map, or what to do when no place is known.

    Args:
        geometry: of the image.
        year: shown beside the place; None when unknown.
        simulated: says so.
    """
    if geometry is None:
        return (
            '<div class="fg-map fg-empty"><p>No place yet. A georeferenced file brings its own; for another one type '
            "its bounds below. Without it there is no map, no anchors to fetch and no GeoJSON.</p></div>"
        )
    try:
        west, south, east, north = geometry.bounds()
    except InputError as error:
        return f'<div class="fg-map fg-empty"><p>No map: {html.escape(str(error))}</p></div>'
    longitude, latitude = (west + east) / 2, (south + north) / 2
    longitude = float(wrap_longitude(longitude))
    drawing = _svg(longitude, latitude, (west, south, east, north))
    when = "" if year is None else f" · {year:.0f}"
    size = f"{_km(geometry, geometry.width)} x {_km(geometry, geometry.height)} km"
    note = " · simulated, not what is really there" if simulated else ""
    near = _near(longitude, latitude)
    bounds = f"{longitude:.5f}/{latitude:.5f}"
    link = f"https://www.openstreetmap.org/#map=13/{latitude:.5f}/{longitude:.5f}"
    return (
        f'<div class="fg-map">{drawing}<p><b>{_degrees(latitude, "N", "S")}, {_degrees(longitude, "E", "W")}</b>{when}'
        f"<br>{size}, {geometry.resolution_m():.3g} m a pixel{near}{note}. "
        f'<a href="{link}" target="_blank" rel="noopener noreferrer" aria-label="Open {bounds} in OpenStreetMap">'
        "Open in OpenStreetMap</a></p></div>"
    )


def _svg(longitude: float, latitude: float, bounds: tuple[float, float, float, float]) -> str:
    shorten = max(float(np.cos(np.radians(latitude))), 0.2)
    view = _View(longitude, latitude, _HEIGHT / (2 * _SPAN_DEGREES), shorten, _WIDTH, _HEIGHT)
    world = _View(0, 0, _WORLD_HEIGHT / 180, 1, _WORLD_WIDTH, _WORLD_HEIGHT)
    spot = world.at(np.array([[longitude, latitude]]))[0]
    x, y = _WIDTH / 2, _HEIGHT / 2
    # The footprint at its true size, and a ring around it, since most images are smaller than a pixel of this map.
    west, south, east, north = bounds
    half = max(1.5, (east - west) / 2 * view.pixels_per_degree * shorten), (north - south) / 2 * view.pixels_per_degree
    across, down = half[0], max(1.5, half[1])
    ring = max(9.0, across * 1.5, down * 1.5)
    cities = "".join(_city(name, *point) for name, point in _cities_in(view))
    bar = 200 / _KM_PER_DEGREE * view.pixels_per_degree
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="Map around '
        f'{_degrees(latitude, "N", "S")}, {_degrees(longitude, "E", "W")}">'
        f'<rect class="fg-sea" width="{_WIDTH}" height="{_HEIGHT}"/><path class="fg-land" d="{_land(view)}"/>{cities}'
        f'<rect class="fg-here" x="{x - across:.1f}" y="{y - down:.1f}" width="{2 * across:.1f}" '
        f'height="{2 * down:.1f}"/><circle class="fg-ring" cx="{x}" cy="{y}" r="{ring:.1f}"/>'
        f'<path class="fg-bar" d="M14 {_HEIGHT - 14}h{bar:.1f}m0 -4v8m-{bar:.1f} -8v8"/>'
        f'<text x="{18 + bar:.0f}" y="{_HEIGHT - 10}">200 km</text>'
        f'<svg x="{_WIDTH - _WORLD_WIDTH - 8}" y="8" width="{_WORLD_WIDTH}" height="{_WORLD_HEIGHT}">'
        f'<rect class="fg-sea fg-frame" width="{_WORLD_WIDTH}" height="{_WORLD_HEIGHT}"/>'
        f'<path class="fg-land" d="{_land(world)}"/>'
        f'<circle class="fg-spot" cx="{spot[0]:.1f}" cy="{spot[1]:.1f}" r="3.4"/></svg></svg>'
    )


def _land(view: _View) -> str:
    """The path of all rings that reach into the view."""
    parts = []
    for ring in land_rings():
        # Near the antimeridian a ring may show on the other turn.
        for turn in (-360, 0, 360):
            points = view.at(ring + np.array([turn, 0]))
            low, high = points.min(0), points.max(0)
            if (high > 0).all() and (low < (view.width, view.height)).all():
                # What lies far outside is drawn nearer; a few hundred pixels are enough for lines to keep their course.
                points = np.clip(points, -900, 1400)
                parts.append("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) + "Z")
    return "".join(parts)


def _cities_in(view: _View) -> list[tuple[str, np.ndarray]]:
    names, places = cities()
    shifted = places.copy()
    shifted[:, 0] = view.longitude + wrap_longitude(places[:, 0] - view.longitude)
    points = view.at(shifted)
    # Clear of the edges, of the small map of the world, and of the place itself.
    inside = ((points > (12, 14)) & (points < (view.width - 70, view.height - 26))).all(1)
    inside &= ~((points[:, 0] > view.width - _WORLD_WIDTH - 80) & (points[:, 1] < _WORLD_HEIGHT + 20))
    inside &= np.hypot(*(points - (view.width / 2, view.height / 2)).T) > 16
    shown: list[tuple[str, np.ndarray]] = []
    for index in np.flatnonzero(inside):
        # Labels that would lie on each other are left out.
        if all(abs(points[index] - point)[1] > 13 or abs(points[index] - point)[0] > 75 for _, point in shown):
            shown.append((names[index], points[index]))
    return shown


def _city(name: str, x: float, y: float) -> str:
    return (
        f'<circle class="fg-city" cx="{x:.1f}" cy="{y:.1f}" r="2"/>'
        f'<text x="{x + 5:.1f}" y="{y + 3.5:.1f}">{html.escape(name)}</text>'
    )


def _near(longitude: float, latitude: float) -> str:
    """Distance and direction of the nearest of some 240 cities; "" in mid-ocean."""
    names, places = cities()
    east = wrap_longitude(longitude - places[:, 0]) * np.cos(np.radians((latitude + places[:, 1]) / 2))
    north = latitude - places[:, 1]
    away = np.hypot(east, north) * _KM_PER_DEGREE
    nearest = int(away.argmin())
    if away[nearest] > _NEAREST_CITY_KM:
        return ""
    turn = np.degrees(np.arctan2(east[nearest], north[nearest]))
    direction = _DIRECTIONS[round(turn / 45) % 8]
    return f", {away[nearest]:.0f} km {direction} of {html.escape(names[nearest])}"


def _km(geometry: Geometry, pixels: int) -> str:
    return f"{pixels * geometry.resolution_m() / 1000:.3g}"


def _degrees(value: float, positive: str, negative: str) -> str:
    return f"{abs(value):.4f}° {positive if value >= 0 else negative}"
