"""`fusargpt prior`: the anchors of one image, in the file that `ask`, `batch`, the demo and the processor read."""

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

from fusargpt.alphaearth.anchor_settings import AnchorSettings
from fusargpt.cli.extras import needs
from fusargpt.cli.parser import Parser
from fusargpt.cli.scene_options import PUBLIC_FIELD, add_anchors, anchors_of, counted
from fusargpt.errors import InputError
from fusargpt.files import check_writable, output_file

_REMEDY = "choose another --out"


def main(arguments: Sequence[str]) -> None:
    """Write the file and print what is in it.

    Raises:
        InputError: the extra is not installed, an option or image that is not what it should be, a place or year that
            the field does not cover, or a file that is there already.
    """
    options = _parser().parse_intermixed_args(arguments)
    settings = anchors_of(vars(options))
    if settings is None or options.out is None:
        aef = PUBLIC_FIELD if settings is None else settings.aef
        out = options.out or f"{Path(options.scene).stem}.npz"
        command = ["fusargpt", "prior", options.scene, "--aef", str(aef), "--out", str(out)]
        missing = "--out" if settings is not None else "--aef" if options.out else "--aef and --out"
        raise InputError(f"found no {missing}; type: {shlex.join(command)}")
    if options.out.suffix.lower() != ".npz":
        raise InputError(f"--out: found {options.out.name}; expected a name that ends in .npz")
    if options.out.exists():
        raise InputError(f"{options.out}: exists already; remove it or {_REMEDY}")
    check_writable(options.out, _REMEDY)
    with needs("a prior needs", "alphaearth"):
        _write(options, settings)


def _write(options: argparse.Namespace, settings: AnchorSettings) -> None:
    from fusargpt.alphaearth.scene_prior import scene_prior
    from fusargpt.geo.embeddings import ATTRIBUTION
    from fusargpt.geo.prior import save_prior
    from fusargpt.geo.reading import Reading
    from fusargpt.geo.sar_scene import SarScene

    with SarScene.open(options.scene, Reading(crs=options.crs, height_m=options.height_m)) as scene:
        prior, year = scene_prior(scene, settings, "answer from the image alone")
    with output_file(options.out, _REMEDY) as partial:
        save_prior(partial, prior)
    print(f"{options.out}: {counted(len(prior.embeddings), 'anchor')} of AlphaEarth {year}. {ATTRIBUTION}")


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="fusargpt prior",
        description=(
            "Fetch AlphaEarth embeddings at a grid of anchors over one image, and write them to an .npz file. It is "
            "what --prior of fusargpt ask takes; fusargpt batch finds it beside an image by its name. (A whole scene "
            "in tiles has anchors of its own for each: --aef of fusargpt detect.)"
        ),
        examples=(
            f"fusargpt prior chip.tif --aef {PUBLIC_FIELD} --out chip.npz",
            "fusargpt prior chip.tif --aef fields/aef --year 2023 --anchor-spacing 100 --out chip.npz",
        ),
        allow_abbrev=False,
    )
    parser.add_argument("scene", metavar="SCENE", help="GeoTIFF or COG; file or http, https, s3, gs URL")
    parser.add_argument("--out", metavar="FILE.npz", type=Path, help="needed: a new file")
    add_anchors(parser.add_argument, "an image")
    parser.add_argument("--crs", metavar="EPSG:N", help="of the file's transform or control points")
    parser.add_argument(
        "--height-m", metavar="M", type=float, help="of the ground above the ellipsoid, for files placed by RPCs"
    )
    return parser
