"""Boxes against ships of which only a pixel is known: precision over boxes, recall over ships."""

from collections.abc import Sequence

from fusargpt.metrics.tally import Tally

TOLERANCE = 2.0  # pixels

Box = Sequence[float]
"""x1, y1, x2, y2: pixel edges."""
Ship = tuple[float, float]
"""x, y of the centre of the brightest pixel."""


def holds(box: Box, ship: Ship) -> bool:
    """Whether a ship's brightest pixel lies in the box, or within `TOLERANCE` of it."""
    x1, y1, x2, y2 = box
    x, y = ship
    return x1 - TOLERANCE <= x <= x2 + TOLERANCE and y1 - TOLERANCE <= y <= y2 + TOLERANCE


def on_ship(boxes: Sequence[Box], ships: Sequence[Ship]) -> Tally:
    """Precision: the share of boxes that are on a ship. Two boxes on one ship both are."""
    return Tally.mean([float(any(holds(box, ship) for ship in ships)) for box in boxes])


def found(boxes: Sequence[Box], ships: Sequence[Ship]) -> Tally:
    """Recall: the share of ships that have a box."""
    return Tally.mean([float(any(holds(box, ship) for box in boxes)) for ship in ships])
