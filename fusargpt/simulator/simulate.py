"""Simulated triplets as Parquet shards:

python -m fusargpt.simulator.simulate --layout captions --scenes 1000 --out DIR
python -m fusargpt.simulator.simulate --simulator 2 --pixel-size 5 30 --layout captions --scenes 1000 --out DIR

Seeds count up from the split's first one, so splits never share a place. Written atomically, one shard at a time; a
shard that is already there is kept, so an interrupted run goes on where it stopped.
"""

import argparse
from collections.abc import Callable
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from datasets import Dataset
from pyarrow import parquet
from tqdm import tqdm

from fusargpt.files import written_whole
from fusargpt.simulator.records import LAYOUTS, SPLIT_SEEDS, Record, rows
from fusargpt.simulator.simulated_scene import SIMULATOR_VERSION, Scene, simulate_scene
from fusargpt.simulator.version2.place import SECOND_VERSION
from fusargpt.simulator.version2.scene import simulate_pixels
from fusargpt.simulator.version2.view import COARSEST_M, FINEST_M, PIXEL_SIZES_M
from fusargpt.triplets.features import CAPTION_FEATURES, RECORD_FEATURES

SceneOf = Callable[[int], Scene]
SHARD_SCENES = 2000
ROW_GROUP_ROWS = 500


def _rows_of(job: tuple[int, str, str, int, SceneOf]) -> list[Record]:
    return rows(*job)


def _rendering(seed: int, optical_share: float) -> str:
    return "optical" if np.random.default_rng([seed, 7]).random() < optical_share else "sar"


def simulate(
    out: Path,
    layout: str,
    split: str,
    scenes: int,
    optical_share: float,
    per_side: int,
    start: int,
    workers: int,
    scene_of: SceneOf = simulate_scene,
) -> list[Path]:
    """Write `scenes` scenes of `split`, from its seed `start` on, as shards in `out`; returns their paths.

    `optical_share` in [0, 1] is the share of scenes shown in the optical-like rendering instead of SAR; `scene_of`
    makes the scene of a seed, by default version 1 does.
    """
    out.mkdir(parents=True, exist_ok=True)
    first = SPLIT_SEEDS[split] + start
    shards = [range(low, min(low + SHARD_SCENES, first + scenes)) for low in range(first, first + scenes, SHARD_SCENES)]
    paths = [out / f"{split}-{index:05d}-of-{len(shards):05d}.parquet" for index in range(len(shards))]
    with get_context("spawn").Pool(workers) as pool, tqdm(total=scenes, unit="scene", desc=split) as progress:
        for path, seeds in zip(paths, shards, strict=True):
            if not path.exists():
                jobs = [(seed, layout, _rendering(seed, optical_share), per_side, scene_of) for seed in seeds]
                shard = [row for part in pool.imap(_rows_of, jobs, chunksize=16) for row in part]
                features = CAPTION_FEATURES if layout == "captions" else RECORD_FEATURES
                # Rows about one scene repeat its image: zstd stores it once.
                table = Dataset.from_list(shard, features=features).data.table
                with written_whole(path) as partial:
                    parquet.write_table(table, partial, row_group_size=ROW_GROUP_ROWS, compression="zstd")
            progress.update(len(seeds))
    return paths


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the shards")
    parser.add_argument("--layout", choices=tuple(LAYOUTS), required=True)
    parser.add_argument("--split", choices=tuple(SPLIT_SEEDS), default="train")
    parser.add_argument("--scenes", type=int, required=True)
    parser.add_argument("--start", type=int, default=0, help="first seed, counted from the split's first")
    parser.add_argument("--optical-share", type=float, default=0.0, help="share of optical-like renderings, 0 to 1")
    parser.add_argument("--anchors-per-side", type=int, default=8)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--simulator", type=int, choices=(SIMULATOR_VERSION, SECOND_VERSION), default=1, help="version")
    parser.add_argument(
        "--pixel-size",
        type=float,
        nargs=2,
        metavar="M",
        help="metres between which version 2 draws that of each scene; 5 30 by default, at least 2.5",
    )
    options = parser.parse_args()
    low, high = options.pixel_size or PIXEL_SIZES_M
    if options.simulator == SIMULATOR_VERSION and options.pixel_size is not None:
        parser.error(f"argument --pixel-size: found {low:g} {high:g}; version 1 has 5 m, take --simulator 2")
    if not FINEST_M <= low <= high <= COARSEST_M:
        parser.error(
            f"argument --pixel-size: found {low:g} {high:g}; expected two in {FINEST_M:g} to {COARSEST_M:g}, ascending"
        )
    of_version = {SIMULATOR_VERSION: simulate_scene, SECOND_VERSION: partial(simulate_pixels, pixel_sizes=(low, high))}
    paths = simulate(
        options.out,
        options.layout,
        options.split,
        options.scenes,
        options.optical_share,
        options.anchors_per_side,
        options.start,
        options.workers,
        of_version[options.simulator],
    )
    print(f"{len(paths)} shards in {options.out}")


if __name__ == "__main__":
    main()
