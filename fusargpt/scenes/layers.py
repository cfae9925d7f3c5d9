"""What the answers of all tiles say about places in the scene: objects of a detection, layers of the other tasks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from fusargpt.errors import InputError
from fusargpt.geo.geometry import Geometry
from fusargpt.geo.measures import measures
from fusargpt.inference.confidences import abstains
from fusargpt.inference.counts import CountDistribution
from fusargpt.inference.questions import Answer
from fusargpt.scenes.emptiness import NO_DATA
from fusargpt.scenes.merging import SceneBox, merge, place
from fusargpt.scenes.tiles import Tile
from fusargpt.tasks.answers import parse_boxes, parse_cells, parse_class, parse_count
from fusargpt.tasks.prompts import GRID_SIDE

State = Literal["found", "none", "skipped", "abstained", "unread"]
_VALUE_OF = {"count": "count", "localize": "cells", "classify": "class", "describe": "description"}
_NOTHING = (0, "", "none")


@dataclass(frozen=True)
class Place:
    """A rectangle of the scene and what is said of it.

    Attributes:
        box: [x1, y1, x2, y2] in continuous pixels of the scene.
        properties: plain values, see docs/how-to/scenes.md.
    """

    box: tuple[float, float, float, float]
    properties: dict[str, Any]

    @property
    def state(self) -> State:
        """What there is to see at it: something "found", "none" of it, "skipped" without asking, "abstained" by a model
        that is too little sure, or "unread"."""
        said = self.properties
        if said.get("kind") in (None, "cell"):
            return "found"
        if said.get("skipped"):
            return "skipped"
        if said.get("abstained"):
            return "abstained"
        value = next((said[name] for name in _VALUE_OF.values() if name in said), None)
        if value is None:
            return "unread"
        return "none" if value in _NOTHING else "found"


@dataclass(frozen=True)
class Layer:
    """Places, and a line for each answer that could not be read in whole.

    Attributes:
        places: what is shown.
        problems: the lines.
        unsure: boxes in the answers of tiles that were left out for their scores.
    """

    places: list[Place]
    problems: list[str]
    unsure: int = 0


def objects(
    tiles: Sequence[Tile],
    answers: Mapping[str, Answer],
    width: int,
    height: int,
    threshold: float,
    min_score: float = 0.0,
) -> Layer:
    """The boxes of a detection, merged across tiles; see `merging`.

    Raises:
        InputError: a least score above 0, and answers without scores.
    """
    found: list[SceneBox] = []
    problems = []
    unsure = 0
    for tile in tiles:
        answer = answers.get(tile.id)
        if answer is None or answer.skipped:
            continue
        boxes = parse_boxes(answer.answer)
        problems += _named(tile, boxes.problems)
        if min_score > 0 and answer.scores is None:
            raise InputError(f"min-score: found {min_score:g}, but the model gives its boxes no scores; leave it out")
        scores = answer.scores or (None,) * len(boxes.value)
        for (box, label), score in zip(boxes.value, scores, strict=True):
            placed = place(box, label, tile, answer.seen, width, height, score)
            if placed is not None and score is not None and score < min_score:
                unsure += 1
            elif placed is not None:
                found.append(placed)
    places = []
    for one in merge(found, threshold):
        score = {} if one.score is None else {"score": one.score}
        said = {"label": one.label, **score, "seen_in_tiles": one.tiles, "cut": one.cut}
        places.append(Place(one.box, {**said, **_of_tile(one.tile, answers[one.tile.id])}))
    return Layer(places, problems, unsure)


def grid(
    task: str,
    target: str,
    tiles: Sequence[Tile],
    answers: Mapping[str, Answer],
    width: int,
    height: int,
    abstain: float = 0.0,
) -> Layer:
    """One place for each answered tile with its count, class, description or cells; and one for each named cell.

    What a tile says that was skipped follows from why: no targets where nothing stands out, and nothing at all, so no
    place either, where there is no data. Of one whose answer has a lower confidence than `abstain` nothing is said, and
    it is `abstained`.

    Raises:
        InputError: an `abstain` above 0, and answers without confidences.
    """
    places: list[Place] = []
    problems = []
    for tile in sorted(tiles, key=lambda tile: (tile.top, tile.left)):
        answer = answers.get(tile.id)
        if answer is None or answer.skipped == NO_DATA:
            continue
        abstained = not answer.skipped and abstains(answer.confidence, abstain)
        value, cells, unread = ({_VALUE_OF[task]: None}, [], ()) if abstained else _read(task, answer)
        problems += _named(tile, unread)
        about = {} if task == "describe" else {"target": target} if task != "classify" else {}
        rest = {**about, **_of_tile(tile, answer)}
        sure = _sure(answer) | ({"abstained": abstained} if abstain else {})
        places.append(Place(tile.inside(width, height), {"kind": "tile", **value, **sure, **rest}))
        for cell in cells:
            if (box := _cell(tile, cell, width, height)) is not None:
                places.append(Place(box, {"kind": "cell", "cell": cell, **rest}))
    return Layer(places, problems)


def measured(places: Sequence[Place], geometry: Geometry | None) -> list[Place]:
    """The places with their measures on the ground, of `fusargpt.geo.measures`: of tiles and cells the area alone.

    As they are where nothing is known of the ground.
    """
    if geometry is None:
        return list(places)
    found: list[Place] = []
    for known, one in zip(places, measures(geometry.to_lonlat, [known.box for known in places]), strict=True):
        told = one.as_json()
        if "kind" in known.properties:
            told = {"area_m2": told["area_m2"]}
        found.append(replace(known, properties={**known.properties, **told}))
    return found


def _read(task: str, answer: Answer) -> tuple[dict[str, object], list[int], tuple[str, ...]]:
    """Properties, cells and what could not be read."""
    empty = bool(answer.skipped)
    if task == "count":
        count = parse_count("0" if empty else answer.answer, answer.question)
        return {"count": count.value}, [], count.problems
    if task == "classify":
        name = parse_class("None" if empty else answer.answer)
        return {"class": name.value}, [], name.problems
    if task == "localize":
        cells = parse_cells("None" if empty else answer.answer)
        named = sorted(cells.value)
        return {"cells": ",".join(map(str, named))}, named, cells.problems
    return {"description": answer.answer}, [], ()


def _sure(answer: Answer) -> dict[str, object]:
    """How sure the model was of an answer, where it says so."""
    if answer.confidence is None:
        return {}
    sure: dict[str, object] = {"confidence": answer.confidence}
    if answer.counts is not None:
        low, high = CountDistribution(answer.counts).interval
        sure |= {"count_low": low, "count_high": high}
    return sure


def _cell(tile: Tile, cell: int, width: int, height: int) -> tuple[float, float, float, float] | None:
    """The part of a cell of a tile's 3 x 3 grid that lies on the scene; None where there is none."""
    row, column = divmod(cell - 1, GRID_SIDE)
    x1, y1 = tile.left + column * tile.side / GRID_SIDE, tile.top + row * tile.side / GRID_SIDE
    x2, y2 = min(x1 + tile.side / GRID_SIDE, width), min(y1 + tile.side / GRID_SIDE, height)
    return (x1, y1, x2, y2) if x1 < x2 and y1 < y2 else None


def _of_tile(tile: Tile, answer: Answer) -> dict[str, object]:
    return {"tile": tile.id, "anchors": answer.anchors, "skipped": answer.skipped}


def _named(tile: Tile, problems: Sequence[str]) -> list[str]:
    return [f"tile {tile.id}: {problem}" for problem in problems]
