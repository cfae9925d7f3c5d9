"""`fusargpt evaluate`: models answer the questions of a dataset; scores, comparisons and a report."""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fusargpt.checkpoints import HUB_ID, check_model_name, shipped
from fusargpt.cli.argument_types import names
from fusargpt.cli.extras import check_constrained, needs
from fusargpt.cli.number_options import add_engine, add_number_types, check_engine
from fusargpt.cli.parser import Parser
from fusargpt.errors import InputError
from fusargpt.tasks.prompts import MAX_NEW_TOKENS, TASKS

if TYPE_CHECKING:
    from fusargpt.evaluation.answerers import OwnEngine

ITEMS_FAILED = 1
# As in fusargpt.evaluation.priors, whose import takes seconds.
PRIORS = ("true", "none", "shuffled", "blind")
# As in fusargpt.evaluation.entries and fusargpt.inference.rows, whose imports take seconds.
_MAJORITY, _SIMULATOR = "majority", "simulator"


def main(arguments: Sequence[str]) -> int:
    """Print the tables and leave results and report in a folder; returns 0, or 1 when some questions failed.

    Raises:
        InputError: an extra is not installed, or what `fusargpt.evaluation.evaluate.evaluate` refuses.
    """
    if any(argument.partition("=")[0] == "--suite" for argument in arguments):
        from fusargpt.cli.foundation import main as suite

        return suite(arguments)
    # Intermixed, so that MODEL and DATASET may also come after the options.
    options = _parser().parse_intermixed_args(arguments)
    _check(options)
    with needs("evaluation needs", "metrics"):
        return _evaluate(options)


def _evaluate(options: argparse.Namespace) -> int:
    import datasets

    from fusargpt.evaluation.evaluate import Options, evaluate
    from fusargpt.evaluation.report import write_report
    from fusargpt.evaluation.results import write_results
    from fusargpt.evaluation.score_tables import difference_table, score_table
    from fusargpt.inference.quiet import quiet_libraries

    quiet_libraries()
    datasets.disable_progress_bars()
    chosen = vars(options)
    if chosen["out"] is None:
        chosen["out"] = Path("evaluation") / f"{Path(options.model).name}-{Path(options.dataset).name}"
    engine = _own_engine(chosen.pop("engine"))
    evaluation = evaluate(Options(**chosen), engine)
    labels = [entry.label for entry in evaluation.entries]
    print(score_table(evaluation.scores, labels))
    if len(labels) > 1:
        print(f"\n{difference_table(evaluation.differences, labels)}\n* its 95 % interval leaves out 0")
    results, report = write_results(evaluation, options.out), write_report(evaluation, options.out)
    print(f"\nReport: {report}\nEvery answer: {results}")
    failures = evaluation.failures
    if not failures:
        return 0
    count = "1 question" if len(failures) == 1 else f"{len(failures)} questions"
    print(f"{count} failed; the same command tries them again:", file=sys.stderr)
    for failure in failures:
        print(f"  {failure.id}{f' ({failure.entry})' if failure.entry else ''}: {failure.reason}", file=sys.stderr)
    return ITEMS_FAILED


def _own_engine(name: str) -> "OwnEngine | None":
    if name == "transformers":
        return None
    from fusargpt.evaluation.answerers import OwnEngine
    from fusargpt.serving.engines import choose_engine, load_engine

    return OwnEngine(name, partial(load_engine, choose_engine(name)))


def _check(options: argparse.Namespace) -> None:
    check_engine(vars(options))
    for name in (options.model, *(name for name in options.baselines if name != _MAJORITY)):
        check_model_name(name)
    check_questions(options)
    for name, chosen, known in (("tasks", options.tasks or (), TASKS), ("prior", options.priors, PRIORS)):
        unknown = [value for value in chosen if value not in known]
        if unknown:
            raise InputError(f"--{name}: found {unknown[0]!r}; expected of {', '.join(known)}")
    if options.constrained:
        check_constrained()
    if options.seed < 0:
        raise InputError(f"--seed: found {options.seed}; expected at least 0")


def check_questions(options: argparse.Namespace) -> None:
    """Raises InputError for a dataset that is none, or numbers of questions and tokens below 1."""
    if options.dataset != _SIMULATOR and not Path(options.dataset).exists() and not HUB_ID.fullmatch(options.dataset):
        raise InputError(
            f"{options.dataset}: there is no such folder; expected a dataset's folder, Parquet or Hub name (owner/name)"
        )
    for name in ("limit", "batch_size", "max_new_tokens"):
        value = vars(options)[name]
        if value is not None and value < 1:
            raise InputError(f"--{name.replace('_', '-')}: found {value}; expected at least 1")


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="fusargpt evaluate",
        description=(
            "Ask a model, and others beside it, the questions of a dataset. Scores come with 95 % bootstrap intervals, "
            "differences to the first model over the same images. A run that was cut goes on with the same command."
        ),
        epilog=(
            "With --suite foundation it examines features instead (fusargpt evaluate --suite foundation --help). "
            "Exit codes: 0; 1 when some questions failed (they are listed); 2 when something is wrong with the input."
        ),
        examples=(
            "fusargpt evaluate fusargpt-mini dataset_card --prior true,none,shuffled,blind",
            "fusargpt evaluate fusargpt-7b harbours --baseline Qwen/Qwen2.5-VL-7B-Instruct --baseline majority",
        ),
        allow_abbrev=False,
    )
    parser.add_argument(
        "model", metavar="MODEL", type=shipped, help="fusargpt-mini, a folder, or owner/name on the Hub"
    )
    parser.add_argument(
        "dataset",
        metavar="DATASET",
        type=shipped,
        help="folder or Hub name of a dataset of triplets, a Parquet file of one, or 'simulator' for held-out scenes",
    )
    parser.add_argument(
        "--baseline",
        metavar="MODEL",
        dest="baselines",
        type=shipped,
        action="append",
        default=[],
        help=(
            "compare with this: any model that AutoModelForImageTextToText loads, without a prior; another FUSAR-GPT; "
            "or 'majority', the most frequent answer in the training split. May be repeated"
        ),
    )
    parser.add_argument(
        "--prior",
        metavar="A,B",
        dest="priors",
        type=names,
        default=("true",),
        help=(
            "of true (its own place), none, shuffled (another place's, by --seed), blind (its own, with a grey image); "
            "default: true"
        ),
    )
    parser.add_argument("--tasks", metavar="A,B", type=names, help=f"of {', '.join(TASKS)} (default: all there are)")
    parser.add_argument("--split", default="test", help="default: test")
    parser.add_argument("--config", metavar="A,B", dest="configs", type=names, help="default: all")
    parser.add_argument(
        "--limit", metavar="N", type=int, help="the first N questions of each task (default: all; simulator: 500)"
    )
    parser.add_argument("--batch-size", metavar="N", type=int, default=64, help="default: 64")
    parser.add_argument(
        "--max-new-tokens",
        metavar="N",
        type=int,
        default=MAX_NEW_TOKENS,
        help=f"where an answer is cut (default: {MAX_NEW_TOKENS})",
    )
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="of the shuffled priors (default: 0)")
    parser.add_argument(
        "--answer-form",
        choices=("auto", "always", "never"),
        default="auto",
        help="add to each question how its answer is to be written (default: auto, for models that are not FUSAR-GPT)",
    )
    parser.add_argument(
        "--constrained",
        action="store_true",
        help="hold the answers of FUSAR-GPT models and their backbones to the form of the task (extra: constrained)",
    )
    parser.add_argument("--device", help="as torch names it (default: a GPU where there is one)")
    add_number_types(parser.add_argument)
    add_engine(parser.add_argument)
    parser.add_argument("--out", metavar="DIR", type=Path, help="default: evaluation/MODEL-DATASET")
    return parser
