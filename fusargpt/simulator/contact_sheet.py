"""Many small pictures at a glance: python -m fusargpt.simulator.contact_sheet --out FILE.jpg shows forty simulated scenes."""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from fusargpt.simulator.records import SPLIT_SEEDS
from fusargpt.simulator.rendering import render_optical, render_sar
from fusargpt.simulator.simulated_scene import simulate_scene

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


def simulated_sheet(scenes: int, first_seed: int) -> Image.Image:
    """RGB picture of `scenes` scenes from `first_seed` on, ten in a row; each has its optical-like picture beneath."""
    shown = [simulate_scene(first_seed + index) for index in range(scenes)]
    pictures = []
    for start in range(0, scenes, COLUMNS):
        row = shown[start : start + COLUMNS]
        blank = [Image.new("RGB", (1, 1), "white")] * (COLUMNS - len(row))
        pictures += [render_sar(scene) for scene in row] + blank
        pictures += [
            with_boxes(render_optical(scene), (target.box for target in scene.targets)) for scene in row
        ] + blank
    return lay_out(pictures)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=40)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    simulated_sheet(options.scenes, SPLIT_SEEDS["validation"]).save(options.out, quality=80)


if __name__ == "__main__":
    main()
