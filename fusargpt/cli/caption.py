"""`fusargpt caption`: sixteen parts about each image, claimed, weighed and corrected stage by stage."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fusargpt.cli.argument_types import label, names
from fusargpt.cli.extras import needs
from fusargpt.errors import InputError

if TYPE_CHECKING:
    from fusargpt.captioning.run import Report
    from fusargpt.captioning.stages import Backend

IMAGES_FAILED = 1
BACKENDS = ("rules",)


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
    for name in ("limit", "workers", "page_images"):
        value = vars(options)[name]
        if value is not None and value < 1:
            raise InputError(f"--{name.replace('_', '-')}: found {value}; expected at least 1")


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
    return _tell(run_captioning(source, _backend(options), settings))


def _backend(options: argparse.Namespace) -> "Backend":
    from fusargpt.captioning.stages import RulesBackend

    return RulesBackend()


def _tell(report: "Report") -> int:
    captioned = sum(report.shards.values())
    print(f"{captioned:>9,} images captioned: {report.out}")
    if report.skipped:
        print(f"{report.skipped:>9,} chips left out: too much of them is without data")
    if report.tokens:
        print(f"{report.tokens:>9,} tokens")
    print(f"Page: {report.out / 'report.html'}\nTrace: {report.out / 'trace.jsonl'}")
    if report.left:
        print(f"The budget is spent; {report.left:,} images are left for the same command.", file=sys.stderr)
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fusargpt caption",
        description=(
            "Describe each image in eight parts of its place and eight of its targets, in five stages that can be "
            "looked into: place, function, radar, instances, calibration. A run that was cut goes on with the same "
            "command."
        ),
        epilog=(
            "examples: fusargpt caption dataset_card --out captions; fusargpt caption scenes.csv --aef aef --out "
            "captions. Exit codes: 0; 1 when some images have no caption (they are listed); 2 when something is wrong "
            "with the input."
        ),
        allow_abbrev=False,
    )
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="dataset of triplets (folder, Parquet file, Hub name), manifest of scenes (.csv, .jsonl, .geojson), "
        "folder of a simulated world, or 'simulator'",
    )
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="a new folder, or one to go on with")
    parser.add_argument(
        "--backend", choices=BACKENDS, default="rules", help="rules: offline and the same every time (default)"
    )
    parser.add_argument(
        "--stages", metavar="A,B", type=names, help="by number or name, as 1,4 (default: all five); for ablations"
    )
    parser.add_argument("--limit", metavar="N", type=int, help="the first N images (default: all; simulator: 50)")
    parser.add_argument("--workers", metavar="N", type=int, default=1, help="images at the same time (default: 1)")
    parser.add_argument(
        "--page-images", metavar="N", type=int, default=40, help="on the page, those that changed most (default: 40)"
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
        help="an annotated label is our ship or aircraft, or ignore; may be repeated",
    )
    return parser
