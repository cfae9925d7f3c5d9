"""The curves of a report as lines in a square: reliability, risk over coverage, precision over recall."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SIDE = 100.0
"""Of the square, whose origin is at its upper left."""


@dataclass(frozen=True)
class Line:
    """An entry's curve.

    Attributes:
        label: of the entry.
        colour: its number.
        path: of an SVG, in the square.
        dots: (x, y, radius, what it says) of points that stand for more or fewer.
    """

    label: str
    colour: int
    path: str
    dots: Sequence[tuple[float, float, float, str]] = ()


@dataclass(frozen=True)
class Chart:
    """A square with curves; both axes run from 0, the upper one to `highest`.

    Attributes:
        title: task and kind.
        across: what the horizontal axis is.
        up: what the vertical one is.
        highest: share at the top of the square.
        diagonal: whether a line marks where both are alike.
        lines: of the entries.
    """

    title: str
    across: str
    up: str
    highest: float = 1.0
    diagonal: bool = False
    lines: list[Line] = field(default_factory=list)


def charts(curves: Mapping[str, Mapping[str, Mapping[str, Any]]], colours: Mapping[str, int]) -> dict[str, list[Chart]]:
    """The charts by kind, as `fusargpt.evaluation.evaluated.Evaluation.curves` has their points; kinds without one stay
    empty."""
    found: dict[str, list[Chart]] = {"reliability": [], "risk": [], "precision": []}
    for task, of_entry in curves.items():
        boxes = "boxes of detect" if task == "detect" else task
        reliable = Chart(boxes, "confidence", "right", diagonal=True)
        reach = max((risk for drawn in of_entry.values() for _, risk in drawn.get("risk_coverage", ())), default=0.0)
        risky = Chart(task, "coverage", "risk", highest=_round_up(reach))
        precise = Chart(task, "recall", "precision at overlap 0.50")
        for label, drawn in of_entry.items():
            colour = colours[label]
            if bins := drawn.get("reliability"):
                reliable.lines.append(_reliability(label, colour, bins))
            if pairs := drawn.get("risk_coverage"):
                risky.lines.append(Line(label, colour, _path([(x, y / risky.highest) for x, y in pairs])))
            if values := drawn.get("precision"):
                steps = len(values) - 1
                path = _path([(place / steps, value) for place, value in enumerate(values)])
                precise.lines.append(Line(label, colour, path))
        for kind, chart in (("reliability", reliable), ("risk", risky), ("precision", precise)):
            found[kind] += [chart] if chart.lines else []
    return found


def _reliability(label: str, colour: int, bins: Sequence[Mapping[str, float]]) -> Line:
    most = max(bin_["n"] for bin_ in bins)
    dots = [
        (
            *_place(bin_["confidence"], bin_["right"]),
            # Areas are as numbers.
            1.2 + 2.8 * (bin_["n"] / most) ** 0.5,
            f"{100 * bin_['right']:.0f} % right at {100 * bin_['confidence']:.0f} %, of {bin_['n']:,.0f}",
        )
        for bin_ in bins
    ]
    return Line(label, colour, _path([(bin_["confidence"], bin_["right"]) for bin_ in bins]), dots)


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join("{:.2f} {:.2f}".format(*_place(*point)) for point in points)


def _place(across: float, up: float) -> tuple[float, float]:
    return round(SIDE * across, 2), round(SIDE * (1 - up), 2)


def _round_up(share: float) -> float:
    """The least of some shares that are not below."""
    return next(top for top in (0.02, 0.05, 0.1, 0.2, 0.5, 1.0) if share <= top or top == 1.0)
