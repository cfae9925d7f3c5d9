"""Simulated scenes at a glance: python -m fusargpt.simulator.contact_sheet [--simulator 2] --out FILE.jpg

Of version 1 forty scenes, of version 2 eight places at five pixel sizes.
"""

import argparse
from pathlib import Path

from PIL import Image

from fusargpt.simulator.records import SPLIT_SEEDS
from fusargpt.simulator.rendering import render_optical, render_sar
from fusargpt.simulator.simulated_scene import SIMULATOR_VERSION, simulate_scene
from fusargpt.simulator.version2.place import SECOND_VERSION
from fusargpt.simulator.version2.scene import simulate_pixels
from fusargpt.triplets.sheet import COLUMNS, lay_out, with_boxes

PIXEL_SIZES_SHOWN_M = (2.5, 5.0, 10.0, 20.0, 30.0)


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


def pixel_size_sheet(places: int, first_seed: int) -> Image.Image:
    """RGB picture of `places` places with targets, a row each: optical-like with boxes, then SAR, finer to coarser."""
    pictures: list[Image.Image] = []
    seed = first_seed
    while len(pictures) < places * (len(PIXEL_SIZES_SHOWN_M) + 1):
        scenes = [simulate_pixels(seed, (size, size)) for size in PIXEL_SIZES_SHOWN_M]
        seed += 1
        ground = scenes[0].place.scene
        if ground.targets:
            pictures.append(with_boxes(render_optical(ground), (target.box for target in ground.targets)))
            pictures += [render_sar(scene).resize(pictures[-1].size, Image.Resampling.NEAREST) for scene in scenes]
    return lay_out(pictures, len(PIXEL_SIZES_SHOWN_M) + 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulator", type=int, choices=(SIMULATOR_VERSION, SECOND_VERSION), default=1, help="version")
    parser.add_argument("--scenes", type=int, help="40 by default, 8 places of version 2")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    sheet, scenes = (pixel_size_sheet, 8) if options.simulator == SECOND_VERSION else (simulated_sheet, 40)
    sheet(options.scenes or scenes, SPLIT_SEEDS["validation"]).save(options.out, quality=80)


if __name__ == "__main__":
    main()
