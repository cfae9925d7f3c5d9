"""`fusargpt triplets build` and `push`: a dataset of triplets from a manifest of SAR scenes, and its way to the Hub."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusargpt.cli.argument_types import label, names
from fusargpt.cli.extras import needs
from fusargpt.cli.parser import Parser
from fusargpt.cli.scene_options import PUBLIC_FIELD
from fusargpt.errors import InputError

if TYPE_CHECKING:
    from fusargpt.triplets.build import Report

SCENES_FAILED = 1


def main(arguments: Sequence[str]) -> int:
    """Run `build` or `push`; returns 0, or 1 when some scenes could not be built.

    Raises:
        InputError: an extra is not installed, or what the builder and the Hub raise.
    """
    options = vars(_parser().parse_args(arguments))
    run = options.pop("run")
    with needs("triplets need", "data", "ray"):
        return run(**options)


def _build(
    manifest: Path, out: Path, workers: int | None = None, title: str | None = None, ray: bool = False, **chosen: Any
) -> int:
    if workers is not None and (workers < 0 or ray):
        found = "with --ray, where the cluster decides" if ray else f"found {workers}"
        raise InputError(f"--workers: {found}; expected a number of processes, 0 for none beside this one")

    from fusargpt.triplets.build import build
    from fusargpt.triplets.settings import BuildSettings
    from fusargpt.triplets.workers import run_all

    run = run_all
    if ray:
        from fusargpt.triplets.ray_build import run_on_ray

        run = run_on_ray
    if "labels" in chosen:
        chosen["labels"] = tuple(chosen["labels"])
    if "anchor_spacing_m" in chosen:
        chosen.setdefault("anchors", None)
    report = build(manifest, out, BuildSettings(**chosen), workers=workers, title=title, run=run)
    _print(report)
    return SCENES_FAILED if report.failures else 0


def _push(folder: Path, repo: str, private: bool, partly: bool) -> int:
    from fusargpt.triplets.publish import push

    print(push(folder, repo, private=private, partly=partly))
    return 0


def _print(report: "Report") -> None:
    for name, count in report.counts.items():
        if count:
            print(f"{count:>9,} {name}")
    for split in ("train", "validation", "test"):
        print(f"{report.scenes.get(split, 0):>9,} scenes in {split}")
    for shard, rows in report.shards.items():
        print(f"{rows:>9,} rows in {report.folder / shard}")
    for kind, count in report.kinds:
        print(f"{count:,} {'scenes' if count > 1 else 'scene'}: {kind}", file=sys.stderr)
    empty = [split for split in ("train", "validation", "test") if not report.scenes.get(split)]
    if empty and len(empty) < 3:
        print(f"No scene is in {', '.join(empty)}: splits go by place; name them in the manifest.", file=sys.stderr)
    if report.failures:
        scenes = "1 scene" if len(report.failures) == 1 else f"{len(report.failures)} scenes"
        print(f"The shards are without {scenes} that failed; the next run tries again:", file=sys.stderr)
        for failure in report.failures:
            print(f"  {failure}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="fusargpt triplets",
        description="Make a dataset of triplets (SAR image, AlphaEarth prior, text) from scenes, and publish it.",
        epilog="'fusargpt triplets VERB --help' explains one.",
    )
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    _add_build(
        verbs.add_parser(
            "build",
            # What is not given is left to fusargpt.triplets.settings.BuildSettings; its defaults are repeated in the
            # help alone.
            argument_default=argparse.SUPPRESS,
            help="cut scenes into chips with anchors, questions and descriptions",
            description="Build the dataset of a manifest: CSV, JSONL or GeoJSON with one row a scene; its columns are "
            "described in docs/how-to/triplets.md. A run that was interrupted is continued by the same command.",
            epilog="Exit codes: 0; 1 when some scenes failed (they are listed); 2 when something is wrong with the "
            "input.",
            examples=(f"fusargpt triplets build scenes.csv --aef {PUBLIC_FIELD} --out harbours",),
        )
    )
    push = verbs.add_parser(
        "push",
        help="upload a finished dataset to the Hub",
        description="Upload a finished dataset. Log in first, with: hf auth login",
        examples=("fusargpt triplets push harbours someone/harbours --private",),
    )
    push.add_argument("folder", metavar="DIR", type=Path, help="what build made")
    push.add_argument("repo", metavar="OWNER/NAME", help="dataset on the Hub, made if it does not exist")
    push.add_argument("--private", action="store_true", help="make a new repository private")
    push.add_argument("--partly", action="store_true", help="upload although some scenes failed")
    push.set_defaults(run=_push)
    return parser


def _add_build(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=_build)
    parser.add_argument("manifest", metavar="MANIFEST", type=Path, help=".csv, .jsonl or .geojson")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder of the dataset")
    parser.add_argument("--title", help="of the dataset card (default: the folder's name)")
    parser.add_argument("--workers", metavar="N", type=int, help="processes (default: all cores; 0: none)")
    parser.add_argument("--ray", action="store_true", help="work on the Ray cluster at RAY_ADDRESS, or a local one")

    prior = parser.add_argument_group("prior")
    prior.add_argument("--aef", metavar="ROOT", help="AlphaEarth field: folder or http, https, s3, gs URL")
    prior.add_argument("--anchors", metavar="N", type=int, help="N x N a chip (default: 8)")
    prior.add_argument(
        "--anchor-spacing",
        metavar="M",
        type=float,
        dest="anchor_spacing_m",
        help="metres, instead of --anchors",
    )
    prior.add_argument(
        "--resolution",
        choices=("native", "match"),
        help="10 m pixels, or the overview that fits the anchors' spacing and needs far fewer bytes (default: native)",
    )
    prior.add_argument(
        "--missing-prior",
        choices=("raise", "empty"),
        help="chips without georeference, date or AlphaEarth data: fail the scene, or have no anchors (default: raise)",
    )

    chips = parser.add_argument_group("chips")
    chips.add_argument("--chip-size", metavar="PX", type=int, help="0: whole scenes (default: 504)")
    chips.add_argument("--overlap", metavar="PX", type=int, help="of neighbours, at least (default: 0)")
    chips.add_argument("--max-nodata", metavar="SHARE", type=float, help="of a chip (default: 0.5)")
    chips.add_argument(
        "--min-visible", metavar="SHARE", type=float, help="of an object that belongs to a chip (default: 0.5)"
    )
    chips.add_argument(
        "--keep-empty",
        metavar="SHARE",
        type=float,
        help="of chips without objects (default: 1)",
    )
    chips.add_argument("--min-pixels", metavar="N", type=int, help="of the model's processor (default: 3136)")
    chips.add_argument("--max-pixels", metavar="N", type=int, help="likewise (default: 12845056)")
    chips.add_argument(
        "--image-size", metavar="PX", type=int, help="side of the square that the processor makes, if it does"
    )

    labels = parser.add_argument_group("labels and splits")
    labels.add_argument(
        "--label",
        metavar="NAME=CLASS",
        dest="labels",
        action="append",
        type=label,
        help="an annotated label is this class, or ignore; may be repeated (default: it is itself a class)",
    )
    labels.add_argument(
        "--targets", metavar="A,B", type=names, help="annotated classes, and no others (default: those that occur)"
    )
    labels.add_argument(
        "--split-distance",
        metavar="KM",
        type=float,
        dest="split_distance_km",
        help="scenes nearer than this share a split (default: 1)",
    )
    labels.add_argument(
        "--split-shares",
        metavar="A,B,C",
        type=_shares,
        dest="shares",
        help="of places in train, validation, test (default: 0.8,0.1,0.1)",
    )


def _shares(text: str) -> tuple[float, ...]:
    try:
        shares = tuple(float(share) for share in text.split(","))
    except ValueError:
        shares = ()
    if len(shares) != 3:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected three shares, as 0.8,0.1,0.1")
    return shares
