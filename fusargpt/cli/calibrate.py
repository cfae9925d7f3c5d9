"""`fusargpt calibrate`: confidences that come true, fitted on a validation split and kept in a model's processor."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fusargpt.checkpoints import check_model_name, shipped
from fusargpt.cli.argument_types import names
from fusargpt.cli.evaluate import PRIORS, check_questions
from fusargpt.cli.extras import check_constrained, needs
from fusargpt.cli.parser import Parser
from fusargpt.errors import InputError
from fusargpt.tasks.prompts import MAX_NEW_TOKENS, TASKS

if TYPE_CHECKING:
    from fusargpt.evaluation.calibrating import Calibrated

ITEMS_FAILED = 1
_TASKS = tuple(task for task in TASKS if task != "describe")


def main(arguments: Sequence[str]) -> int:
    """Print calibration errors before and after, and write the processor; returns 0, or 1 when some questions failed.

    Raises:
        InputError: an extra is not installed, or what `fusargpt.evaluation.calibrating.calibrate` refuses.
    """
    # Intermixed, so that MODEL and DATASET may also come after the options.
    options = _parser().parse_intermixed_args(arguments)
    _check(options)
    with needs("calibration needs", "metrics"):
        return _calibrate(options)


def _calibrate(options: argparse.Namespace) -> int:
    import datasets

    from fusargpt.evaluation.calibrating import calibrate
    from fusargpt.evaluation.evaluate import Options
    from fusargpt.inference.quiet import quiet_libraries

    quiet_libraries()
    datasets.disable_progress_bars()
    chosen = vars(options)
    if chosen["out"] is None:
        chosen["out"] = Path("calibration") / f"{Path(options.model).name}-{Path(options.dataset).name}"
    chosen["priors"] = (chosen.pop("prior"),)
    done = calibrate(Options(**chosen, raw_scores=True))
    _tell(done)
    print(f"\nProcessor: {Path(options.model) / 'processor_config.json'}\nNumbers: {done.path}")
    failures = done.evaluation.failures
    if not failures:
        return 0
    count = "1 question" if len(failures) == 1 else f"{len(failures)} questions"
    print(f"{count} failed, and had no part in this:", file=sys.stderr)
    for failure in failures:
        print(f"  {failure.id}: {failure.reason}", file=sys.stderr)
    return ITEMS_FAILED


def _tell(done: "Calibrated") -> None:
    lines = [("task", "n", "right", "error before", "after", "temperature", "offset")]
    for task, found in done.fitted.items():
        numbers = (f"{found.numbers['temperature']:.3f}", f"{found.numbers['offset']:+.3f}")
        said = ("boxes" if task == "detect" else task, f"{found.n:,}", f"{100 * found.right:.1f}")
        lines.append((*said, str(found.before), str(found.after), *numbers))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines if done.fitted else ():
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    if done.fitted:
        print("Expected calibration error in percent with 95 % intervals; after by numbers that other images gave.")
    if "detect" in done.fitted:
        print(f"Over scenes boxes are kept from a score of {done.fitted['detect'].numbers['min_score']:.2f} on.")
    for task, why in done.left.items():
        print(f"{task}: left as it is: {why}")


def _check(options: argparse.Namespace) -> None:
    check_model_name(options.model)
    check_questions(options)
    unknown = [task for task in options.tasks if task not in _TASKS]
    if unknown:
        raise InputError(f"--tasks: found {unknown[0]!r}; expected of {', '.join(_TASKS)}")
    if options.constrained:
        check_constrained()


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="fusargpt calibrate",
        description=(
            "Fit how sure a model is to how often it is right, on a validation split, and write two numbers a task "
            "into the processor of its folder: scores of boxes and confidences of answers are then shares that come "
            "true. Their order stays. Of boxes it also writes the score from which on scenes keep them. A run "
            "that was cut goes on with the same command."
        ),
        epilog=(
            "Exit codes: 0; 1 when some questions failed (they are listed); 2 when something is wrong with the input."
        ),
        examples=(
            "fusargpt calibrate runs/harbours harbours",
            "fusargpt calibrate runs/harbours harbours --split validation --tasks detect --prior none",
        ),
        allow_abbrev=False,
    )
    parser.add_argument("model", metavar="MODEL", type=shipped, help="folder of a model with its processor")
    parser.add_argument(
        "dataset",
        metavar="DATASET",
        type=shipped,
        help="folder or Hub name of a dataset of triplets, a Parquet file of one, or 'simulator' for simulated scenes",
    )
    parser.add_argument("--split", default="validation", help="not test (default: validation)")
    parser.add_argument("--config", metavar="A,B", dest="configs", type=names, help="default: all")
    parser.add_argument(
        "--tasks", metavar="A,B", type=names, default=_TASKS, help=f"default: {','.join(_TASKS)}; the others stay"
    )
    parser.add_argument("--prior", choices=PRIORS, default="true", help="as of fusargpt evaluate (default: true)")
    parser.add_argument(
        "--limit", metavar="N", type=int, help="the first N questions of each task (default: all; simulator: 500)"
    )
    parser.add_argument("--batch-size", metavar="N", type=int, default=16, help="default: 16")
    parser.add_argument(
        "--max-new-tokens",
        metavar="N",
        type=int,
        default=MAX_NEW_TOKENS,
        help=f"where an answer is cut (default: {MAX_NEW_TOKENS})",
    )
    parser.add_argument(
        "--constrained", action="store_true", help="hold answers to the form of the task (extra: constrained)"
    )
    parser.add_argument("--device", help="as torch names it (default: a GPU where there is one)")
    parser.add_argument("--out", metavar="DIR", type=Path, help="default: calibration/MODEL-DATASET")
    return parser
