"""`fusargpt batch`: one question about every image of a folder, or every question of a dataset; answers in a file."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fusargpt.checkpoints import DEFAULT, check_model_name, shipped
from fusargpt.cli.argument_types import (
    add_abstain,
    add_reading,
    check_abstain,
    check_images,
    check_unread,
    names,
    reading_of,
)
from fusargpt.cli.extras import needs
from fusargpt.cli.parser import Parser
from fusargpt.cli.scene_options import PUBLIC_FIELD, add_anchors, anchors_of
from fusargpt.cli.target_option import add_target
from fusargpt.cli.tiling_hint import tiled_by
from fusargpt.errors import InputError
from fusargpt.tasks.prompts import CANNOT_TELL, MAX_NEW_TOKENS, TARGET_TASKS, TASKS, check_question, prompt
from fusargpt.tasks.target_names import TARGETS

if TYPE_CHECKING:
    from fusargpt.serving.batch_inputs import Source

ITEMS_FAILED = 1
# As in fusargpt.serving.engines, whose import takes seconds.
ENGINES = ("auto", "transformers", "vllm")
_SUFFIXES = (".parquet", ".jsonl")


def main(arguments: Sequence[str]) -> int:
    """Leave the answers in a file; returns 0, or 1 when some items failed or were answered with nothing.

    Raises:
        InputError: an extra is not installed, or what `fusargpt.serving.batch.run_batch` refuses.
    """
    # Intermixed, so that SOURCE may also come after the options.
    options = _parser().parse_intermixed_args(arguments)
    _check(options)
    with needs("batches need", "serving"):
        return _run(options)


def _check(options: argparse.Namespace) -> None:
    for name in ("batch_size", "max_new_tokens"):
        value = vars(options)[name]
        if value is not None and value < 1:
            raise InputError(f"--{name.replace('_', '-')}: found {value}; expected at least 1")
    check_abstain(options.abstain)
    if options.workers < 0:
        raise InputError(f"--workers: found {options.workers}; expected at least 0")
    if options.out.suffix not in _SUFFIXES:
        raise InputError(f"--out: found {options.out.name}; expected a name that ends in {' or '.join(_SUFFIXES)}")
    if not options.out.parent.is_dir():
        raise InputError(f"--out: there is no folder {options.out.parent}")
    unknown = [task for task in options.tasks or () if task not in TASKS]
    if unknown:
        raise InputError(f"--task: found {unknown[0]!r}; expected of {', '.join(TASKS)}")
    check_model_name(options.model)
    check_images(options.source)
    source, task = Path(options.source), (options.tasks or ["detect"])[0]
    if source.is_file() and source.suffix != ".parquet":
        name = shlex.quote(str(source))
        raise InputError(
            f"{source}: a file; expected a folder of images or a dataset; one chip is asked about by: fusargpt ask "
            f"{name} --task {task}, and a whole scene by: fusargpt {task} {name} --no-prior --out {task}.geojson"
        )
    if options.question is not None:
        check_question(options.question, "--question")
    # Not `anchors`, the number alone.
    options.anchors = anchors_of(vars(options))
    if options.anchors is not None and options.prior == "none":
        raise InputError("--aef and --prior none: expected one of them")


def _run(options: argparse.Namespace) -> int:
    import datasets

    from fusargpt.inference.quiet import quiet_libraries
    from fusargpt.serving.batch import BatchSettings, run_batch
    from fusargpt.serving.batch_inputs import ImageFolder

    datasets.disable_progress_bars()
    quiet_libraries()
    source = _source(options)
    names_target = isinstance(source, ImageFolder) and options.question is None and source.task in TARGET_TASKS
    settings = BatchSettings(
        options.out,
        options.model,
        options.engine,
        options.workers,
        options.batch_size,
        options.max_new_tokens,
        options.target or TARGETS[0] if names_target else None,
        options.abstain,
    )
    report = run_batch(source, settings)
    print(f"{report.answered:,} answers: {report.out}")
    if report.withheld:
        print(f"  {report.withheld:,} of them {CANNOT_TELL!r}, of a confidence below {options.abstain:g}")
    for read_as, count in report.read_as:
        print(f"  {count:,} {'images' if count > 1 else 'image'}: {read_as}")
    if report.shrunk:
        task = None if options.tasks is None else options.tasks[0]
        aef = None if options.anchors is None else options.anchors.aef
        print(
            f"{len(report.shrunk):,} of them, as {report.shrunk[0]}, are seen at less than half their size, in which "
            f"small targets are lost; {tiled_by(Path(options.source) / report.shrunk[0], task, aef)}",
            file=sys.stderr,
        )
    if "detect" in (options.tasks or ()):
        print("Boxes are in pixels of each image as the model sees it (seen_width, seen_height).", file=sys.stderr)
    if report.empty:
        print(
            f"In {report.empty:,} of them nothing is said, to a form of question that the model may not know; --task "
            f"asks one that it was trained to answer ({', '.join(TASKS)})",
            file=sys.stderr,
        )
    if not report.failures:
        return ITEMS_FAILED if report.empty else 0
    count = "1 item" if len(report.failures) == 1 else f"{len(report.failures):,} items"
    print(f"{count} failed; the same command tries them again:", file=sys.stderr)
    for failure in report.failures:
        print(f"  {failure.id}: {failure.reason}", file=sys.stderr)
    return ITEMS_FAILED


def _source(options: argparse.Namespace) -> "Source":
    from fusargpt.inference.image_folder import is_dataset
    from fusargpt.serving.batch_inputs import ImageFolder, TripletDataset

    with_prior = options.prior == "given"
    if is_dataset(options.source):
        if options.anchors is not None:
            raise InputError(f"{options.source}: a dataset, whose rows bring their own priors; leave --aef out")
        if options.question is not None or options.target is not None:
            raise InputError(
                f"{options.source}: a dataset, whose rows bring their own questions; leave --question and --target "
                "out, and choose among the rows with --task"
            )
        check_unread(vars(options), f"{options.source} is a dataset, whose images are ready to be seen")
        configs = None if options.configs is None else tuple(options.configs)
        chosen = None if options.tasks is None else tuple(options.tasks)
        return TripletDataset(options.source, options.split or "test", configs, chosen, with_prior)
    if options.split is not None or options.configs is not None:
        raise InputError(f"{options.source}: a folder of images, which has neither --split nor --config")
    if len(options.tasks or ()) != 1 and (options.tasks or options.question is None):
        raise InputError(f"{options.source}: a folder of images; ask one --task, or a --question of your own")
    if options.question is not None and options.target is not None:
        raise InputError("--target goes into the question of --task; leave --question out, or leave --target out")
    (task,) = options.tasks or ("",)
    question = options.question or prompt(task, options.target or TARGETS[0])
    return ImageFolder(Path(options.source), question, task, reading_of(vars(options)), with_prior, options.anchors)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="fusargpt batch",
        description=(
            "Ask one question about every image of a folder (its prior is an .npz file of the same name beside it, or "
            "comes from the field of --aef), or every question of a dataset of triplets. A run that was cut goes on "
            "with the same command. One image: fusargpt ask; a whole scene, tiled and mapped: fusargpt detect."
        ),
        epilog="Exit codes: 0; 1 when some items failed (they are listed) or have an empty answer; 2 when something is "
        "wrong with the input.",
        examples=(
            "fusargpt batch scenes --task detect --out answers.parquet",
            f"fusargpt batch scenes --task detect --aef {PUBLIC_FIELD} --out answers.parquet",
            "fusargpt batch someone/harbours --task count --engine vllm --workers 4 --out answers.jsonl",
        ),
        allow_abbrev=False,
    )
    parser.add_argument(
        "source",
        metavar="SOURCE",
        type=shipped,
        help="folder of PNG, JPEG or TIFF files; or folder, Parquet file or Hub dataset",
    )
    parser.add_argument(
        "--task", metavar="TASK", dest="tasks", type=names, help=f"of {', '.join(TASKS)}; of a dataset also A,B"
    )
    add_target(parser.add_argument)
    parser.add_argument("--question", metavar="TEXT", help="put this to the images of a folder")
    parser.add_argument("--out", metavar="FILE", type=Path, required=True, help="a new .parquet or .jsonl file")
    parser.add_argument(
        "--model",
        metavar="MODEL",
        type=shipped,
        default=str(DEFAULT),
        help=f"model folder, or owner/name on the Hub (default: {DEFAULT.name}, which comes with the package)",
    )
    add_abstain(parser.add_argument)
    parser.add_argument("--engine", choices=ENGINES, default="auto", help="default: vllm where it is installed")
    parser.add_argument(
        "--workers", metavar="N", type=int, default=0, help="so many models on Ray; default: 0, one in this process"
    )
    parser.add_argument(
        "--batch-size", metavar="N", type=int, help="items asked together (default: 64, or 256 with vllm)"
    )
    prior = parser.add_argument_group(
        "prior (default: the .npz file beside an image, or that of a row, if there is one)"
    )
    prior.add_argument("--prior", choices=("given", "none"), default="given", help="none leaves those alone")
    add_anchors(prior.add_argument, "an image")
    parser.add_argument("--split", help="of a dataset (default: test)")
    parser.add_argument("--config", metavar="A,B", dest="configs", type=names, help="of a dataset (default: all)")
    parser.add_argument(
        "--max-new-tokens",
        metavar="N",
        type=int,
        default=MAX_NEW_TOKENS,
        help=f"where an answer is cut (default: {MAX_NEW_TOKENS})",
    )
    add_reading(parser)
    return parser
