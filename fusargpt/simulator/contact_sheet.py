"""Forty simulated scenes at a glance: python -m fusargpt.simulator.contact_sheet --out FILE.jpg"""

import argparse
from pathlib import Path

from PIL import Image

from fusargpt.simulator.records import SPLIT_SEEDS
from fusargpt.simulator.rendering import render_optical, render_sar
from fusargpt.simulator.simulated_scene import simulate_scene
from fusargpt.triplets.sheet import COLUMNS, lay_out, with_boxes


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
