"""How long targets can be."""

LENGTHS_M: dict[str, tuple[float, float]] = {"ship": (10.0, 460.0), "aircraft": (8.0, 90.0)}
"""Shortest and longest: no ship was ever longer than Seawise Giant (458 m), no aircraft than the An-225 (84 m, with a
span of 88 m). What is shorter than the shortest hardly shows in images of some metres a pixel."""
GROUND = {"ship": "water", "aircraft": "built area"}
"""The land cover that carries them."""
EDGE = 1.42
"""The longer side of a box, of what lies across it, is at most so much shorter than the thing; and speckle and side
lobes lengthen it by as much."""


def possible(label: str, box: tuple[float, ...], resolution_m: float | None) -> bool:
    """Whether what fills a box can be of a class; True where there is no size to tell by."""
    if resolution_m is None or label not in LENGTHS_M:
        return True
    shortest, longest = LENGTHS_M[label]
    length = max(box[2] - box[0], box[3] - box[1]) * resolution_m
    return shortest / EDGE <= length <= longest * EDGE
