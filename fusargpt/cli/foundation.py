"""`fusargpt evaluate MODEL --suite foundation`: what frozen features hold, over the tasks of a foundation model."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from fusargpt.cli.argument_types import names
from fusargpt.cli.extras import check_open_clip, needs
from fusargpt.cli.parser import Parser
from fusargpt.errors import InputError

SUITE = "foundation"
TASKS_FAILED = 1
# As in fusargpt.foundation.arms and entries, whose import takes seconds.
ARMS = ("true", "none", "shuffled", "blind")
BASELINES = ("hand", "alphaearth", "hand+alphaearth", "nano-tower", "random")


def main(arguments: Sequence[str]) -> int:
    """Print the tables and leave results, report and plot in a folder; returns 0, or 1 when some tasks failed.

    Raises:
        InputError: the extra is not installed, or what `fusargpt.foundation.suite.examine` refuses.
    """
    options = _parser().parse_intermixed_args(arguments)
    _check(options)
    with needs("the foundation suite needs", "foundation"):
        return _examine(options)


def _examine(options: argparse.Namespace) -> int:
    from fusargpt.evaluation.score_tables import difference_table, score_table
    from fusargpt.foundation.report import write_report
    from fusargpt.foundation.results import write_model_index, write_results
    from fusargpt.foundation.suite import Options, examine
    from fusargpt.inference.quiet import quiet_libraries

    quiet_libraries()
    chosen = vars(options)
    del chosen["suite"]
    if chosen["out"] is None:
        chosen["out"] = Path("evaluation") / f"{Path(options.model).name}-{SUITE}"
    findings = examine(Options(**chosen))
    labels = [entry.label for entry in findings.entries]
    print(score_table(findings.scores, labels))
    headlines = {
        task.name: {task.headline: findings.differences[task.name].get(task.headline, {})} for task in findings.tasks
    }
    print(f"\n{difference_table(headlines, labels)}")
    results, report = write_results(findings, options.out), write_report(findings, options.out)
    index = write_model_index(findings, options.out)
    print(f"\nReport: {report}\nAll scores: {results}\nFor a model card: {index}")
    if not findings.failures:
        return 0
    print("not scored; the same command tries it again:", file=sys.stderr)
    for failure in findings.failures:
        print(f"  {failure.task} ({failure.entry}): {failure.reason}", file=sys.stderr)
    return TASKS_FAILED


def _check(options: argparse.Namespace) -> None:
    for name in ("scenes", "train", "validation", "batch_size"):
        if vars(options)[name] < 1:
            raise InputError(f"--{name.replace('_', '-')}: found {vars(options)[name]}; expected at least 1")
    for name in ("rerank", "seed"):
        if vars(options)[name] < 0:
            raise InputError(f"--{name}: found {vars(options)[name]}; expected at least 0")
    if any(name.startswith("open_clip:") for name in (options.model, *options.baselines)):
        check_open_clip()
    unknown = [value for value in options.priors if value not in ARMS]
    if unknown:
        raise InputError(f"--prior: found {unknown[0]!r}; expected of {', '.join(ARMS)}")


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog=f"fusargpt evaluate --suite {SUITE}",
        description=(
            "What the frozen features of a model hold about simulated SAR places: retrieval by texts, zero-shot "
            "classes, and probes of land cover, counts, finer classes and segmentation. Probes are fitted to training "
            "places, chosen on validation places and scored on test places, with 95 % bootstrap intervals. A run that "
            "was cut goes on with the same command."
        ),
        epilog=(
            "Exit codes: 0; 1 when a task could not be scored (it is listed); 2 when something is wrong with the input."
        ),
        examples=(
            "fusargpt evaluate fusarklip-nano --suite foundation --prior true,none,shuffled,blind "
            "--baselines random,hand,nano-tower,alphaearth",
            "fusargpt evaluate build/klip/ship_chips_tuned --suite foundation --tasks probe-ship-chips "
            "--baselines fusarklip-nano,hand",
        ),
        allow_abbrev=False,
    )
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="folder or owner/name on the Hub: a FUSAR-KLIP, a classifier made of one, or what "
        "AutoModelForZeroShotImageClassification or AutoModel loads; open_clip:ARCHITECTURE/WEIGHTS; or a baseline",
    )
    parser.add_argument("--suite", choices=(SUITE,), required=True, help=argparse.SUPPRESS)
    parser.add_argument(
        "--prior",
        metavar="A,B",
        dest="priors",
        type=names,
        default=("true",),
        help="of true (its own place), none, shuffled (another place's, by --seed), blind (its own, with a grey "
        "picture); default: true",
    )
    parser.add_argument(
        "--baselines",
        metavar="A,B",
        type=names,
        default=(),
        help=f"of {', '.join(BASELINES)} (the model's architecture), or any other MODEL; majority is always there",
    )
    parser.add_argument(
        "--tasks",
        metavar="A,B",
        type=names,
        help="by their names in the table (default: all but segmentation-two-polarizations)",
    )
    parser.add_argument("--scenes", metavar="N", type=int, default=1000, help="test places (default: 1000)")
    parser.add_argument("--train", metavar="N", type=int, default=2000, help="places for probes (default: 2000)")
    parser.add_argument(
        "--validation", metavar="N", type=int, default=500, help="places that choose probes (default: 500)"
    )
    parser.add_argument(
        "--rerank",
        metavar="N",
        type=int,
        default=32,
        help="first texts and images matched again; 0: none (default: 32)",
    )
    parser.add_argument(
        "--sar-acd", metavar="FOLDER", type=Path, help="chips of SAR-ACD, as CLASS/NUMBER.jpg: their classes, too"
    )
    parser.add_argument(
        "--ssdd",
        metavar="FOLDER",
        type=Path,
        help="chips of SSDD, as images, annotations, train.txt and validation.txt: their ships, too",
    )
    parser.add_argument(
        "--labelled",
        metavar="DATA",
        help="images with one class each: a dataset with image, label and the splits train, validation and test, or a "
        "folder CLASS/NUMBER.jpg: their classes, too",
    )
    parser.add_argument("--batch-size", metavar="N", type=int, default=32, help="default: 32")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="of the shuffled priors (default: 0)")
    parser.add_argument("--device", help="as torch names it (default: a GPU where there is one)")
    parser.add_argument("--out", metavar="FOLDER", type=Path, help=f"default: evaluation/MODEL-{SUITE}")
    return parser
