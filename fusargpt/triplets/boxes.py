"""Boxes of objects, what their classes are called here, and how they are dealt out to chips.

Boxes are [x1, y1, x2, y2] in continuous pixels, (0, 0) the outer corner of the first pixel: the edges of the box. At
the edges of an image or of a chip:

- A box belongs to it when at least `min_visible` (half, unless told otherwise) of the box's area lies inside; it is
  then clipped to the inside.
- A box of which less is visible is *cut*: it is no object of the chip, and the chip is asked no question about its
  class, because "how many" would have two right answers.
- What shows less than a pixel in width or height cannot be seen and does not count as cut.

A crowd, the box of an unknown number of objects, is no object either: a chip that shows some of it is asked as little
about its class as one that shows a cut object.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import shapely

from fusargpt.errors import InputError
from fusargpt.tasks.target_names import check_target

IGNORE = "ignore"
"""The label that `--label NAME=ignore` gives to objects that the dataset does not know."""

MIN_VISIBLE = 0.5
_SMALLEST_VISIBLE = 1.0  # pixels in each direction

PixelBox = tuple[float, float, float, float]


@dataclass(frozen=True)
class Box:
    """One object.

    Attributes:
        edges: in pixels.
        label: its class.
        fine_label: what is known beyond the class, or "".
        corners: (x, y) in pixels of the polygon that the edges are about, whole even where they are clipped; empty
            where it was annotated as an upright box.
    """

    edges: PixelBox
    label: str
    fine_label: str = ""
    corners: tuple[tuple[float, float], ...] = ()

    @property
    def area(self) -> float:
        x1, y1, x2, y2 = self.edges
        return (x2 - x1) * (y2 - y1)


@dataclass(frozen=True)
class LabelNames:
    """Which class of the dataset each label of the annotations is.

    Attributes:
        targets: the classes that questions are asked about; None takes every label for one.
        mapping: from a label to a class, or to "ignore"; the classes themselves need no entry.
    """

    targets: tuple[str, ...] | None
    mapping: Mapping[str, str]

    def __post_init__(self) -> None:
        for name, target in self.mapping.items():
            if target == IGNORE:
                continue
            check_target(target, f"label {name}={target}")
            if self.targets is not None and target not in self.targets:
                raise InputError(
                    f"label {name}={target}: expected one of {', '.join((*self.targets, IGNORE))} after the ="
                )

    def normalise(self, box: Box) -> Box | None:
        """The box under its class, its own label kept as the fine one where there was none; None to leave it out.

        Raises:
            InputError: a label that is neither a class, nor mapped to one, or that can be none.
        """
        label = self.mapping.get(box.label, box.label)
        if label == IGNORE:
            return None
        if self.targets is not None and label not in self.targets:
            raise InputError(
                f"label {box.label!r} is not known; say what it is with --label {box.label}=NAME, where NAME is one of "
                f"{', '.join((*self.targets, IGNORE))}"
            )
        try:
            check_target(label, "label")
        except InputError as error:
            raise InputError(f"{error}; say what it is with --label {label}=NAME, or {label}={IGNORE}") from error
        return replace(box, label=label, fine_label=box.fine_label or (box.label if box.label != label else ""))


class PlacedBoxes:
    """Boxes of a scene that are found by place, so that a chip of a large scene looks at those near it alone."""

    def __init__(self, boxes: Sequence[Box]) -> None:
        self._boxes = tuple(boxes)
        x1, y1, x2, y2 = np.array([box.edges for box in self._boxes], np.float64).reshape(-1, 4).T
        self._tree = shapely.STRtree(shapely.box(x1, y1, x2, y2))

    def near(self, chip: PixelBox) -> list[Box]:
        """Those that touch a chip, in the order given."""
        return [self._boxes[index] for index in sorted(self._tree.query(shapely.box(*chip)).tolist())]


def assign(
    boxes: Sequence[Box], chip: PixelBox, min_visible: float = MIN_VISIBLE, crowds: Sequence[Box] = ()
) -> tuple[tuple[Box, ...], tuple[str, ...]]:
    """The objects of a chip, and the classes of which it shows cut ones.

    Args:
        boxes: of the scene, in its pixels; those that do not touch the chip may be left out.
        chip: edges of the chip in the scene's pixels.
        min_visible: share of a box's area that has to lie inside, above 0 and at most 1.
        crowds: each of an unknown number of objects.

    Returns:
        The boxes that belong to the chip, clipped to it and in its own pixels, in the order given; and the labels of
        cut boxes and of crowds, sorted.
    """
    left, top = chip[:2]
    objects, cut = [], {crowd.label for crowd in crowds if visible_part(crowd.edges, chip) is not None}
    for box in boxes:
        inside = visible_part(box.edges, chip)
        if inside is None:
            continue
        clipped = replace(box, edges=inside)
        # Against rounding: half of a box is half of it wherever the box lies.
        if clipped.area >= (min_visible - 1e-9) * box.area:
            x1, y1, x2, y2 = inside
            corners = tuple((x - left, y - top) for x, y in box.corners)
            objects.append(replace(box, edges=(x1 - left, y1 - top, x2 - left, y2 - top), corners=corners))
        else:
            cut.add(box.label)
    return tuple(objects), tuple(sorted(cut))


def scale(box: Box, factor_x: float, factor_y: float, width: int, height: int) -> tuple[int, int, int, int]:
    """Whole-pixel edges of a box after its chip was resized to `width` x `height`, at least one pixel each way."""
    x1, y1, x2, y2 = box.edges
    left, right = _whole(x1 * factor_x, x2 * factor_x, width)
    top, bottom = _whole(y1 * factor_y, y2 * factor_y, height)
    return left, top, right, bottom


def _whole(low: float, high: float, size: int) -> tuple[int, int]:
    first = min(max(round(low), 0), size - 1)
    return first, max(min(round(high), size), first + 1)


def visible_part(box: PixelBox, chip: PixelBox) -> PixelBox | None:
    """The part of `box` inside `chip`; None where less than a pixel of it shows, unless the box itself is smaller."""
    x1, y1 = max(box[0], chip[0]), max(box[1], chip[1])
    x2, y2 = min(box[2], chip[2]), min(box[3], chip[3])
    # A box that is itself narrower than a pixel is seen where it lies.
    wide, high = min(_SMALLEST_VISIBLE, box[2] - box[0]), min(_SMALLEST_VISIBLE, box[3] - box[1])
    return (x1, y1, x2, y2) if x2 - x1 >= wide * (1 - 1e-9) and y2 - y1 >= high * (1 - 1e-9) else None
