"""Where the scenes of a dataset lie: footprints on longitude and latitude, one colour a split, and coasts."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fusargpt.geo.outlines import land_rings

Outline = Sequence[tuple[float, float]]
"""Corners (longitude, latitude) in degrees."""
View = tuple[float, float, float, float]
"""West, south, east, north in degrees."""

_COLOURS = {"train": "#2563a8", "validation": "#d97b16", "test": "#b3263a"}
_MARKERS = {"train": "o", "validation": "s", "test": "^"}
_SEA, _LAND, _COAST = "#e6eef4", "#f6f1e3", "#a59c83"
_COARSE_DEGREES = 3.0
"""Of a map on which coasts that are drawn to a tenth of a degree are still where they belong."""
_AROUND_DEGREES = 24.0
"""Of the map beside a finer one, which says where that is."""


def draw_map(path: Path, outlines: Sequence[tuple[str, Outline]]) -> None:
    """Write a PNG of the outlines of scenes, each with its split; a mark at each centre keeps small ones visible.

    Coasts and borders lie beneath; where the scenes are so near to each other that these are too coarse, on a map of
    the surroundings beside.
    """
    every = [corner for _, outline in outlines for corner in outline]
    west, east = _span([longitude for longitude, _ in every])
    south, north = _span([latitude for _, latitude in every])
    is_fine = max(east - west, north - south) < _COARSE_DEGREES
    if not is_fine:
        south, north = _not_narrow(south, north, east - west)
    view = (west, max(south, -90.0), east, min(north, 90.0))
    figure = Figure(figsize=(8, 5), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(1, 2 if is_fine else 1, width_ratios=(5, 3) if is_fine else (1,))
    axes = figure.add_subplot(grid[0, 0])
    _draw_scenes(axes, outlines)
    _show(axes, view)
    axes.set_xlabel("longitude (degrees east)")
    axes.set_ylabel("latitude (degrees north)")
    axes.grid(linewidth=0.4, alpha=0.5)
    axes.ticklabel_format(useOffset=False)
    if is_fine:
        _draw_surroundings(figure.add_subplot(grid[0, 1]), view)
    else:
        _draw_land(axes)
    figure.legend(title="split (scenes)", loc="outside upper center", ncols=len(_COLOURS))
    figure.supxlabel("Coasts and borders: Natural Earth", fontsize=7, color="0.4")
    figure.savefig(path, bbox_inches="tight")


def _draw_scenes(axes: Axes, outlines: Sequence[tuple[str, Outline]]) -> None:
    for split, colour in _COLOURS.items():
        corners = [outline for name, outline in outlines if name == split]
        if not corners:
            continue
        axes.add_collection(PolyCollection(corners, facecolors=colour, edgecolors=colour, alpha=0.35, linewidths=0.8))
        centres = [[sum(values) / len(values) for values in zip(*outline, strict=True)] for outline in corners]
        longitudes, latitudes = zip(*centres, strict=True)
        label = f"{split} ({len(corners)})"
        axes.scatter(longitudes, latitudes, s=14, c=colour, marker=_MARKERS[split], label=label, linewidths=0)


def _draw_surroundings(axes: Axes, view: View) -> None:
    """Where on Earth the finer map is: a frame around it, or a mark where that would be too small to be seen."""
    west, south, east, north = view
    longitude, latitude = (west + east) / 2, (south + north) / 2
    half = _AROUND_DEGREES / 2
    across = half / max(math.cos(math.radians(latitude)), 0.25)
    _draw_land(axes)
    _show(axes, (longitude - across, max(latitude - half, -90.0), longitude + across, min(latitude + half, 90.0)))
    axes.add_patch(Rectangle((west, south), east - west, north - south, fill=False, edgecolor="black", linewidth=1))
    axes.plot([longitude], [latitude], marker="o", markersize=16, fillstyle="none", color="black", markeredgewidth=1.2)
    axes.set_title("where this is", fontsize=9)
    axes.tick_params(labelsize=7)


def _draw_land(axes: Axes) -> None:
    axes.set_facecolor(_SEA)
    # A map may run on across the antimeridian.
    rings = [ring + np.array([turn, 0]) for ring in land_rings() for turn in (-360, 0, 360)]
    axes.add_collection(
        PolyCollection(rings, facecolors=_LAND, edgecolors=_COAST, linewidths=0.5, zorder=0.5), autolim=False
    )


def _show(axes: Axes, view: View) -> None:
    west, south, east, north = view
    axes.set_xlim(west, east)
    axes.set_ylim(south, north)
    # A degree of longitude is shorter than one of latitude; beyond 75 degrees the map would become a line.
    axes.set_aspect(1 / math.cos(math.radians(min(abs(south + north) / 2, 75))), adjustable="box")


def _not_narrow(south: float, north: float, across: float) -> tuple[float, float]:
    """Latitudes that make a map of `across` degrees of longitude at least half as high as wide."""
    middle = (south + north) / 2
    half = max(north - south, 0.5 * across * math.cos(math.radians(min(abs(middle), 75)))) / 2
    return middle - half, middle + half


def _span(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    margin = max(0.08 * (high - low), 0.01)
    return low - margin, high + margin
