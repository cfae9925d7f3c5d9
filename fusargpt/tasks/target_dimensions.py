"""The targets of an image in the eight dimensions of the FUSAR-GEOVL annotation scheme for targets.

Beside `eight_dimensions`, which describes the place. Nothing is said that boxes, labels, land cover and resolution do
not show: `feature` is the form of the boxes, `size` their diagonal, `region` the land cover beneath them and
`environment` that around them. What is not known is None, and a scene without targets says so in every dimension.

A phrase is chosen by the scene alone: equal scenes give equal phrases, and of two phrases of one dimension at most one
is true of a scene. Numbers of targets are exact, lengths are told by classes.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fusargpt.errors import InputError
from fusargpt.geo.land_classes import LANDCOVER_CLASSES
from fusargpt.tasks.cover_measures import cell_name, principal_axes
from fusargpt.tasks.eight_dimensions import CLOSE_SHARE, MAX_CELLS, ROW_RATIO, UNKNOWN
from fusargpt.tasks.prompts import GRID_SIDE, cell_of
from fusargpt.tasks.wordings import series, several

ELONGATED = 1.3  # longer side / shorter side of a box, from here on
SIZE_CLASSES_M = (25, 50, 100, 150, 200, 400)
AROUND_SHARE = 0.1  # of the image's longer side: what is so near to a box is its environment
AROUND_TRACE = 0.05  # of the environment: smaller classes go unmentioned
UNKNOWN_GROUND = "unknown ground"
MOST_IN = "all over the image, most in the "
CELL_NAMES = tuple(cell_name(*divmod(cell, GRID_SIDE)) for cell in range(GRID_SIDE**2))


class TargetBox(NamedTuple):
    """Pixel edges [x1, y1, x2, y2] of a target, its class, and its finer class or ""."""

    box: Sequence[float]
    label: str
    fine_label: str = ""


@dataclass(frozen=True)
class TargetDescription:
    """The eight dimensions, each a phrase in lower case without a full stop, or None where it is not known.

    count: "three ships", "one aircraft and two ships"
    location: "in the upper left and the centre": the cells of a 3x3 grid that hold centres of targets
    feature: "boxes mostly wider than high"
    size: "50 to 150 m across": classes of the boxes' diagonals, from the smallest to the largest
    category: "ship (cargo ship and tanker)"
    distribution: "close together", "in a row", "scattered", "alone"
    region: "built area and water": what lies beneath the targets
    environment: "crops and water": what lies around them
    """

    count: str | None
    location: str | None
    feature: str | None
    size: str | None
    category: str | None
    distribution: str | None
    region: str | None
    environment: str | None


NO_TARGETS = TargetDescription(
    count="no targets",
    location="nowhere in the image",
    feature="none",
    size="none",
    category="none",
    distribution="nowhere",
    region="nothing",
    environment="nothing",
)


def describe_targets(
    targets: Sequence[TargetBox],
    size: tuple[int, int],
    cover: NDArray[np.integer] | None = None,
    resolution_m: float | None = None,
) -> TargetDescription:
    """The description of the targets of one image.

    Args:
        targets: all that there are of the classes that were annotated.
        size: width and height of the image in pixels.
        cover: int [H, W], Dynamic World classes 0..8 of its pixels, -1 where unknown; None where there is no such map.
        resolution_m: metres of ground a pixel; None where unknown.

    Raises:
        InputError: a cover of another size than the image or with another class, a resolution that is not positive, or
            a box whose edges are not finite or whose centre lies outside the image.
    """
    _check(targets, size, cover, resolution_m)
    if not targets:
        return NO_TARGETS
    # Sorted, since rounding would differ with the order in which they are summed.
    corners = np.array(sorted(tuple(item.box) for item in targets), np.float64)
    return TargetDescription(
        count=series([several(label, count) for label, count in sorted(Counter(t.label for t in targets).items())]),
        location=_location(targets, size),
        feature=_feature(corners),
        size=None if resolution_m is None else _size(corners, resolution_m),
        category=category({item.label: {t.fine_label for t in targets if t.label == item.label} for item in targets}),
        distribution=_distribution(corners, size),
        region=None if cover is None else _region(corners, cover),
        environment=None if cover is None else _environment(corners, cover),
    )


def in_cells(cells: Collection[int]) -> str:
    """Where targets lie that are in so few cells (0..8, row by row) that each is named: "in the centre"."""
    return "in " + series([f"the {CELL_NAMES[cell]}" for cell in sorted(cells)])


def category(classes: Mapping[str, Collection[str]]) -> str:
    """Classes with their finer classes ("" is none): "aircraft and ship (cargo ship and tanker)"."""
    named = [(label, sorted({*fine} - {""})) for label, fine in sorted(classes.items())]
    return series([f"{label} ({series(fine)})" if fine else label for label, fine in named])


def _check(
    targets: Sequence[TargetBox],
    size: tuple[int, int],
    cover: NDArray[np.integer] | None,
    resolution_m: float | None,
) -> None:
    width, height = size
    if cover is not None:
        if cover.shape != (height, width) or not cover.size:
            raise InputError(f"land cover: found shape {list(cover.shape)}; expected [{height}, {width}], the image's")
        low, high = int(cover.min()), int(cover.max())
        if low < UNKNOWN or high >= len(LANDCOVER_CLASSES):
            found = low if low < UNKNOWN else high
            raise InputError(f"land cover: found class {found}; expected 0 to 8, or -1 where unknown")
    if resolution_m is not None and not (np.isfinite(resolution_m) and resolution_m > 0):
        raise InputError(f"resolution_m: found {resolution_m:g}; expected metres, above 0")
    for x1, y1, x2, y2 in (item.box for item in targets):
        if not (0 <= x1 + x2 <= 2 * width and 0 <= y1 + y2 <= 2 * height and x1 < x2 and y1 < y2):
            raise InputError(
                f"target: found box [{x1:g}, {y1:g}, {x2:g}, {y2:g}]; expected x1 < x2, y1 < y2 and its centre in the "
                f"image of {width} x {height} pixels"
            )


def _location(targets: Sequence[TargetBox], size: tuple[int, int]) -> str:
    cells = Counter(cell_of(item.box, *size) - 1 for item in targets)
    if len(cells) <= MAX_CELLS:
        return in_cells(cells)
    (fullest, most), (_, second) = cells.most_common(2)
    return f"{MOST_IN}{CELL_NAMES[fullest]}" if most > second else "all over the image"


def _feature(corners: NDArray[np.float64]) -> str:
    width, height = corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1]
    forms = {
        "wider than high": width >= ELONGATED * height,
        "higher than wide": height >= ELONGATED * width,
    }
    forms["about as wide as high"] = ~np.logical_or(*forms.values())
    for form, shown in forms.items():
        if shown.all():
            return f"boxes {form}"
        if shown.mean() > 0.5:
            return f"boxes mostly {form}"
    return "boxes of different forms"


def _size(corners: NDArray[np.float64], resolution_m: float) -> str:
    across = np.hypot(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1]) * resolution_m
    low = max((edge for edge in SIZE_CLASSES_M if edge <= across.min()), default=0)
    high = min((edge for edge in SIZE_CLASSES_M if edge > across.max()), default=0)
    if high:
        return f"{low} to {high} m across" if low else f"up to {high} m across"
    largest = SIZE_CLASSES_M[-1]
    return f"more than {largest} m across" if low == largest else f"{low} to over {largest} m across"


def _distribution(corners: NDArray[np.float64], size: tuple[int, int]) -> str:
    if len(corners) == 1:
        return "alone"
    centres = (corners[:, :2] + corners[:, 2:]) / 2
    along, across = principal_axes(centres)
    # As `layout` tells it of three objects and more.
    if np.ptp(along) < CLOSE_SHARE * np.hypot(*size):
        return "close together"
    return "in a row" if len(corners) > 2 and np.ptp(across) < ROW_RATIO * np.ptp(along) else "scattered"


def _whole(corners: NDArray[np.float64], margin: int, shape: tuple[int, ...]) -> list[tuple[slice, slice]]:
    """Windows of whole pixels that the boxes touch, `margin` pixels wider on every side, inside the image."""
    low = np.maximum(np.floor(corners[:, :2]).astype(int) - margin, 0)
    high = np.minimum(np.ceil(corners[:, 2:]).astype(int) + margin, shape[::-1])
    return [(slice(y1, y2), slice(x1, x2)) for (x1, y1), (x2, y2) in zip(low, high, strict=True)]


def _region(corners: NDArray[np.float64], cover: NDArray[np.integer]) -> str | None:
    beneath = [np.bincount(cover[window].ravel() + 1).argmax() - 1 for window in _whole(corners, 0, cover.shape)]
    return _ground({int(index) for index in beneath})


def _environment(corners: NDArray[np.float64], cover: NDArray[np.integer]) -> str | None:
    around = np.zeros(cover.shape, bool)
    for window in _whole(corners, round(AROUND_SHARE * max(cover.shape)), cover.shape):
        around[window] = True
    for window in _whole(corners, 0, cover.shape):
        around[window] = False
    counts = np.bincount(cover[around] + 1)
    return _ground({int(index) - 1 for index in np.flatnonzero(counts > AROUND_TRACE * counts.sum())})


def _ground(classes: set[int]) -> str | None:
    named = [LANDCOVER_CLASSES[index] for index in sorted(classes - {UNKNOWN})]
    return series([*named, *([UNKNOWN_GROUND] if UNKNOWN in classes else [])]) if named else None
