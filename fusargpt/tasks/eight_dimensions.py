"""A place in the eight dimensions of the FUSAR-GEOVL annotation scheme, from its land cover and its objects.

Nothing is said that land cover and objects do not show: a land cover below 1 % is a trace, what no data covers is
called unknown, and no road is seen where none is annotated (Dynamic World has no class for roads).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from fusargpt.errors import InputError
from fusargpt.geo.land_classes import BUILT, CROPS, LANDCOVER_CLASSES, WATER
from fusargpt.tasks.answers import LabelledBox
from fusargpt.tasks.cover_measures import cell_name, longest_boundary, patches, principal_axes, where
from fusargpt.tasks.prompts import GRID_SIDE, cell_of
from fusargpt.tasks.wordings import ORDERS, PLURAL_CLASSES, SENTENCES, area, distance, number, percent, series, several

UNKNOWN = -1
MOST_SHARE = 0.55
TRACE_SHARE = 0.01
PLACED_SHARE = 0.03  # of the image: smaller classes go without a place
USE_SHARE = 0.2  # of the image: from here on a class gives the place its use
LARGE_PATCH_SHARE = 0.01
COMPACT_FILL = 0.6  # of its bounding box
CLOSE_SHARE = 0.25  # of the diagonal: objects within it are close together
ROW_RATIO = 0.15  # across / along: objects within it stand in a row
STRIP_RATIO = 5.0  # a strip of built ground is at least so many times as long as wide,
STRIP_LENGTH_M, STRIP_WIDTH_M = 150.0, 80.0  # at least so long and at most so wide
STRIP_CANDIDATES = 8  # patches looked at, from the largest on
MAX_CELLS = 3  # objects in more of the nine cells than this are everywhere

_USES = {"ship": "shipping", "aircraft": "aviation", "plane": "aviation"}
_TRAFFIC = {"road", "street", "highway", "bridge", "runway", "railway"}
# Coprime to the number of texts, so that neighbouring wordings differ in every dimension and none returns early.
_STEP = 1_234_577


@dataclass(frozen=True)
class Description:
    """The eight dimensions, each a phrase in lower case without a full stop.

    `terrain`, `functionality` and `layout` are noun phrases ("mostly water (61%) and trees (39%)"), the others clauses
    ("water covers 61% (about 43 ha) and reaches the left edge").
    """

    terrain: str
    functionality: str
    distribution: str
    layout: str
    boundary: str
    buildings: str
    roads: str
    water: str

    def text(self, wording: int) -> str:
        """Eight sentences; `wording` >= 0 chooses their order and phrasing, the same number always the same.

        Raises:
            ValueError: a negative wording.
        """
        if wording < 0:
            raise ValueError(f"wording: found {wording}, expected 0 or more")
        index = wording * _STEP % (len(ORDERS) * prod(map(len, SENTENCES.values())))
        index, order = divmod(index, len(ORDERS))
        phrases, sentences = asdict(self), {}
        for dimension, wordings in SENTENCES.items():
            index, chosen = divmod(index, len(wordings))
            sentence = wordings[chosen].format(phrases[dimension])
            sentences[dimension] = sentence[0].upper() + sentence[1:]
        return " ".join(sentences[dimension] for dimension in ORDERS[order])


def describe_place(cover: NDArray[np.integer], objects: Sequence[LabelledBox], resolution_m: float) -> Description:
    """The description of one image.

    Args:
        cover: int [H, W], Dynamic World classes 0..8 of its pixels, -1 where unknown.
        objects: their boxes are in pixel edges of the image.
        resolution_m: metres of ground a pixel.

    Raises:
        InputError: a cover that is empty, not two-dimensional or holds another class, or a resolution that is not
            positive.
    """
    if cover.ndim != 2 or cover.size == 0:
        raise InputError(f"land cover: found shape {list(cover.shape)}; expected [height, width], both 1 or more")
    wrong = (cover < UNKNOWN) | (cover >= len(LANDCOVER_CLASSES))
    if wrong.any():
        raise InputError(f"land cover: found class {cover[wrong][0]}; expected 0 to 8, or -1 where unknown")
    if not (np.isfinite(resolution_m) and resolution_m > 0):
        raise InputError(f"resolution_m: found {resolution_m:g}; expected metres, above 0")
    known = cover >= 0
    counts = np.bincount(cover[known].ravel(), minlength=len(LANDCOVER_CLASSES)) / cover.size
    shares = {int(index): float(counts[index]) for index in np.argsort(-counts, kind="stable") if counts[index] > 0}
    labels, sizes = patches(cover, known)
    return Description(
        terrain=_terrain(shares, float(known.mean())),
        functionality=_functionality(shares, objects),
        distribution=_distribution(cover, shares, objects),
        layout=_layout(cover.shape, sizes, objects, resolution_m),
        boundary=_boundary(cover, known, resolution_m),
        buildings=_buildings(cover, shares, labels, sizes, resolution_m),
        roads=_roads(cover, labels, sizes, objects, resolution_m),
        water=_water(cover, shares, resolution_m),
    )


def _terrain(shares: dict[int, float], known: float) -> str:
    if not shares:
        return "an unknown surface"
    named = [(index, share) for index, share in shares.items() if share >= TRACE_SHARE]
    traces = [LANDCOVER_CLASSES[index] for index, share in shares.items() if share < TRACE_SHARE]
    parts = [f"{LANDCOVER_CLASSES[index]} ({percent(share)})" for index, share in named]
    if traces:
        parts.append(f"traces of {series(traces)}")
    if known < 1:
        parts.append(f"an unknown part ({percent(1 - known)})")
    if len(parts) == 1:
        return f"nothing but {LANDCOVER_CLASSES[next(iter(shares))]}"
    return ("mostly " if max(shares.values()) >= MOST_SHARE else "") + series(parts)


def _functionality(shares: dict[int, float], objects: Sequence[LabelledBox]) -> str:
    uses = [
        (WATER, 0.5, "open water"),
        (CROPS, USE_SHARE, "farmland"),
        (BUILT, USE_SHARE, "built-up land"),
    ]
    found = [name for index, share, name in uses if shares.get(index, 0.0) >= share]
    groups = [
        f"{_USES[label]} ({several(label, number)})" if label in _USES else several(label, number)
        for label, number in Counter(label for _, label in objects).items()
    ]
    return (series(found) or "ground without a recorded use") + (f", with {series(groups)}" if groups else "")


def _distribution(cover: NDArray[np.integer], shares: dict[int, float], objects: Sequence[LabelledBox]) -> str:
    clauses = []
    places: dict[str, list[str]] = {}
    for index, share in shares.items():
        if share >= PLACED_SHARE:
            places.setdefault(where(cover == index), []).append(LANDCOVER_CLASSES[index])
    if places:
        first, *others = ((series(names), place) for place, names in places.items())
        verb = "lie" if first[0] in PLURAL_CLASSES or " and " in first[0] else "lies"
        clauses.append(series([f"{first[0]} {verb} {first[1]}", *(f"{names} {place}" for names, place in others)]))
    height, width = cover.shape
    for label, count in Counter(label for _, label in objects).items():
        cells = Counter(cell_of(box, width, height) - 1 for box, name in objects if name == label)
        chosen = [(f"the {cell_name(*divmod(cell, GRID_SIDE))}", each) for cell, each in cells.most_common()]
        if len(chosen) > MAX_CELLS:
            place = "across the image"
        elif len(chosen) == 1:
            place = f"in {chosen[0][0]}"
        else:
            place = "in " + series([f"{name} ({number(each)})" for name, each in chosen])
        clauses.append(f"{several(label, count)} {'is' if count == 1 else 'are'} {place}")
    return "; ".join(clauses) or "no land cover is widespread enough to be placed"


def _layout(
    shape: tuple[int, int], sizes: NDArray[np.int64], objects: Sequence[LabelledBox], resolution_m: float
) -> str:
    if not len(sizes):
        return f"an unknown arrangement{_arrangement(shape, objects)}"
    height, width = (distance(side * resolution_m) for side in shape)
    shares = sizes / np.prod(shape)
    large = int((shares >= LARGE_PATCH_SHARE).sum())
    small = len(sizes) - large
    counted = [several(f"{size} patch", count) for size, count in (("large", large), ("small", small)) if count]
    if len(sizes) == 1 and shares[0] == 1:
        ground = f"a single uniform patch of {width} by {height}"
    else:
        ground = f"{series(counted)} on {width} by {height}"
        if len(sizes) > 1:
            superlative = "larger" if len(sizes) == 2 else "largest"
            ground += f", the {superlative} with {percent(float(shares.max()))} of the image"
    return ground + _arrangement(shape, objects)


def _arrangement(shape: tuple[int, int], objects: Sequence[LabelledBox]) -> str:
    """How three or more objects stand to each other; "" for fewer."""
    if len(objects) < 3:
        return ""
    centres = np.array([((box[1] + box[3]) / 2, (box[0] + box[2]) / 2) for box, _ in objects], dtype=np.float64)
    along, across = principal_axes(centres)
    if np.ptp(along) < CLOSE_SHARE * float(np.hypot(*shape)):
        return ", with the objects close together"
    return ", with the objects in a row" if np.ptp(across) < ROW_RATIO * np.ptp(along) else ", with scattered objects"


def _boundary(cover: NDArray[np.integer], known: NDArray[np.bool_], resolution_m: float) -> str:
    if not known.any():
        return "nothing is known of boundaries"
    boundary = longest_boundary(cover, known)
    if boundary is None:
        return "no boundary between land covers is seen"
    first, second = (LANDCOVER_CLASSES[index] for index in boundary.classes)
    length = distance(boundary.length * resolution_m)
    if len(np.unique(cover[known])) == 2:
        return f"the boundary between {first} and {second} is {boundary.course} and about {length} long"
    return f"the longest boundary, between {first} and {second}, is {boundary.course} and about {length} long"


def _buildings(
    cover: NDArray[np.integer],
    shares: dict[int, float],
    labels: NDArray[np.int32],
    sizes: NDArray[np.int64],
    resolution_m: float,
) -> str:
    if BUILT not in shares:
        return "no buildings are mapped" if shares else "nothing is known of buildings"
    built = cover == BUILT
    ground = area(float(built.sum()) * resolution_m**2)
    found = np.unique(labels[built])
    if len(found) == 1:
        rows, columns = np.nonzero(built)
        fill = sizes[found[0] - 1] / ((np.ptp(rows) + 1) * (np.ptp(columns) + 1))
        form = f"in one {'compact' if fill >= COMPACT_FILL else 'ragged'} patch"
    else:
        form = f"in {number(len(found))} patches"
    return f"{LANDCOVER_CLASSES[BUILT]} covers {percent(shares[BUILT])} (about {ground}), {form} {where(built)}"


def _roads(
    cover: NDArray[np.integer],
    labels: NDArray[np.int32],
    sizes: NDArray[np.int64],
    objects: Sequence[LabelledBox],
    resolution_m: float,
) -> str:
    counts = Counter(label for _, label in objects if _TRAFFIC & set(label.lower().split()))
    if counts:
        named = series([several(label, count) for label, count in counts.items()])
        return f"{named} {'is' if sum(counts.values()) == 1 else 'are'} annotated"
    built = np.unique(labels[cover == BUILT])
    for patch in built[np.argsort(-sizes[built - 1], kind="stable")][:STRIP_CANDIDATES]:
        mask = labels == patch
        along, across = principal_axes(np.argwhere(mask).astype(np.float64))
        length = float(np.ptp(along)) + 1
        width = float(sizes[patch - 1]) / length
        narrow = length >= STRIP_RATIO * width and width * resolution_m <= STRIP_WIDTH_M
        # What curls up has a small mean width too, but fills a wide band.
        if narrow and length * resolution_m >= STRIP_LENGTH_M and np.ptp(across) + 1 <= 2 * width:
            size = f"about {distance(width * resolution_m)} wide and {distance(length * resolution_m)} long"
            return f"no roads are annotated, but a straight strip of built area, {size}, lies {where(mask)}"
    return "no roads are annotated"


def _water(cover: NDArray[np.integer], shares: dict[int, float], resolution_m: float) -> str:
    if WATER not in shares:
        return "no water is mapped" if shares else "nothing is known of water"
    water = cover == WATER
    sides = {"upper": water[0], "lower": water[-1], "left": water[:, 0], "right": water[:, -1]}
    touched = [side for side, pixels in sides.items() if pixels.any()]
    if not touched:
        reach = "lies wholly inside the image"
    elif len(touched) == len(sides):
        reach = "reaches all four edges"
    else:
        reach = f"reaches the {series(touched)} edge{'s' if len(touched) > 1 else ''}"
    ground = area(float(water.sum()) * resolution_m**2)
    return f"water covers {percent(shares[WATER])} (about {ground}) and {reach}"
