"""A picture of the scene with what was found, that can be read alone."""

import colorsys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from fusargpt.files import output_file
from fusargpt.geo.box_drawing import COLOURS, OTHER_COLOUR, draw_box
from fusargpt.geo.geometry import Geometry
from fusargpt.geo.picture_frame import Around, Colour, Mark, framed, mark_boxes
from fusargpt.geo.scene_picture import ScenePicture
from fusargpt.scenes.layers import Place
from fusargpt.scenes.writing import REMEDY
from fusargpt.tasks.target_names import plural

NONE_COLOUR: Colour = (255, 255, 255)
SKIPPED_COLOUR: Colour = (150, 170, 190)
UNREAD_COLOUR: Colour = (245, 215, 60)
FAILED_COLOUR: Colour = (235, 60, 60)
AREA_COLOUR: Colour = (255, 235, 120)
LAND_COLOUR: Colour = (120, 200, 120)
_FILL = 75
_WORDS_FILL = 50
_BOX_LINE = 3


@dataclass(frozen=True, eq=False)
class Drawn:
    """What is drawn beside the places.

    Attributes:
        title: one line.
        notes: lines below it.
        target: what was looked for.
        colours: of classes.
        area: rings [N, 2] about what was asked, in pixels of the scene.
        land: likewise of what counts as land.
        failed: boxes of tiles without an answer, in pixels of the scene.
    """

    title: str
    notes: Sequence[str] = ()
    target: str = ""
    colours: Mapping[str, Colour] | None = None
    area: Sequence[NDArray[np.float64]] = ()
    land: Sequence[NDArray[np.float64]] = ()
    failed: Sequence[tuple[float, float, float, float]] = ()

    def colour(self, value: object) -> Colour:
        """Of a class, or of the target where there are no classes."""
        known = COLOURS if self.colours is None else self.colours
        return known.get(str(value), known.get(self.target, OTHER_COLOUR))


def draw(picture: ScenePicture, places: Sequence[Place], drawn: Drawn, geometry: Geometry | None) -> Image.Image:
    """The picture with boxes, counts, classes, cells or numbers of descriptions on it, and what they mean around it."""
    words = description_numbers(places)
    image = picture.image.copy()
    _outline(image, picture, drawn.land, LAND_COLOUR)
    _outline(image, picture, drawn.area, AREA_COLOUR)
    marks: list[tuple[Sequence[float], Mark]] = [
        (picture.at(place.box), mark_of(place, drawn, words)) for place in places if "kind" in place.properties
    ]
    marks += [(picture.at(box), _FAILED) for box in drawn.failed]
    mark_boxes(image, marks)
    for place in places:
        if "kind" not in place.properties:
            draw_box(image, picture.at(place.box), place.properties["label"], tab=False)
    tiles = Counter(place.properties.get("description") for place in places)
    beside: list[tuple[Mark, str]] = []
    for text, number in words.items():
        often = "" if tiles[text] == 1 else f" ({tiles[text]:,} tiles)"
        beside.append((Mark(*_shade(number, len(words)), sign=str(number)), text + often))
    around = Around(drawn.title, drawn.notes, legend_of(places, drawn), beside, "numbers as on the tiles")
    metres = None if geometry is None else picture.metres_per_pixel(geometry)
    return framed(image, around, metres, picture.scale)


def mark_of(place: Place, drawn: Drawn, words: Mapping[str, int]) -> Mark:
    """How a tile or a cell looks; `words` number descriptions."""
    said, state = place.properties, place.state
    if "kind" not in said:
        return Mark(COLOURS.get(said["label"], OTHER_COLOUR), line=_BOX_LINE)
    if state != "found":
        sign = {"none": "0" if "count" in said else "", "abstained": "?", "unread": "?"}.get(state, "")
        return Mark(_STATES[state].colour, _STATES[state].fill, _STATES[state].line, _STATES[state].hatched, sign)
    if "description" in said:
        number = words[said["description"]]
        return Mark(*_shade(number, len(words)), sign=str(number))
    if said["kind"] == "tile" and "cells" in said:
        return Mark(NONE_COLOUR)  # its cells are marked
    value = said.get("count", said.get("class"))
    return Mark(drawn.colour(value), _FILL, sign="" if value is None else str(value))


def description_numbers(places: Sequence[Place]) -> dict[str, int]:
    """Each wording and its number, from 1, the most frequent first; empty where nothing is described."""
    texts = [place.properties["description"] for place in places if place.properties.get("description")]
    return {text: number for number, (text, _) in enumerate(Counter(texts).most_common(), 1)}


def legend_of(places: Sequence[Place], drawn: Drawn) -> list[tuple[Mark, str]]:
    """What is on the picture and what it means, with how many there are."""
    legend: list[tuple[Mark, str]] = []
    labels = Counter(place.properties["label"] for place in places if "kind" not in place.properties)
    for label, count in labels.most_common():
        legend.append((Mark(COLOURS.get(label, OTHER_COLOUR), line=_BOX_LINE), f"{label} ({count:,})"))
    tiles = [place for place in places if place.properties.get("kind") == "tile"]
    states = Counter(place.state for place in tiles)
    classes = Counter(place.properties["class"] for place in tiles if place.state == "found" and _has_class(place))
    for name, count in classes.most_common():
        legend.append((Mark(drawn.colour(name), _FILL), f"{name} ({count:,})"))
    several = plural(drawn.target)
    if any("count" in place.properties for place in tiles) and states["found"]:
        total = sum(place.properties["count"] or 0 for place in tiles)
        legend.append((Mark(drawn.colour(""), _FILL), f"{several} counted ({total:,} in {states['found']:,} tiles)"))
    if cells := sum(place.properties.get("kind") == "cell" for place in places):
        legend.append((Mark(drawn.colour(""), _FILL), f"cells with {several} ({cells:,})"))
    for state, said in (
        ("none", "asked, none there"),
        ("abstained", "model cannot tell"),
        ("unread", "answer not readable"),
    ):
        if states[state]:
            legend.append((_STATES[state], f"{said} ({states[state]:,})"))
    for why, count in Counter(place.properties["skipped"] for place in tiles if place.state == "skipped").most_common():
        legend.append((_STATES["skipped"], f"not asked: {why} ({count:,})"))
    if drawn.failed:
        legend.append((_FAILED, f"failed ({len(drawn.failed):,})"))
    if len(drawn.area):
        legend.append((Mark(AREA_COLOUR, line=2), "area asked about"))
    if len(drawn.land):
        legend.append((Mark(LAND_COLOUR, line=2), "land, as given"))
    return legend


def save(path: Path, picture: Image.Image) -> None:
    """Raises InputError where the file cannot be written."""
    with output_file(path, REMEDY) as partial:
        picture.save(partial, format="PNG")


_FAILED = Mark(FAILED_COLOUR, 45, line=2, hatched=True)
_STATES = {
    "none": Mark(NONE_COLOUR),
    "skipped": Mark(SKIPPED_COLOUR, line=0, hatched=True),
    "abstained": Mark(UNREAD_COLOUR, line=2),
    "unread": Mark(UNREAD_COLOUR, 40, line=2),
}


def _has_class(place: Place) -> bool:
    return "class" in place.properties


def _shade(number: int, count: int) -> tuple[Colour, int]:
    """A hue for one of `count` wordings, and its opacity."""
    red, green, blue = colorsys.hsv_to_rgb((number - 1) / max(count, 1) * 0.85, 0.8, 1.0)
    return (round(255 * red), round(255 * green), round(255 * blue)), _WORDS_FILL


def _outline(image: Image.Image, picture: ScenePicture, rings: Sequence[NDArray[np.float64]], colour: Colour) -> None:
    pen = ImageDraw.Draw(image)
    for ring in rings:
        points = (ring - (picture.left, picture.top)) * picture.scale
        pen.line([(float(x), float(y)) for x, y in points], fill=colour, width=2)
