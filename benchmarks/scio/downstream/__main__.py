"""What does cleaning captions buy downstream? python -m benchmarks.scio.downstream --proof build/scio-proof

Stage 1 of FUSAR-GPT on the captions of the cells of the proof (`python -m benchmarks.scio`, which has to be done with
them): with errors, the half of the rows that matches best, what SCIO makes of them, and clean ones (any half: `--arms
any`). All start from the backbone that has seen no prior, taught the form of the captions alone, and train for the same
steps. All are asked to describe places that none has seen; what they say is compared by words (BLEU-4, ROUGE-L) and by
facts. A cell that is done is not made again, and one that was cut goes on.
"""

import argparse
import json
import sys
from pathlib import Path

from benchmarks.scio.cells import ARMS, RESULTS, all_cells
from benchmarks.scio.data import KINDS
from benchmarks.scio.downstream.cells import run_cell, run_start
from benchmarks.scio.downstream.report import draw, tables
from benchmarks.scio.downstream.training import Sizes
from fusargpt.checkpoints import NANO_BACKBONE
from fusargpt.errors import InputError
from fusargpt.files import write_text_whole


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--proof", type=Path, default=Path("build/scio-proof"), help="--out of benchmarks.scio")
    parser.add_argument("--out", type=Path, default=Path("build/scio-downstream"), help="trainings, cells and tables")
    parser.add_argument("--backbone", type=Path, default=NANO_BACKBONE, help="model that has seen no prior")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=["planted"], help="of errors")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=["none", "half", "scio", "clean"])
    parser.add_argument("--form-places", type=int, default=400, help="other places, whose captions show their form")
    parser.add_argument("--form-steps", type=int, default=240, help="in which the backbone learns the form")
    parser.add_argument("--steps", type=int, default=360, help="of stage 1")
    parser.add_argument("--batch", type=int, default=16, help="rows a step")
    parser.add_argument("--held-out", type=int, default=300, help="places that are described")
    given = parser.parse_args()
    try:
        run(given)
    except InputError as error:
        sys.exit(str(error))


def run(given: argparse.Namespace) -> None:
    """All cells that are asked for; tables and picture after each."""
    sizes = Sizes(given.backbone, given.form_places, given.form_steps, given.steps, given.batch, given.held_out)
    start = run_start(given.out, sizes)
    results = []
    for cell in all_cells(tuple(given.kinds), tuple(given.seeds), tuple(given.arms)):
        results.append(run_cell(cell, given.proof, given.out, sizes))
        print(f"{cell.name}: {json.dumps(results[-1]['captions'])}", flush=True)
        write_text_whole(given.out / "tables.md", tables(results, start))
        draw(results, start, given.out / "scores.png")
    print(tables(results, start))
    print(f"Cells: {given.out / 'cells'} ({RESULTS} each)")


if __name__ == "__main__":
    main()
