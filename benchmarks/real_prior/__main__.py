"""Run the benchmark, or a part of it, or go on with it:

    python -m benchmarks.real_prior --points shared/data/aef/*.csv [--cells tlm none] [--seeds 0]

Every cell is one training from the shared backbone, and its answers about a place that it has not seen. A cell's result
is written when it ends, and is not made again. Regions and blocks are held out in turn; `--held-out FILE.csv` learns
from all points and asks about that file instead. `--reference` runs the closed form alone, in a minute; `--readout` the
closed form, and the fused tokens read by a linear layer, some seconds a cell.
"""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.real_prior.cells import SEEDS, VARIANTS, grid
from benchmarks.real_prior.readout import Tower, write_readouts
from benchmarks.real_prior.regions import BLOCKS, read_region, split
from benchmarks.real_prior.report import write_reference, write_report
from benchmarks.real_prior.run import Effort, result_path, run_cell
from fusargpt.checkpoints import NANO_BACKBONE
from fusargpt.errors import InputError

RESULTS = Path(__file__).resolve().parents[1] / "results" / "real_prior"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", metavar="CSV", type=Path, nargs="+", required=True, help="one region a file")
    parser.add_argument("--held-out", metavar="FILE.csv", type=Path, help="of a further region, to ask about")
    parser.add_argument("--places", nargs="+", help=f"of the regions and {BLOCKS}, those to hold out; all by default")
    parser.add_argument("--cells", nargs="*", choices=tuple(VARIANTS), default=tuple(VARIANTS), help="all by default")
    parser.add_argument("--seeds", type=int, nargs="*", default=SEEDS, help="0 to 4 by default")
    parser.add_argument("--validate", action="store_true", help="ask about blocks of the training regions instead")
    parser.add_argument("--reference", action="store_true", help="the closed form alone, and the report")
    parser.add_argument("--readout", action="store_true", help="it and the fused tokens read linearly, no training")
    parser.add_argument("--backbone", type=Path, default=NANO_BACKBONE, help="model folder all cells start from")
    parser.add_argument("--build", type=Path, default=Path("build/real_prior"), help="data, features and trainings")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--training", type=int, default=1600, help="scenes of each stage")
    parser.add_argument("--steps", type=int, nargs=2, default=(1000, 1000), help="of stage 1 and stage 2")
    parser.add_argument("--scenes", type=int, default=240, help="held-out scenes, asked all tasks each")
    parser.add_argument("--keep", action="store_true", help="the trained models, in --build")
    options = parser.parse_args(arguments)
    try:
        run(options)
    except InputError as error:
        print(f"real_prior: error: {error}", file=sys.stderr)
        return 2
    return 0


def run(options: argparse.Namespace) -> None:
    if not options.backbone.is_dir():
        raise InputError(f"--backbone: {options.backbone}: expected a model folder")
    regions = [read_region(path) for path in options.points]
    if options.held_out is not None:
        regions.append(read_region(options.held_out))
    names = [region.name for region in regions]
    if len(set(names)) < len(names):
        raise InputError(f"column region: found {', '.join(names)}; expected another name in each file")
    places = options.places or (names[-1:] if options.held_out is not None else [*names, BLOCKS])
    splits = {place: split(regions, place, options.validate) for place in places}
    build, results = options.build, options.results
    if options.validate:
        build, results = build / "validation", build / "validation" / "results"
    effort = Effort(options.training, tuple(options.steps), options.scenes)
    for place, of_place in splits.items():
        write_reference(results, place, of_place, effort)
    if options.readout:
        tower = Tower(options.backbone, build / "tower")
        for place, of_place in splits.items():
            cells = grid([place], options.cells, options.seeds)
            write_readouts(results, of_place, cells, effort.training, effort.scenes, tower)
    for cell in grid(places, [] if options.reference or options.readout else options.cells, options.seeds):
        run_cell(cell, splits[cell.held_out], effort, options.backbone, build, results)
        if not options.keep:
            shutil.rmtree(build / cell.name, ignore_errors=True)
        print(f"{cell.name}: {result_path(results, cell)}", flush=True)
        write_report(results)
    print(write_report(results))


if __name__ == "__main__":
    sys.exit(main())
