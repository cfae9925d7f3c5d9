"""Answers as GeoJSON (RFC 7946): what a detection boxes and a localization names, as polygons on Earth."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from fusar_geo.errors import InputError
from modeling_fusargpt.tasks import GRID_SIDE
from space_app.answering import Answer
from space_app.drawing import clip_box
from space_app.scenes import UploadedScene

_POINTS_PER_EDGE = 8
_DECIMALS = 7
"""Of degrees: a centimetre."""


def feature_collection(scene: UploadedScene, answers: Sequence[Answer]) -> dict[str, Any]:
    """The outline of the image, and for each answer its boxes or cells, each with the question it answers.

    Raises:
        InputError: the image has no place, or a part of it lies nowhere on Earth.
    """
    width, height = scene.seen.size
    features = [_feature(scene, (0, 0, width, height), {"kind": "image", "name": scene.name})]
    for answer in answers:
        asked = {"question": answer.question, "anchors": answer.anchors, "answer": answer.text}
        if answer.boxes is None and answer.cells is None:
            features.append(_feature(scene, (0, 0, width, height), {"kind": "answer", **asked}))
        for cell in answer.cells or ():
            features.append(_feature(scene, _cell(cell, width, height), {"kind": "cell", "cell": cell, **asked}))
        for box, label in answer.boxes or ():
            if inside := clip_box(box, width, height):
                properties = {"kind": "box", "label": label, "bbox_2d": box, **asked}
                features.append(_feature(scene, inside, properties))
    return {"type": "FeatureCollection", "features": features}


def _cell(cell: int, width: int, height: int) -> tuple[float, float, float, float]:
    row, column = divmod(cell - 1, GRID_SIDE)
    x, y = width / GRID_SIDE, height / GRID_SIDE
    return column * x, row * y, (column + 1) * x, (row + 1) * y


def _feature(
    scene: UploadedScene, box: tuple[float, float, float, float], properties: dict[str, Any]
) -> dict[str, Any]:
    lonlat = scene.lonlat(_edge(box))
    if not np.isfinite(lonlat).all():
        raise InputError(f"{scene.name}: a part of the image lies nowhere on Earth by its georeference")
    return {"type": "Feature", "properties": properties, "geometry": _geometry(lonlat)}


def _edge(box: tuple[float, float, float, float]) -> np.ndarray:
    """Points along a box, float64 [N, 2]: what is straight in the image may be bent on a map."""
    x1, y1, x2, y2 = box
    ahead = np.linspace(0, 1, _POINTS_PER_EDGE, endpoint=False)
    corners = [(x1, y1), (x1, y2), (x2, y2), (x2, y1), (x1, y1)]
    edges = [np.outer(1 - ahead, a) + np.outer(ahead, b) for a, b in pairwise(corners)]
    return np.concatenate(edges)


def _geometry(lonlat: np.ndarray) -> dict[str, Any]:
    """A polygon, counter-clockwise; two of them where the antimeridian is crossed."""
    ring = np.column_stack([np.unwrap(lonlat[:, 0], period=360), lonlat[:, 1]])
    x, y = ring.T
    if np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y) < 0:
        ring = ring[::-1]
    low, high = ring[:, 0].min(), ring[:, 0].max()
    for border in (-180.0, 180.0):
        if low < border < high:
            west, east = _half(ring, border, keep_east=False), _half(ring, border, keep_east=True)
            return {"type": "MultiPolygon", "coordinates": [[_closed(west)], [_closed(east)]]}
    return {"type": "Polygon", "coordinates": [_closed(ring)]}


def _half(ring: np.ndarray, border: float, keep_east: bool) -> np.ndarray:
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


def _closed(ring: np.ndarray) -> list[list[float]]:
    """Positions with the first repeated at the end, longitudes in [-180, 180]."""
    # By the middle of the ring, so that a ring that ends on the antimeridian stays on its side of it.
    turns = np.round((ring[:, 0].min() + ring[:, 0].max()) / 2 / 360) * 360
    points = [[round(float(x - turns), _DECIMALS), round(float(y), _DECIMALS)] for x, y in ring]
    return [*points, points[0]]
