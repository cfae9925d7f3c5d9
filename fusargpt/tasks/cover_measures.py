"""What can be measured on a land-cover map: where a class lies, its patches, and how boundaries run.

Masks are bool [H, W]; lengths come in pixels.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_ROWS = ("upper", "middle", "lower")
_COLUMNS = ("left", "centre", "right")
_SIDES = ("on the left side", "down the middle", "on the right side")
_BANDS = ("in the upper part", "across the middle", "in the lower part")
# Of the standard deviation of the whole image's coordinates: a class spread wider than this reaches from edge to edge.
_WIDE = 0.85
# Crofton's formula: a line of length L crosses the four families of grid lines 8 / pi * L times, diagonals weighted.
_CROFTON = np.pi / 8
_DIAGONAL_WEIGHT = np.sqrt(0.5)
_STRAIGHT_PIXELS = 1.0
_STRAIGHT_SHARE = 0.02
_BENT_RATIO = 2.5
_PAIR_BASE = 256  # above every class, so that two classes make one number


def cell_name(row: int, column: int) -> str:
    """Name of one of the nine cells of the image, row and column in 0..2: "upper left", "centre", "lower centre"."""
    return "centre" if (row, column) == (1, 1) else f"{_ROWS[row]} {_COLUMNS[column]}"


def where(mask: NDArray[np.bool_]) -> str:
    """Where in the image a class lies, as an adverbial: "in the upper left", "down the middle", "across the image".

    Raises:
        ValueError: the mask is empty.
    """
    if not mask.any():
        raise ValueError("the mask is empty: a class that is absent lies nowhere")
    if mask.all():
        return "everywhere in the image"
    spread, third = [], []
    for axis, indices in enumerate(np.nonzero(mask)):
        size = mask.shape[axis]
        position = (indices + 0.5) / size
        # One row or column has no spread to compare with; it reaches from edge to edge of itself.
        width = 1.0 if size == 1 else float(position.std() / np.sqrt((1 - 1 / size**2) / 12))
        spread.append(width >= _WIDE)
        # Within what room its width leaves it: a left half has its centre in the middle third and lies on the left.
        room = (position.mean() - width / 2) / (1 - width) if width < 1 else 0.5
        third.append(min(max(int(room * 3), 0), 2))
    if all(spread):
        return "over most of the image" if mask.mean() >= 0.5 else "across the image"
    if spread[0]:
        return _SIDES[third[1]]
    if spread[1]:
        return _BANDS[third[0]]
    # A ring or an L has its centroid beside itself: then the fullest cell says more.
    rows, columns = np.nonzero(mask)
    counts = np.bincount(rows * 3 // mask.shape[0] * 3 + columns * 3 // mask.shape[1], minlength=9)
    row, column = third if counts[third[0] * 3 + third[1]] else divmod(int(counts.argmax()), 3)
    return f"in the {cell_name(row, column)}"


def patches(cover: NDArray[np.integer], known: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Connected patches (by edges) of equal class.

    Returns:
        int32 [H, W], the patch of each pixel from 1 on and 0 where the class is not known; int64 [P], pixels a patch.
    """
    # Runs of equal pixels in a row, numbered from the first on: far fewer than pixels.
    begins = np.ones(cover.shape, bool)
    begins[:, 1:] = (cover[:, 1:] != cover[:, :-1]) | (known[:, 1:] != known[:, :-1])
    runs = np.cumsum(begins.ravel()).reshape(cover.shape) - 1
    same = (cover[:-1] == cover[1:]) & known[:-1] & known[1:]
    # Two runs that touch are told once, by the first pixel at which they do.
    same[:, 1:] &= ~same[:, :-1] | begins[:-1, 1:] | begins[1:, 1:]
    first, second = runs[:-1][same], runs[1:][same]
    # Union-find over all pairs at once: a root hangs itself on a smaller neighbouring root, then every path is cut.
    root = np.arange(runs[-1, -1] + 1)
    while (apart := root[first] != root[second]).any():
        first, second = first[apart], second[apart]
        ends = np.sort(np.stack([root[first], root[second]]), 0)
        np.minimum.at(root, ends[1], ends[0])
        while not np.array_equal(shorter := root[root], root):
            root = shorter
    inside = known[begins]
    lengths = np.diff(np.flatnonzero(begins), append=cover.size)
    labels = np.zeros(len(root), np.int32)
    roots, found = np.unique(root[inside], return_inverse=True)
    labels[inside] = found + 1
    return labels[runs], np.bincount(found, lengths[inside], len(roots)).astype(np.int64)


@dataclass(frozen=True)
class Boundary:
    """The boundary between two classes: its length in pixels, and whether it is "straight", "bent" or "irregular"."""

    classes: tuple[int, int]
    length: float
    course: str


def longest_boundary(cover: NDArray[np.integer], known: NDArray[np.bool_]) -> Boundary | None:
    """The longest boundary between two known classes; None where no two of them touch."""
    crossings: dict[tuple[int, int], list[NDArray[np.float64]]] = {}
    lengths: dict[tuple[int, int], float] = {}
    height, width = cover.shape
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        one = (slice(0, height - down), slice(max(-right, 0), width - max(right, 0)))
        other = (slice(down, height), slice(max(right, 0), width - max(-right, 0)))
        differs = (cover[one] != cover[other]) & known[one] & known[other]
        points = np.argwhere(differs) + (one[0].start, one[1].start) + np.array([down, right]) / 2
        low, high = np.sort(np.stack([cover[one][differs], cover[other][differs]]), 0).astype(np.int64)
        pairs = low * _PAIR_BASE + high
        weight = _DIAGONAL_WEIGHT if down and right else 1.0
        for pair in np.unique(pairs).tolist():
            key = divmod(pair, _PAIR_BASE)
            chosen = pairs == pair
            lengths[key] = lengths.get(key, 0.0) + _CROFTON * weight * float(chosen.sum())
            if not (down and right):
                crossings.setdefault(key, []).append(points[chosen])
    touching = {key: length for key, length in lengths.items() if key in crossings}
    if not touching:
        return None
    pair = max(touching, key=lambda key: (touching[key], key))
    return Boundary(pair, *_course(np.concatenate(crossings[pair]), touching[pair]))


def principal_axes(points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Coordinates of points [N, 2] along and across the direction in which they extend most."""
    centred = points - points.mean(0)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    return centred @ vectors[:, 1], centred @ vectors[:, 0]


def _course(points: NDArray[np.float64], length: float) -> tuple[float, str]:
    along, across = principal_axes(points)
    extent = float(np.ptp(along)) + 1
    if np.abs(across).max() <= max(_STRAIGHT_PIXELS, _STRAIGHT_SHARE * extent) and length < 1.3 * extent:
        return extent, "straight"
    diagonal = float(np.hypot(*(np.ptp(points, axis=0) + 1)))
    return length, "bent" if length <= _BENT_RATIO * diagonal else "irregular"
