"""Forty scenes at a glance, SAR above optical-like with boxes: python -m dataset_card.contact_sheet --out FILE.jpg"""

import argparse
from pathlib import Path

from PIL import Image, ImageDraw

from dataset_card.records import SPLIT_SEEDS
from dataset_card.rendering import render_optical, render_sar
from dataset_card.scene import IMAGE_SIZE, simulate_scene

COLUMNS = 10
GAP = 4


def contact_sheet(scenes: int, first_seed: int) -> Image.Image:
    """RGB picture of `scenes` scenes from `first_seed` on, ten in a row; each has its optical-like picture beneath."""
    step = IMAGE_SIZE + GAP
    rows = -(-scenes // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * step - GAP, 2 * rows * step - GAP), "white")
    for index in range(scenes):
        scene = simulate_scene(first_seed + index)
        optical = render_optical(scene)
        pen = ImageDraw.Draw(optical)
        for target in scene.targets:
            x1, y1, x2, y2 = target.box
            pen.rectangle((x1 - 1, y1 - 1, x2, y2), outline=(255, 40, 40))
        row, column = divmod(index, COLUMNS)
        sheet.paste(render_sar(scene).convert("RGB"), (column * step, 2 * row * step))
        sheet.paste(optical, (column * step, (2 * row + 1) * step))
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=40)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    contact_sheet(options.scenes, SPLIT_SEEDS["validation"]).save(options.out, quality=80)


if __name__ == "__main__":
    main()
