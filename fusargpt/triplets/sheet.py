"""Many small pictures at a glance."""

from collections.abc import Iterable, Sequence

from PIL import Image, ImageDraw

COLUMNS = 10
GAP = 4
_RED = (255, 40, 40)


def with_boxes(picture: Image.Image, boxes: Iterable[Sequence[float]]) -> Image.Image:
    """An RGB copy of a picture with the boxes [x1, y1, x2, y2] (pixel edges) drawn around what they hold."""
    drawn = picture.convert("RGB")
    pen = ImageDraw.Draw(drawn)
    for x1, y1, x2, y2 in boxes:
        pen.rectangle((x1 - 1, y1 - 1, x2, y2), outline=_RED)
    return drawn


def lay_out(pictures: Sequence[Image.Image], columns: int = COLUMNS) -> Image.Image:
    """RGB sheet of pictures row by row, in cells of the size of the largest."""
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    width, height = (max(sides) + GAP for sides in zip(*(picture.size for picture in pictures), strict=True))
    sheet = Image.new("RGB", (columns * width - GAP, rows * height - GAP), "white")
    for index, picture in enumerate(pictures):
        row, column = divmod(index, columns)
        sheet.paste(picture.convert("RGB"), (column * width, row * height))
    return sheet
