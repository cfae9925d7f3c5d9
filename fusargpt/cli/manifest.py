"""`fusargpt manifest`: sets of annotated pictures, as they are published, to what `fusargpt triplets build` takes."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fusargpt.cli.extras import needs
from fusargpt.cli.parser import Parser
from fusargpt.cli.scene_options import counted
from fusargpt.errors import InputError

if TYPE_CHECKING:
    from fusargpt.triplets.set_manifest import SetManifest

FORMATS = ("coco", "dota", "hrsid", "sardet", "voc", "yolo")
"""As in fusargpt.triplets.layouts, whose import takes its time."""
PICTURES_FAILED = 1
_SHOWN_LABELS = 20


def main(arguments: Sequence[str]) -> int:
    """Write the manifest and print what is in it; returns 0, or 1 when some pictures had to be left out.

    Raises:
        InputError: an extra is not installed, or what `fusargpt.triplets.set_manifest.set_manifest` refuses.
    """
    options = _parser().parse_intermixed_args(arguments)
    splits: dict[str, str] = {}
    for split, path in options.splits:
        if split in splits:
            raise InputError(f"--split: found {split} twice; expected one list of it")
        splits[split] = path
    columns = {name: text for name in ("sensor", "license") if (text := vars(options)[name])}
    with needs("manifests need", "data"):
        from fusargpt.triplets.set_manifest import set_manifest

        made = set_manifest(
            options.format,
            options.source,
            options.out,
            images=options.images,
            annotations=options.annotations,
            splits=splits,
            columns=columns,
        )
    _tell(made, options.out)
    return PICTURES_FAILED if made.failures else 0


def _tell(made: "SetManifest", out: Path) -> None:
    for split, count in made.splits.items():
        print(f"{count:>9,} pictures {f'in {split}' if split else 'without a split'}")
    labels = list(made.objects.items())
    for label, count in labels[:_SHOWN_LABELS]:
        print(f"{count:>9,} {label}")
    if len(labels) > _SHOWN_LABELS:
        others = sum(count for _, count in labels[_SHOWN_LABELS:])
        print(f"{others:>9,} of {len(labels) - _SHOWN_LABELS:,} other labels")
    if made.rotated:
        print(
            f"{made.rotated:>9,} of the objects are rotated; a dataset keeps their corners, and asks for upright boxes"
        )
    command = shlex.join(["fusargpt", "triplets", "build", str(out), "--chip-size", "0", "--missing-prior", "empty"])
    print(f"{counted(made.rows, 'row')} in {out}; next: {command} --out DIR")
    if made.failures:
        print(f"The manifest is without {counted(len(made.failures), 'picture')} that failed:", file=sys.stderr)
        for failure in made.failures:
            print(f"  {failure.reason}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="fusargpt manifest",
        description=(
            "Make the manifest of a set of annotated pictures, which fusargpt triplets build makes a dataset of. Each "
            "format knows how its sets lie: folders of pictures and annotations, and their splits. Labels stay as they "
            "are; --label of triplets build gives them other names."
        ),
        epilog="Exit codes: 0; 1 when some pictures were left out (they are listed); 2 when something is wrong with "
        "the input.",
        examples=(
            "fusargpt manifest sardet SARDet_100K --out sardet.csv",
            "fusargpt manifest coco harbours --images images --annotations bridges.json --out bridges.csv",
            "fusargpt manifest voc ssdd --images images --annotations annotations --split train=train.txt "
            "--split test=test.txt --out ssdd.csv",
        ),
        allow_abbrev=False,
    )
    parser.add_argument("format", metavar="FORMAT", choices=FORMATS, help=f"of {', '.join(FORMATS)}")
    parser.add_argument("source", metavar="SOURCE", type=Path, help="folder of the set")
    parser.add_argument("--out", metavar="FILE", type=Path, required=True, help="a new .csv or .jsonl file")
    places = parser.add_argument_group("places in SOURCE (default: where the format has them)")
    places.add_argument("--images", metavar="DIR", help="of the pictures")
    places.add_argument("--annotations", metavar="PATH", help="folder of the annotations, or the COCO file")
    places.add_argument(
        "--split",
        metavar="NAME=FILE",
        dest="splits",
        type=_split,
        action="append",
        default=[],
        help="train, validation or test: the list of its pictures, or its COCO file; may be repeated",
    )
    parser.add_argument("--sensor", metavar="TEXT", help="of all pictures, as TerraSAR-X")
    parser.add_argument("--license", metavar="TEXT", help="of all pictures, as apache-2.0")
    return parser


def _split(text: str) -> tuple[str, str]:
    split, separator, path = text.partition("=")
    if not separator or not path:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a split and its list, as train=train.txt")
    return split, path
