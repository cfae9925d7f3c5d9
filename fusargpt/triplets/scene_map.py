"""Where the scenes of a dataset lie: footprints on longitude and latitude, one colour a split."""

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

Outline = Sequence[tuple[float, float]]
"""Corners (longitude, latitude) in degrees."""

_COLOURS = {"train": "#2563a8", "validation": "#d97b16", "test": "#b3263a"}
_MARKERS = {"train": "o", "validation": "s", "test": "^"}


def draw_map(path: Path, outlines: Sequence[tuple[str, Outline]]) -> None:
    """Write a PNG of the outlines of scenes, each with its split; a mark at each centre keeps small ones visible."""
    figure = Figure(figsize=(8, 5), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for split, colour in _COLOURS.items():
        corners = [outline for name, outline in outlines if name == split]
        if not corners:
            continue
        axes.add_collection(PolyCollection(corners, facecolors=colour, edgecolors=colour, alpha=0.35, linewidths=0.8))
        centres = [[sum(values) / len(values) for values in zip(*outline, strict=True)] for outline in corners]
        longitudes, latitudes = zip(*centres, strict=True)
        label = f"{split} ({len(corners)})"
        axes.scatter(longitudes, latitudes, s=14, c=colour, marker=_MARKERS[split], label=label, linewidths=0)
    every = [corner for _, outline in outlines for corner in outline]
    west, east = _span([longitude for longitude, _ in every])
    south, north = _span([latitude for _, latitude in every])
    axes.set_xlim(west, east)
    axes.set_ylim(max(south, -90), min(north, 90))
    # A degree of longitude is shorter than one of latitude; beyond 75 degrees the map would become a line.
    axes.set_aspect(1 / math.cos(math.radians(min(abs(south + north) / 2, 75))), adjustable="box")
    axes.set_xlabel("longitude (degrees east)")
    axes.set_ylabel("latitude (degrees north)")
    axes.grid(linewidth=0.4, alpha=0.5)
    axes.ticklabel_format(useOffset=False)
    figure.legend(title="split (scenes)", loc="outside upper center", ncols=len(_COLOURS))
    figure.savefig(path, bbox_inches="tight")


def _span(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    margin = max(0.08 * (high - low), 0.01)
    return low - margin, high + margin
