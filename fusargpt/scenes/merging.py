"""Boxes of overlapping tiles become one list of objects.

A box at an edge that its tile shares with others was perhaps cut by it, and loses to those that were seen whole. Among
these the one of which the model was surest wins, and where it gives no scores, or equal ones, the one farthest from
those edges. Where all of them are cut, as of a ship longer than the overlap, their union is taken.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from fusargpt.geo.box_drawing import clip_box
from fusargpt.scenes.tiles import Tile

_CUT_SEEN_PIXELS = 2.0
"""As the model sees the tile: a box so near to an inner edge counts as cut by it."""


@dataclass(frozen=True)
class SceneBox:
    """One object in the scene.

    Attributes:
        box: [x1, y1, x2, y2] in continuous pixels of the scene.
        label: as the model named it.
        tile: in which it was seen best.
        margin: pixels of the scene from the box to the nearest edge that its tile shares with others; infinite for a
            tile without neighbours.
        cut: whether it was perhaps cut by such an edge and no other tile shows it whole.
        tiles: in how many tiles it was seen.
        score: how sure the model was of it, 0 to 1; None where it does not say.
    """

    box: tuple[float, float, float, float]
    label: str
    tile: Tile
    margin: float
    cut: bool
    tiles: int = 1
    score: float | None = None


def place(
    box: Sequence[float],
    label: str,
    tile: Tile,
    seen: tuple[int, int],
    width: int,
    height: int,
    score: float | None = None,
) -> SceneBox | None:
    """A box of an answer in the scene of `width` x `height` pixels; None where no part of it lies on the tile.

    Args:
        box: [x1, y1, x2, y2], in any order, in pixels of the tile as the model sees it.
        label: its class.
        tile: that was asked about.
        seen: (width, height) in which the model saw it.
        width: of the scene.
        height: likewise.
        score: how sure the model was of it.
    """
    across, down = tile.side / seen[0], tile.side / seen[1]
    x1, x2 = sorted((box[0] * across + tile.left, box[2] * across + tile.left))
    y1, y2 = sorted((box[1] * down + tile.top, box[3] * down + tile.top))
    left, top, right, bottom = tile.inside(width, height)
    inside = clip_box((x1 - left, y1 - top, x2 - left, y2 - top), right - left, bottom - top)
    if inside is None:
        return None
    x1, y1, x2, y2 = inside[0] + left, inside[1] + top, inside[2] + left, inside[3] + top
    # An edge of the scene cuts nothing that a neighbour could show whole.
    margins = [np.inf]
    margins += [x1 - left] if left > 0 else []
    margins += [y1 - top] if top > 0 else []
    margins += [right - x2] if right < width else []
    margins += [bottom - y2] if bottom < height else []
    margin = float(min(margins))
    cut = margin < _CUT_SEEN_PIXELS * max(across, down)
    return SceneBox((x1, y1, x2, y2), label, tile, margin, cut, score=score)


def merge(boxes: Sequence[SceneBox], threshold: float) -> list[SceneBox]:
    """One box for each object, from top to bottom.

    Args:
        boxes: of all tiles.
        threshold: share of the smaller of two boxes of one label from which on their overlap makes them one object.
    """
    if not boxes:
        return []
    edges = np.array([found.box for found in boxes])
    labels = np.unique([found.label for found in boxes], return_inverse=True)[1]
    margins = np.array([found.margin for found in boxes])
    scores = np.array([found.score or 0.0 for found in boxes])
    whole = np.array([not found.cut for found in boxes])
    merged = []
    for members in _neighbourhoods(edges):
        for label in np.unique(labels[members]):
            alike = members[labels[members] == label]
            # The last key counts first.
            ranked = alike[np.lexsort((-margins[alike], -scores[alike], ~whole[alike]))]
            for group in _objects(edges[ranked], threshold):
                merged.append(_one([boxes[int(ranked[index])] for index in group]))
    return sorted(merged, key=lambda found: (found.box[1], found.box[0]))


def _objects(ranked: NDArray[np.float64], threshold: float) -> list[NDArray[np.intp]]:
    """Indices of boxes [N, 4], the best first, of each object: a box, and those left that overlap it by `threshold`.

    Greedy non-maximum merging, by intersection over the smaller of both boxes.
    """
    left, found = np.arange(len(ranked)), []
    areas = np.prod(ranked[:, 2:] - ranked[:, :2], axis=1)
    while len(left):
        best = left[0]
        corners = np.maximum(ranked[left, :2], ranked[best, :2]), np.minimum(ranked[left, 2:], ranked[best, 2:])
        shared = np.prod((corners[1] - corners[0]).clip(0), axis=1)
        same = shared >= threshold * np.minimum(areas[left], areas[best])
        same[0] = True
        found.append(left[same])
        left = left[~same]
    return found


def _one(group: Sequence[SceneBox]) -> SceneBox:
    """Of boxes of one object, the best first."""
    best, tiles = group[0], len({found.tile for found in group})
    if not best.cut:
        return replace(best, tiles=tiles)
    edges = np.array([found.box for found in group])
    x1, y1 = (float(value) for value in edges[:, :2].min(0))
    x2, y2 = (float(value) for value in edges[:, 2:].max(0))
    return replace(best, box=(x1, y1, x2, y2), tiles=tiles)


def _neighbourhoods(edges: NDArray[np.float64]) -> list[NDArray[np.intp]]:
    """Indices of boxes that overlap, directly or through others: what the merging compares each with each."""
    outlines = shapely.box(*edges.T)
    first, second = shapely.STRtree(outlines).query(outlines, predicate="intersects")
    graph = coo_array((np.ones(len(first), bool), (first, second)), shape=(len(edges), len(edges)))
    count, members = connected_components(graph, directed=False)
    order = np.argsort(members, kind="stable")
    return np.split(order, np.searchsorted(members[order], np.arange(1, count)))
