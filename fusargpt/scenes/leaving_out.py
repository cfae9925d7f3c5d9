"""Targets that were found where none is wanted, or none can be: outside the area that is asked about, and on land."""

from collections.abc import Sequence
from dataclasses import replace

from fusargpt.scenes.areas import Area
from fusargpt.scenes.layers import Place


def without_outside(places: Sequence[Place], area: Area | None) -> tuple[list[Place], int]:
    """The places without boxes whose centre lies outside an area, and how many these were; tiles and cells all stay."""
    if area is None or not places:
        return list(places), 0
    inside = area.holds([place.box for place in places])
    kept = [place for place, stays in zip(places, inside, strict=True) if stays or "kind" in place.properties]
    return kept, len(places) - len(kept)


def without_land(places: Sequence[Place], land: Area | None) -> tuple[list[Place], int]:
    """The places without boxes whose centre lies on land and cells that do as a whole, and how many these were.

    The `cells` of a tile then name them no more. How many of the ships that a tile counts lie on its land part is not
    known, so counts stay.
    """
    if land is None or not places:
        return list(places), 0
    boxes = [place.box for place in places]
    centres, wholes = land.holds(boxes), land.covers(boxes)
    kept: list[Place] = []
    dropped: dict[str, set[str]] = {}
    for place, centre, whole in zip(places, centres, wholes, strict=True):
        kind = place.properties.get("kind")
        if kind is None and centre:
            continue
        if kind == "cell" and whole:
            dropped.setdefault(place.properties["tile"], set()).add(str(place.properties["cell"]))
            continue
        kept.append(place)
    count = len(places) - len(kept)
    return [_naming_others(place, dropped.get(place.properties["tile"], set())) for place in kept], count


def _naming_others(place: Place, dropped: set[str]) -> Place:
    cells = place.properties.get("cells")
    if not cells or not dropped:
        return place
    left = ",".join(cell for cell in cells.split(",") if cell not in dropped)
    return replace(place, properties={**place.properties, "cells": left})
