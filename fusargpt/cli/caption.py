"""`fusargpt caption`: sixteen parts about each image, claimed, weighed and corrected stage by stage."""

import argparse
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fusargpt.checkpoints import HUB_ID, shipped
from fusargpt.cli.argument_types import label, names
from fusargpt.cli.extras import needs
from fusargpt.cli.parser import Parser
from fusargpt.errors import InputError

if TYPE_CHECKING:
    from fusargpt.captioning.chat.models import ChatModel
    from fusargpt.captioning.run import Report
    from fusargpt.captioning.stages import Backend

IMAGES_FAILED = 1
BACKENDS = ("rules", "chat")
# As in fusargpt.captioning.chat.endpoint, whose import takes its time.
RESPONSE_FORMS = ("json_schema", "json_object", "text")
ANSWER_TOKENS, SECONDS = 1024, 120.0
_ASKED = ("model", "base_url", "budget_tokens", "cache")


def main(arguments: Sequence[str]) -> int:
    """Leave captions, their trace and a page in a folder; returns 0, or 1 when some images have no caption.

    Raises:
        InputError: an extra is not installed, or what `fusargpt.captioning.run.run_captioning` refuses.
    """
    # Intermixed, so that SOURCE may also come after the options.
    options = _parser().parse_intermixed_args(arguments)
    _check(options)
    with needs("captions need", "captions"):
        return _run(options)


def _check(options: argparse.Namespace) -> None:
    source = options.source
    if source != "simulator" and not Path(source).exists() and not HUB_ID.fullmatch(source):
        raise InputError(
            f"{source}: no such file or folder; expected a dataset (folder, Parquet file, owner/name on the Hub), a "
            "manifest (.csv, .jsonl, .geojson, .json), the folder of a world, or 'simulator'"
        )
    for name in ("limit", "workers", "page_images", "budget_tokens", "max_new_tokens"):
        value = vars(options)[name]
        if value is not None and value < 1:
            raise InputError(f"--{name.replace('_', '-')}: found {value}; expected at least 1")
    if not options.timeout > 0:
        raise InputError(f"--timeout: found {options.timeout:g}; expected seconds, above 0")
    if options.backend == "chat" and options.model is None:
        raise InputError("--backend chat asks a model; name it with --model, and a server with --base-url")
    if options.backend == "rules" and (given := [name for name in _ASKED if vars(options)[name] is not None]):
        raise InputError(f"--{given[0].replace('_', '-')}: rules ask no model; leave it out, or take --backend chat")


def _run(options: argparse.Namespace) -> int:
    import datasets

    from fusargpt.captioning.run import CaptionSettings, run_captioning
    from fusargpt.captioning.sources import open_source
    from fusargpt.captioning.stages import STAGES, chosen_stages
    from fusargpt.inference.quiet import quiet_libraries
    from fusargpt.triplets.settings import BuildSettings

    datasets.disable_progress_bars()
    quiet_libraries()
    stages = STAGES if options.stages is None else chosen_stages(options.stages)
    cut = {name: value for name, value in (("chip_size", options.chip_size),) if value is not None}
    aef = BuildSettings(aef=options.aef, missing_prior="empty", labels=tuple(options.labels or ()), **cut)
    source = open_source(options.source, aef, options.config, options.splits, options.limit, options.decibels)
    settings = CaptionSettings(options.out, stages, options.workers, options.page_images)
    with _backend(options) as backend:
        return _tell(run_captioning(source, backend, settings))


@contextmanager
def _backend(options: argparse.Namespace) -> Generator["Backend"]:
    from fusargpt.captioning.stages import RulesBackend

    if options.backend == "rules":
        yield RulesBackend()
    elif options.base_url is None:
        from fusargpt.captioning.chat.local import LocalChat
        from fusargpt.captioning.detections import FusarGptBackend, is_fusar_gpt
        from fusargpt.inference.loading import check_name, load

        check_name(options.model)
        if is_fusar_gpt(options.model):
            yield FusarGptBackend(
                load(options.model), Path(options.model).name, options.prior == "given", options.boxes == "model"
            )
        else:
            with _asking(options, LocalChat(options.model, options.max_new_tokens)) as backend:
                yield backend
    else:
        from fusargpt.captioning.chat.endpoint import Endpoint, EndpointSettings

        settings = EndpointSettings(
            model=options.model,
            base_url=options.base_url,
            answer_tokens=options.max_new_tokens,
            seconds=options.timeout,
            form=options.response_form,
            temperature=options.temperature,
        )
        with _asking(options, Endpoint(settings)) as backend:
            yield backend


@contextmanager
def _asking(options: argparse.Namespace, model: "ChatModel") -> Generator["Backend"]:
    from fusargpt.captioning.chat.backend import ChatBackend
    from fusargpt.captioning.chat.models import Budget, Memory

    out = options.out.absolute()
    memory = Memory(options.cache or out.parent / f"{out.name}.replies.sqlite")
    try:
        yield ChatBackend(model, memory, Budget(options.budget_tokens))
    finally:
        memory.close()


def _tell(report: "Report") -> int:
    captioned = sum(report.shards.values())
    print(f"{captioned:>9,} images captioned: {report.out}")
    if report.skipped:
        print(f"{report.skipped:>9,} chips left out: too much of them is without data")
    if report.tokens:
        print(f"{report.tokens:>9,} tokens")
    print(f"Page: {report.out / 'report.html'}\nTrace: {report.out / 'trace.jsonl'}")
    if report.left:
        images = "1 image is" if report.left == 1 else f"{report.left:,} images are"
        print(f"Stopped: {report.stopped}; {images} left for the same command.", file=sys.stderr)
    if report.failures:
        count = "1 image" if len(report.failures) == 1 else f"{len(report.failures):,} images"
        print(f"{count} failed; the same command tries them again:", file=sys.stderr)
        for failure in report.failures:
            print(f"  {failure.id}: {failure.reason}", file=sys.stderr)
    return IMAGES_FAILED if report.failures or report.left else 0


def _decibels(text: str) -> tuple[float, float]:
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        low, high = 0.0, 0.0
    if not low < high:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected two ascending numbers, as -25,0")
    return low, high


def _temperature(text: str) -> float | None:
    if text == "none":
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 2:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a number from 0 to 2, or none")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="fusargpt caption",
        description=(
            "Describe each image in eight parts of its place and eight of its targets, in five stages that can be "
            "looked into: place, function, radar, instances, calibration. A run that was cut goes on with the same "
            "command."
        ),
        epilog=(
            "Exit codes: 0; 1 when some images have no caption (they are listed, or left for the same command); 2 when "
            "something is wrong with the input."
        ),
        examples=(
            "fusargpt caption dataset_card --out captions",
            "fusargpt caption scenes.csv --aef aef --out captions",
            "fusargpt caption harbours --backend chat --model Qwen/Qwen3-VL-8B-Instruct "
            "--base-url http://localhost:8000/v1 --workers 8 --out captions",
        ),
        allow_abbrev=False,
    )
    parser.add_argument(
        "source",
        metavar="SOURCE",
        type=shipped,
        help="dataset of triplets (folder, Parquet file, Hub name), manifest of scenes (.csv, .jsonl, .geojson), "
        "folder of a simulated world, or 'simulator'",
    )
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="a new folder, or one to go on with")
    parser.add_argument(
        "--backend",
        choices=BACKENDS,
        default="rules",
        help="rules: offline, always the same (default); chat: a model claims what it sees, and judges at the end",
    )
    parser.add_argument(
        "--stages", metavar="A,B", type=names, help="by number or name, as 1,4 (default: all five); for ablations"
    )
    parser.add_argument("--limit", metavar="N", type=int, help="the first N images (default: all; simulator: 50)")
    parser.add_argument("--workers", metavar="N", type=int, default=1, help="images at the same time (default: 1)")
    parser.add_argument(
        "--page-images", metavar="N", type=int, default=40, help="on the page, those that changed most (default: 40)"
    )
    chat = parser.add_argument_group("--backend chat")
    chat.add_argument(
        "--model",
        metavar="MODEL",
        help="as the server calls it; without --base-url the folder of a model",
    )
    chat.add_argument(
        "--base-url",
        metavar="URL",
        help="of a server of the OpenAI interface, as http://localhost:8000/v1; its key is read from OPENAI_API_KEY",
    )
    chat.add_argument("--budget-tokens", metavar="N", type=int, help="to spend in this run, which stops then")
    chat.add_argument(
        "--cache", metavar="FILE", type=Path, help="of replies (default: DIR.replies.sqlite beside --out)"
    )
    chat.add_argument(
        "--max-new-tokens", metavar="N", type=int, default=ANSWER_TOKENS, help="of an answer (default: 1024)"
    )
    chat.add_argument("--timeout", metavar="S", type=float, default=SECONDS, help="for an answer (default: 120)")
    chat.add_argument(
        "--response-form",
        choices=RESPONSE_FORMS,
        default=RESPONSE_FORMS[0],
        help="how the server holds answers to their form (default: json_schema; text: it cannot)",
    )
    chat.add_argument(
        "--temperature", metavar="T", type=_temperature, default=0.0, help="default: 0; none leaves it to the server"
    )
    chat.add_argument(
        "--prior", choices=("given", "none"), default="given", help="that a FUSAR-GPT sees (default: given)"
    )
    chat.add_argument(
        "--boxes",
        choices=("given", "model"),
        default="given",
        help="of a FUSAR-GPT: look for targets only where no boxes came with the image (default), or always",
    )
    dataset = parser.add_argument_group("a dataset")
    dataset.add_argument("--config", metavar="NAME", help="default: captions where there is one, else the first")
    dataset.add_argument("--split", metavar="A,B", dest="splits", type=names, help="default: all; simulator: test")
    dataset.add_argument(
        "--decibels",
        metavar="LOW,HIGH",
        type=_decibels,
        help="that became the grey levels 0 and 255, where all images are calibrated alike",
    )
    scenes = parser.add_argument_group("a manifest")
    scenes.add_argument("--aef", metavar="ROOT", help="AlphaEarth field: folder or http, https, s3, gs URL")
    scenes.add_argument("--chip-size", metavar="PX", type=int, help="0: whole scenes (default: 504)")
    scenes.add_argument(
        "--label",
        metavar="NAME=CLASS",
        dest="labels",
        action="append",
        type=label,
        help="an annotated label is this class, or ignore; may be repeated (default: it is itself a class)",
    )
    return parser
