"""Scenes of both versions of the simulator, rendered once and stored with what is known of them:

python -m trl_recipes.small.scenes --version1 8000 --version2 6000 --out build/mini/scenes

Version 2 takes a tenth of a second a scene, so that a training draws from stored ones, parts of them turned and put
together. Shards are written atomically; one that is there is kept, so an interrupted run goes on where it stopped.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from datasets import Dataset, Features, Image, Value, load_dataset
from PIL import Image as PilImage

from fusargpt.errors import InputError
from fusargpt.simulator.description import describe
from fusargpt.simulator.records import SPLIT_SEEDS, scene_fields
from fusargpt.simulator.simulated_scene import Scene, simulate_scene
from fusargpt.simulator.version2.scene import simulate_pixels
from fusargpt.triplets.features import RECORD_FEATURES
from trl_recipes.data.rows import Row
from trl_recipes.small.dense import scene_cover
from trl_recipes.small.drawing import Chips, Drawing, Source, read_chips
from trl_recipes.small.pictures import Picture
from trl_recipes.small.shards import Shard, write_shards
from trl_recipes.small.sizes import SmallModel

PIXEL_SIZES_M = (2.5, 10.0)
"""Of version 2: 840 m are 84 to 336 pixels. Coarser ones are what several pictures put together show."""
SCENE_FEATURES = Features(
    {
        **{name: kind for name, kind in RECORD_FEATURES.items() if name not in ("task", "prompt", "completion")},
        "cover": Image(),
        "described": Value("string"),
    }
)
SHARES = {"version1": 0.25, "version2": 0.35, "chips": 0.4}
"""Of drawn pictures; without chips the others share theirs."""
_SHARD = 500
_ROW_GROUP = 50  # a picture is read with its row group


def scene_row(item: tuple[int, int]) -> list[Row]:
    """One scene, of a version and a seed, as SAR: its cover and description beside what its questions share."""
    version, seed = item
    scene: Scene = simulate_scene(seed) if version == 1 else simulate_pixels(seed, PIXEL_SIZES_M)
    cover = PilImage.fromarray(scene_cover(scene))
    return [{**scene_fields(scene), "cover": cover, "described": describe(scene)}]


def write_scenes(out: Path, versions: dict[int, int], start: int, workers: int) -> None:
    """Write shards `version1-...` and `version2-...` of as many scenes as `versions` says, from seed `start` on."""
    first = SPLIT_SEEDS["train"] + start
    shards = [
        Shard(
            out / f"version{version}-{low // _SHARD:05d}.parquet",
            [(version, first + number) for number in range(low, min(low + _SHARD, scenes))],
        )
        for version, scenes in versions.items()
        for low in range(0, scenes, _SHARD)
    ]
    write_shards(shards, scene_row, SCENE_FEATURES, _ROW_GROUP, workers)


def read_scenes(folder: Path, version: int) -> Dataset:
    """The stored scenes of a version.

    Raises:
        InputError: none of it in the folder.
    """
    files = sorted(str(path) for path in folder.glob(f"version{version}-*.parquet"))
    if not files:
        raise InputError(
            f"{folder}: no scenes of version {version}; python -m trl_recipes.small.scenes --out {folder} writes them"
        )
    return load_dataset("parquet", data_files=files, split="train", features=SCENE_FEATURES)


def row_picture(row: Row) -> Picture:
    """A stored scene as a picture."""
    boxes = np.array([item["bbox_2d"] for item in row["objects"]], float).reshape(-1, 4)
    labels = tuple(str(item["label"]) for item in row["objects"])
    return Picture(np.asarray(row["image"].convert("L")), boxes, labels, np.asarray(row["cover"]))


@dataclass(frozen=True)
class Scenes:
    """Stored scenes as a source of pictures; grey of decibels."""

    rows: Dataset

    def __len__(self) -> int:
        return len(self.rows)

    def picture(self, index: int) -> Picture:
        return row_picture(cast(dict[str, Any], self.rows[index]))


def drawing_of(size: SmallModel, scenes: Path, ssdd: Path | None, seed: int) -> Drawing:
    """What pictures of a small model are drawn from: stored scenes, and where there are any, the training chips.

    Raises:
        InputError: no scenes, or chips that cannot be read.
    """
    sources: dict[str, Source] = {f"version{number}": Scenes(_pictures_of(scenes, number)) for number in (1, 2)}
    if ssdd is not None:
        sources["chips"] = read_chips(ssdd)
    else:
        print("No real chips (--ssdd): pictures are drawn from simulated scenes alone.")
    shares = [SHARES[name] for name in sources]
    return Drawing(list(sources.values()), shares, size.image_size, size.most_objects, seed)


def _pictures_of(folder: Path, version: int) -> Dataset:
    return read_scenes(folder, version).select_columns(["image", "cover", "objects"])


def is_real(source: Source) -> bool:
    """Whether a source's pictures are chips, of which ships alone are annotated."""
    return isinstance(source, Chips)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version1", type=int, default=8000, help="scenes of version 1 (default: 8000)")
    parser.add_argument("--version2", type=int, default=6000, help="scenes of version 2 (default: 6000)")
    parser.add_argument("--start", type=int, default=3_000_000, help="first seed of the training split")
    parser.add_argument("--workers", type=int, default=1, help="processes beside this one (default: 1)")
    parser.add_argument("--out", type=Path, default=Path("build/mini/scenes"))
    options = parser.parse_args(arguments)
    write_scenes(options.out, {1: options.version1, 2: options.version2}, options.start, options.workers)


if __name__ == "__main__":
    main()
