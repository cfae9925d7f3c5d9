"""Does cleaning captions help? python -m benchmarks.scio --out build/scio-proof [--seeds 0 1 2] [--kinds planted nano]

Captions of simulated places, whose truth is known, get errors: planted at the rates that experts found in the authors'
captions, or those of fusargpt-nano that captions the images itself. A student, which sees as fusarklip-nano does and
has its words, but cannot read yet, learns from captions with errors; one from those without the rows whose matching
score is below 0.5 (CapFilt); one from the half of the rows that matches best, and one from any half; one from those
that `fusargpt scio` has cleaned; one from clean ones. All are asked to find clean texts of places that none has seen. A
cell that is done is not made again, and one that was cut goes on.
"""

import argparse
import json
import sys
from pathlib import Path

from benchmarks.scio.cells import ARMS, RESULTS, Proof, all_cells, run_cell
from benchmarks.scio.data import KINDS
from benchmarks.scio.report import draw, tables
from fusargpt.checkpoints import KLIP_NANO
from fusargpt.errors import InputError
from fusargpt.files import write_text_whole


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/scio-proof"), help="data, fits, cells and tables")
    parser.add_argument("--start", type=Path, default=KLIP_NANO, help="of judges; students have its eyes")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="of errors")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--rows", type=int, default=1000, help="captions")
    parser.add_argument("--held-out", type=int, default=1000, help="places that are searched")
    parser.add_argument("--steps", type=int, default=150, help="of students")
    parser.add_argument("--judge-steps", type=int, default=40, help="of judges")
    parser.add_argument("--rounds", type=int, default=1, help="of SCIO")
    parser.add_argument("--min-auroc", type=float, default=0.65, help="as of fusargpt scio")
    parser.add_argument("--batch", type=int, default=64, help="rows a step")
    given = parser.parse_args()
    try:
        run(given)
    except InputError as error:
        sys.exit(str(error))


def run(given: argparse.Namespace) -> None:
    """All cells that are asked for; tables and picture after each."""
    proof = Proof(
        given.out,
        given.start,
        given.rows,
        given.held_out,
        given.steps,
        given.judge_steps,
        given.rounds,
        given.min_auroc,
        given.batch,
    )
    results = []
    for cell in all_cells(tuple(given.kinds), tuple(given.seeds), tuple(given.arms)):
        results.append(run_cell(cell, proof))
        print(f"{cell.name}: {json.dumps(results[-1])}", flush=True)
        write_text_whole(proof.out / "tables.md", tables(results))
        draw(results, proof.out / "scores.png")
    print(tables(results))
    print(f"Cells: {proof.out / 'cells'} ({RESULTS} each)")


if __name__ == "__main__":
    main()
