"""Answers drawn on the image: boxes of a detection, cells of a localization, and a line that says what is shown."""

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw

from fusargpt.geo.box_drawing import COLOURS, FONT, INK, OTHER_COLOUR, clip_box, draw_box
from fusargpt.scenes.layers import Place
from fusargpt.tasks.answers import LabelledBox, Parsed, parse_boxes, parse_cells, parse_count
from fusargpt.tasks.prompts import GRID_SIDE

# Small images are enlarged by a whole factor to at least this many pixels, so that lines and labels are thin on them.
_SHORTEST_SIDE = 640
_LONGEST_SIDE = 4096
_MOST_SCORES = 60
"""Boxes up to which scores stand on them; of more they would hide the scene."""
_AREA = (255, 235, 120)


def enlarge(image: Image.Image) -> Image.Image:
    """`image` enlarged by a whole factor, pixels kept as squares, to at least 640 pixels on the shorter side.

    Strips get less, so that their longer side stays below 4,096 pixels.
    """
    factor = max(1, min(math.ceil(_SHORTEST_SIDE / min(image.size)), _LONGEST_SIDE // max(image.size)))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def draw_answer(
    image: Image.Image,
    task: str | None,
    answer: str,
    question: str = "",
    scores: Sequence[float] = (),
    least: float = 0.0,
) -> tuple[Image.Image, str]:
    """Draw what the answer says about places in the image.

    Args:
        image: RGB, at the size at which the model saw it; boxes are in its pixels.
        task: one of `fusargpt.tasks.prompts.TASKS`; None for a question in the visitor's own words, where boxes are
            drawn if the answer is a list of them.
        answer: the model's text.
        question: that it answers.
        scores: of its boxes, which stand on them; empty where there are none.
        least: score below which boxes are not drawn.

    Returns:
        The enlarged image with the drawing, and one line of text; empty where there is nothing to say. An answer that
        its task cannot be read from draws nothing, and the line says so.
    """
    picture = enlarge(image)
    if task is None or task == "detect":
        boxes = parse_boxes(answer)
        return (picture, "") if task is None and not boxes.value else _with_boxes(picture, image, boxes, scores, least)
    if task == "localize":
        return _with_cells(picture, answer)
    if task == "count" and parse_count(answer, question).value is None:
        return picture, "This answer is not a number."
    return picture, ""


def draw_places(
    picture: Image.Image, scale: float, places: Sequence[Place], target: str, area: Sequence[float] | None = None
) -> None:
    """Draw what was said of the places of a scene: boxes; tiles with their numbers or classes; cells; the area asked.

    Args:
        picture: RGB.
        scale: pixels of it for one of the scene.
        places: in pixels of the scene.
        target: what they were asked about.
        area: [x1, y1, x2, y2] likewise.
    """
    pen = ImageDraw.Draw(picture, "RGBA")
    has_room = len(places) <= _MOST_SCORES
    for place in places:
        x1, y1, x2, y2 = (edge * scale for edge in place.box)
        kind = place.properties.get("kind")
        if kind is None:
            score = place.properties.get("score")
            text = None if score is None else f"{score:.2f}"
            draw_box(picture, (x1, y1, x2, y2), place.properties["label"], text is not None and has_room, text)
            continue
        value = place.properties.get("count", place.properties.get("class"))
        found = kind == "cell" or value not in (None, 0, "none")
        colour = COLOURS.get(str(value), COLOURS.get(target, OTHER_COLOUR))
        corners = (x1, y1, max(x2 - 1, x1), max(y2 - 1, y1))
        pen.rectangle(corners, fill=(*colour, 70) if found else None, outline=(255, 255, 255, 90))
        if value is not None and pen.textlength(str(value), font=FONT) < x2 - x1:
            pen.text((x1 + 3, y1 + 1), str(value), fill="white", font=FONT, stroke_width=2, stroke_fill=INK)
    if area is not None:
        x1, y1, x2, y2 = (edge * scale for edge in area)
        pen.rectangle((x1, y1, max(x2 - 1, x1), max(y2 - 1, y1)), outline=_AREA, width=3)


def _with_boxes(
    picture: Image.Image,
    image: Image.Image,
    parsed: Parsed[list[LabelledBox]],
    scores: Sequence[float],
    least: float,
) -> tuple[Image.Image, str]:
    boxes = parsed.value
    if parsed.problems and not boxes:
        return picture, "This answer cannot be read as boxes."
    scale = picture.width / image.width
    beside = hidden = 0
    for (box, label), score in zip(boxes, scores or (None,) * len(boxes), strict=True):
        inside = clip_box(box, *image.size)
        if score is not None and score < least:
            hidden += 1
        elif inside is None:
            beside += 1
        else:
            text = label if score is None else f"{label} {score:.2f}"
            draw_box(picture, [value * scale for value in inside], label, text=text)
    note = f"{len(boxes)} {'box' if len(boxes) == 1 else 'boxes'}"
    if boxes:
        note += f", in pixels of the image as the model sees it ({image.width} x {image.height})"
    if hidden:
        note += f"; {hidden} not drawn, of a score below {least:.2f}"
    if beside:
        note += f"; {beside} not drawn, having no area inside the image"
    if parsed.problems:
        note += "; other parts of the answer cannot be read"
    return picture, f"{note}."


def _with_cells(picture: Image.Image, answer: str) -> tuple[Image.Image, str]:
    parsed = parse_cells(answer)
    cells = parsed.value
    if parsed.problems and not cells:
        return picture, "This answer names no cell."
    layer = Image.new("RGBA", picture.size)
    pen = ImageDraw.Draw(layer)
    columns = [round(picture.width * edge / GRID_SIDE) for edge in range(GRID_SIDE + 1)]
    rows = [round(picture.height * edge / GRID_SIDE) for edge in range(GRID_SIDE + 1)]
    for cell in range(1, GRID_SIDE**2 + 1):
        row, column = divmod(cell - 1, GRID_SIDE)
        corners = (columns[column], rows[row], columns[column + 1] - 1, rows[row + 1] - 1)
        fill = (*COLOURS["ship"], 80) if cell in cells else None
        pen.rectangle(corners, fill=fill, outline=(255, 255, 255, 130))
        pen.text((corners[0] + 8, corners[1] + 6), str(cell), fill="white", font=FONT, stroke_width=2, stroke_fill=INK)
    note = "No cell." if not cells else f"{len(cells)} of {GRID_SIDE**2} cells, numbered row by row."
    return Image.alpha_composite(picture.convert("RGBA"), layer).convert("RGB"), note
