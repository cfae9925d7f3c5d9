"""Run the curve, or a part of it, or go on with it:

    python -m benchmarks.pixel_size [--pixel-sizes 5 10 20 30] [--arms true none] [--seeds 0]
    python -m benchmarks.pixel_size --whole-model [--pixel-sizes 5 30] [--seeds 0]

The first reads frozen tokens by a small head, the second trains the whole model through the package's recipes, two
stages a cell. A cell's result is written when it ends, and is not made again.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.pixel_size.cells import ARMS, PIXEL_SIZES, SEEDS, Cell, grid
from benchmarks.pixel_size.readout import Tower, read
from benchmarks.pixel_size.report import write_report
from benchmarks.pixel_size.scenes import scenes
from benchmarks.pixel_size.whole_model import Effort, run_cell
from fusargpt.checkpoints import MINI, NANO_BACKBONE
from fusargpt.errors import InputError
from fusargpt.files import written_whole

RESULTS = Path(__file__).resolve().parents[1] / "results" / "pixel_size"
READOUT, WHOLE = "readout", "whole_model"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pixel-sizes", type=float, nargs="+", default=PIXEL_SIZES, help="metres; 2.5 to 30")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS, help="all by default")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="0 to 2 by default")
    parser.add_argument("--whole-model", action="store_true", help="train the model, not the head alone")
    parser.add_argument("--training", type=int, help="scenes to learn from; 2000 by default, 1600 for the whole model")
    parser.add_argument("--scenes", type=int, default=200, help="held-out scenes")
    parser.add_argument("--steps", type=int, nargs=2, default=(250, 250), help="of the whole model's two stages")
    parser.add_argument("--backbone", type=Path, help="fusargpt-mini, whose tower is read, or nano's to train whole")
    parser.add_argument("--build", type=Path, default=Path("build/pixel_size"))
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--report", action="store_true", help="of what is done, and nothing more")
    options = parser.parse_args(arguments)
    try:
        if not options.report:
            run(options)
        print(write_report(options.results))
    except InputError as error:
        print(f"pixel_size: error: {error}", file=sys.stderr)
        return 2
    return 0


def run(options: argparse.Namespace) -> None:
    cells = grid(options.pixel_sizes, options.arms, options.seeds)
    kind = WHOLE if options.whole_model else READOUT
    backbone: Path = options.backbone or (NANO_BACKBONE if options.whole_model else MINI)
    if not backbone.is_dir():
        raise InputError(f"--backbone: {backbone}: expected a model folder")
    training = options.training or (1600 if options.whole_model else 2000)
    steps = (options.steps[0], options.steps[1]) if options.whole_model else (0, 0)
    effort = Effort(backbone.name, training, steps, options.scenes)
    tower = None if options.whole_model else Tower(backbone)
    for cell in cells:
        path = options.results / kind / f"{cell.name}.json"
        if path.exists():
            if (found := json.loads(path.read_text(encoding="utf-8"))["effort"]) != effort.plain():
                raise InputError(f"{path}: found {found}, expected {effort.plain()}; remove it, or choose --results")
            continue
        answers = (
            run_cell(cell, effort, backbone, options.build)
            if tower is None
            else readout(cell, tower, effort, options.build)
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        result = {"cell": vars(cell), "effort": effort.plain(), "answers": answers}
        with written_whole(path) as part:
            part.write_text(json.dumps(result, separators=(",", ":")) + "\n", encoding="utf-8")
        shutil.rmtree(options.build / WHOLE / cell.name, ignore_errors=True)


def readout(cell: Cell, tower: Tower, effort: Effort, build: Path) -> dict[str, list[int]]:
    """Counts by arm, and the true ones under "reference"."""
    parts = {"train": effort.training, "test": effort.scenes}
    read_of = {}
    for split, count in parts.items():
        found = scenes(split, count, cell.pixel_size, build)
        tokens = tower.of_scenes(found, build / "tokens", f"{cell.pixel_size:g}m-{split}-{count}")
        read_of[split] = (found, tokens)
    answers = read(cell, tower, read_of["train"], read_of["test"])
    return {"reference": read_of["test"][0].counts.tolist(), **answers}


if __name__ == "__main__":
    sys.exit(main())
