"""Coasts and borders of the world and its large cities, for small maps that need no network.

Of Natural Earth (public domain) at 1:110 million, simplified to a tenth of a degree; `python -m scripts.make_outlines`
writes the file.
"""

import json
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

OUTLINES = "outlines.json"


@cache
def land_rings() -> tuple[NDArray[np.float64], ...]:
    """Outlines of countries, each ring float64 [N, 2] of longitude and latitude in degrees."""
    return tuple(np.array(ring, np.float64).reshape(-1, 2) / 10 for ring in _content()["land"])


@cache
def cities() -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Names of some 240 cities, and their places float64 [C, 2] in degrees."""
    found = _content()["cities"]
    return tuple(name for name, *_ in found), np.array([place for _, *place in found], np.float64)


@cache
def _content() -> dict[str, list[Any]]:
    return json.loads((files("fusargpt.geo") / OUTLINES).read_text(encoding="utf-8"))
