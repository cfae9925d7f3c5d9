"""`fusargpt ask`: one SAR image, one question, one answer, streamed as it is decoded."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fusargpt.checkpoints import DEFAULT, check_model_name, name_of, shipped, shipped_name
from fusargpt.cli.answering import answering
from fusargpt.cli.argument_types import add_abstain, add_reading, check_abstain, reading_of
from fusargpt.cli.extras import check_constrained, needs
from fusargpt.cli.number_options import add_number_types
from fusargpt.cli.parser import Parser, printable
from fusargpt.cli.scene_options import PUBLIC_FIELD, add_anchors, anchors_of, counted
from fusargpt.cli.target_option import add_target, check_answered
from fusargpt.cli.tiling_hint import tiled_by
from fusargpt.errors import InputError
from fusargpt.tasks.prompts import CANNOT_TELL, MAX_NEW_TOKENS, TARGET_TASKS, TASKS, check_question, prompt
from fusargpt.tasks.seen_size import is_shrunk, told_shrunk
from fusargpt.tasks.target_names import TARGETS, check_known

if TYPE_CHECKING:
    from PIL.Image import Image

    from fusargpt.geo.prior import Prior
    from fusargpt.geo.reading import Reading
    from fusargpt.inference.answer_boxes import AnswerBoxes
    from fusargpt.inference.confidences import ScoredAnswer


def main(arguments: Sequence[str]) -> None:
    """Print the answer to stdout, and to stderr what else the user should know.

    Raises:
        InputError: no question, or an image, prior or model that cannot be read.
    """
    # Intermixed, so that QUESTION may also come after the options.
    options = _parser().parse_intermixed_args(arguments)
    _check(options)
    _answer(options)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="fusargpt ask",
        description=(
            "Answer a question about a SAR image. The image is scaled to 8 bit: 8-bit files as they are, others in "
            "decibels from the 1st to the 99.5th percentile. The model sees the image whole, scaled down where it is "
            "large: for a whole scene use fusargpt detect (or count, localize, classify, describe), which tiles it; "
            "for a folder of images fusargpt batch."
        ),
        examples=(
            "fusargpt ask chip.tif 'How many ships are there in this image?'",
            "fusargpt ask chip.tif --task detect --target ship --prior chip.npz",
            f"fusargpt ask chip.tif --task detect --target ship --aef {PUBLIC_FIELD}",
            "fusargpt ask chip.tif --task detect --json --out chip.png",
        ),
    )
    parser.add_argument("image", metavar="IMAGE", type=Path, help="PNG, JPEG or TIFF (8 or 16 bit, float, complex)")
    parser.add_argument("question", metavar="QUESTION", nargs="?", help="free text; may be left out with --task")
    parser.add_argument("--task", choices=TASKS, help="ask this task's own question, or say what QUESTION is about")
    add_target(parser.add_argument)
    prior = parser.add_argument_group("prior (default: none, the image alone)")
    prior.add_argument(
        "--prior", metavar="FILE.npz", type=Path, help="of the same place, as fusargpt prior writes it; or:"
    )
    add_anchors(prior.add_argument, "an image")
    parser.add_argument(
        "--constrained",
        action="store_true",
        help="hold the answer to the form of --task, which is then always readable (extra: constrained)",
    )
    add_abstain(parser.add_argument)
    parser.add_argument(
        "--model",
        metavar="MODEL",
        type=shipped,
        default=str(DEFAULT),
        help=f"model folder, or owner/name on the Hub (default: {DEFAULT.name}, which comes with the package)",
    )
    parser.add_argument(
        "--max-new-tokens",
        metavar="N",
        type=int,
        default=MAX_NEW_TOKENS,
        help=f"where an answer is cut that does not end by itself (default: {MAX_NEW_TOKENS})",
    )
    parser.add_argument("--device", help="as torch names it (default: a GPU where there is one)")
    add_number_types(parser.add_argument)
    outputs = parser.add_argument_group("outputs (default: the answer as it is decoded)")
    outputs.add_argument(
        "--json", action="store_true", help="print one JSON object: the answer, what it says, boxes in pixels, on Earth"
    )
    outputs.add_argument("--out", metavar="PICTURE.png", type=Path, help="a new picture: the image with its boxes")
    add_reading(parser)
    return parser


def _check(options: argparse.Namespace) -> None:
    if options.image.is_dir():
        raise InputError(
            f"{options.image}: a folder; expected one image; for every image of a folder: fusargpt batch "
            f"{shlex.quote(str(options.image))} --task {options.task or 'describe'} --out answers.parquet"
        )
    if not options.image.exists():
        raise InputError(f"{options.image}: no such file")
    # Not `anchors`, the number alone.
    options.anchors = anchors_of(vars(options))
    if options.prior is not None and options.anchors is not None:
        raise InputError("--prior and --aef: expected one of them")
    if options.question is None and options.task is None:
        raise InputError(
            "no QUESTION; give one, or --task to ask that task's own, as in: fusargpt ask "
            f"{shlex.quote(str(options.image))} --task detect"
        )
    if options.question is not None:
        check_question(options.question, "QUESTION")
    check_model_name(options.model)
    if options.out is not None:
        from fusargpt.cli.ask_outputs import check_picture

        check_picture(options.out, options.image)
    if options.max_new_tokens < 1:
        raise InputError(f"--max-new-tokens: found {options.max_new_tokens}; expected at least 1")
    check_abstain(options.abstain)
    if options.constrained and options.task in (None, "describe"):
        raise InputError(
            "--constrained needs the --task whose form the answer has: count, localize, classify or detect"
        )
    if options.constrained:
        check_constrained()
    if options.target is not None and (options.task is None or options.question is not None):
        raise InputError("--target goes into the question of --task; leave QUESTION out, or leave --target out")
    if _asked_target(options) is not None:
        check_answered(options.model, options.target)


def _asked_target(options: argparse.Namespace) -> str | None:
    """The class that the task's own question names; None where it names none, or another question is asked."""
    return (options.target or TARGETS[0]) if options.question is None and options.task in TARGET_TASKS else None


def _answer(options: argparse.Namespace) -> None:
    # What is quick to check comes before the seconds that torch takes to import.
    from fusargpt.geo.image import read_image_as

    reading = reading_of(vars(options))
    image, read_as = read_image_as(options.image, reading)
    prior = _prior(options, reading)

    from transformers import TextStreamer

    from fusargpt.cli.ask_outputs import Asked, geometry_of, save
    from fusargpt.inference.answer_boxes import AnswerBoxes, has_boxes
    from fusargpt.inference.confidences import ScoredAnswer, abstains
    from fusargpt.inference.loading import load
    from fusargpt.inference.quiet import quiet_libraries
    from fusargpt.tasks.grammar import AnswerForm

    quiet_libraries()
    predictor = load(options.model, options.device, options.dtype, options.quantization)
    target = _asked_target(options)
    if target is not None:
        check_known(target, predictor.targets, name_of(options.model))
    seen = predictor.seen_size(image)
    _tell_shrunk(options, image, seen)
    question = options.question or prompt(options.task, options.target or TARGETS[0])
    streamer = None
    # Whether an answer is given is known at its end.
    if not options.json and not options.abstain:
        streamer = TextStreamer(predictor.processor.tokenizer, skip_prompt=True, skip_special_tokens=True)
    classes = predictor.targets or TARGETS if target is None else (target,)
    form = AnswerForm(options.task, classes) if options.constrained else None
    if not read_as.is_picture:
        print(f"{options.image}: {read_as}", file=sys.stderr)
    with answering(options.model):
        answer = predictor.answer(image, question, prior, options.max_new_tokens, streamer, form, options.task)
    if not answer:
        raise InputError(
            f"{options.model}: ended its answer at once, with nothing said to {question!r}, a form of question that it "
            f"may not know; --task asks one that it was trained to answer ({', '.join(TASKS)})"
        )
    confidence = answer.confidence if isinstance(answer, ScoredAnswer) else None
    withheld = answer if abstains(confidence, options.abstain) else None
    given = answer if withheld is None else CANNOT_TELL
    asked = Asked(
        options.image,
        image.size,
        seen,
        options.task,
        question,
        given,
        AnswerBoxes.of(given, seen, image.size) if withheld is None and has_boxes(options.task, answer) else None,
        shipped_name(options.model) or options.model,
        _told_prior(options, prior),
        read_as,
        geometry_of(options.image, reading) if options.json or options.out else None,
        withheld,
    )
    if options.out is not None:
        save(asked.draw(image), options.out)
    if options.json:
        print(asked.as_json())
        return
    if options.abstain:
        print(printable(given))
    if asked.boxes is not None:
        _tell_boxes(asked.boxes, seen, image.size)
    if isinstance(answer, ScoredAnswer):
        _tell_confidence(answer, withheld is not None)


def _tell_confidence(answer: "ScoredAnswer", is_withheld: bool) -> None:
    """On stderr: how sure the model was, and of what, where that is not the answer."""
    if answer.confidence is None:
        return
    how = "calibrated" if answer.calibrated else "by its tokens, not calibrated"
    interval = ""
    if answer.counts is not None and not is_withheld:
        low, high = answer.counts.interval
        interval = f"; 90 % of its probability lies {f'on {low}' if low == high else f'from {low} to {high}'}"
    said = f" in {printable(str(answer))!r}" if is_withheld else ""
    print(f"Confidence{said} {answer.confidence:.2f} ({how}){interval}", file=sys.stderr)


def _tell_boxes(boxes: "AnswerBoxes", seen: tuple[int, int], size: tuple[int, int]) -> None:
    """On stderr: where the boxes lie in the file, and what of the answer could not be read."""
    in_file = "; in pixels of the file:" if boxes.boxes else "."
    print(
        f"Boxes are in pixels of the image as the model sees it, {seen[0]} x {seen[1]}; the file has {size[0]} x "
        f"{size[1]}{in_file}",
        file=sys.stderr,
    )
    for box in boxes.boxes:
        print(f"  {printable(str(box))}", file=sys.stderr)
    if boxes.problems:
        readable = boxes.boxes or boxes.beside
        said = "Not all of this answer can be read" if readable else "This answer cannot be read as boxes"
        print(f"{said}: {boxes.problems[0]}", file=sys.stderr)
    if boxes.beside:
        print(f"{counted(len(boxes.beside), 'box')} left out: {printable(boxes.beside[0])}", file=sys.stderr)


def _told_prior(options: argparse.Namespace, prior: "Prior | None") -> dict[str, object] | None:
    """Where the anchors come from, as plain JSON."""
    if prior is None:
        return None
    from fusargpt.geo.remote import shown

    source = {"file": str(options.prior)} if options.prior is not None else {"aef": shown(options.anchors.aef)}
    return {"anchors": len(prior.embeddings), **source}


def _prior(options: argparse.Namespace, reading: "Reading") -> "Prior | None":
    """From the file or the field that the user names."""
    if options.prior is not None:
        from fusargpt.geo.prior import load_prior

        return load_prior(options.prior)
    if options.anchors is None:
        return None
    with needs("--aef needs", "alphaearth"):
        from fusargpt.alphaearth.scene_prior import scene_prior
        from fusargpt.geo.sar_scene import SarScene

        with SarScene.open(options.image, reading) as scene:
            prior, year = scene_prior(scene, options.anchors, "leave --aef out to answer from the image alone")
    print(f"{options.image}: {counted(len(prior.embeddings), 'anchor')} of AlphaEarth {year}", file=sys.stderr)
    return prior


def _tell_shrunk(options: argparse.Namespace, image: "Image", seen: tuple[int, int]) -> None:
    """Say on stderr that less than half of the image's pixels a side are seen, and which verb sees all of them."""
    if not is_shrunk(*image.size, *seen):
        return
    aef = None if options.anchors is None else options.anchors.aef
    said = told_shrunk(*image.size, *seen)
    print(f"{options.image}: {said}; {tiled_by(options.image, options.task, aef)}", file=sys.stderr)
