"""Run the ablation, or go on with it: python -m benchmarks.ablation [--cells tlm-0 none-0 ...]

Every cell is one training from the shared backbone and its answers about held-out scenes with the prior true, absent,
shuffled, and true with a blank image. A cell's result is written when it ends, and is not made again; so the grid can
be run in parts.
"""

import argparse
import shutil
from pathlib import Path

from benchmarks.ablation.cells import CELLS
from benchmarks.ablation.report import draw, report
from benchmarks.ablation.run import result_path, run_cell
from fusargpt.checkpoints import NANO_BACKBONE

RESULTS = Path(__file__).resolve().parents[1] / "results" / "ablation"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", nargs="*", choices=tuple(CELLS), default=tuple(CELLS), help="all when left out")
    parser.add_argument("--backbone", type=Path, default=NANO_BACKBONE, help="model folder all cells start from")
    parser.add_argument("--build", type=Path, default=Path("build/ablation"), help="data, features and trainings")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--scenes", type=int, default=300, help="held-out scenes, asked all five tasks each")
    options = parser.parse_args()
    for name in options.cells:
        cell = CELLS[name]
        run_cell(cell, options.backbone, options.build, options.results, options.scenes)
        shutil.rmtree(options.build / name, ignore_errors=True)
        print(f"{name}: {result_path(options.results, cell)}")
    (options.results / "tables.md").write_text(report(options.results) + "\n")
    draw(options.results, options.results / "scores.png")
    print(report(options.results))


if __name__ == "__main__":
    main()
