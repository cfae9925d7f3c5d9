"""The options of all verbs that read whole scenes, and what they print alike.

What is not given is left to `fusargpt.scenes.tile_settings.TileSettings`, whose import takes seconds: parsers have
`argument_default=argparse.SUPPRESS`, and its defaults are repeated in the help alone.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fusargpt.alphaearth.anchor_settings import AnchorSettings
from fusargpt.cli.argument_types import add_reading
from fusargpt.errors import InputError

PUBLIC_FIELD = "s3://us-west-2.opendata.source.coop/tge-labs/aef/v1/annual"
ANCHORS = ("aef", "year", "anchors", "anchor_spacing_m", "anchor_resolution")
"""The names of the options of `add_anchors`."""
_SHOWN_PROBLEMS = 5


def add_grey_levels(parser: argparse.ArgumentParser) -> None:
    """How a scene is read and becomes grey levels."""
    add_reading(parser)
    parser.add_argument(
        "--stretch", choices=("scene", "tile"), help="whose percentiles become black and white (default: scene)"
    )
    parser.add_argument(
        "--decibels",
        metavar=("LOW", "HIGH"),
        type=float,
        nargs=2,
        help="what becomes black and white, instead of --stretch: what the model was trained with (mini: -25 0 in VV)",
    )


def add_prior(parser: argparse.ArgumentParser) -> None:
    """Where anchors come from."""
    prior = parser.add_argument_group("prior (one of --aef and --no-prior is needed)")
    prior.add_argument("--no-prior", action="store_true", help="answer from the image alone")
    add_anchors(prior.add_argument, "a tile")


def add_anchors(add: Callable[..., Any], of: str) -> None:
    """The fields of `AnchorSettings`: by `add_argument` of a parser or group. `of` says what has so many anchors."""
    add("--aef", metavar="ROOT", help="AlphaEarth field: folder or http, https, s3, gs URL")
    add("--year", metavar="Y", type=int, help="of the field (default: the acquisition's)")
    add("--anchors", metavar="N", type=int, help=f"N x N {of} (default: 8)")
    add("--anchor-spacing", metavar="M", type=float, dest="anchor_spacing_m", help="metres, instead of --anchors")
    add(
        "--anchor-resolution",
        choices=("native", "match"),
        help="10 m pixels, or the overview that fits the spacing and needs far fewer bytes (default: native)",
    )


def anchors_of(options: dict[str, Any]) -> AnchorSettings | None:
    """What `add_anchors` parsed, taken out of `options`; None where no field is named.

    Raises:
        InputError: what `AnchorSettings` raises, or an option of a field that is not named.
    """
    told = {name: options.pop(name, None) for name in ANCHORS}
    told = {name: value for name, value in told.items() if value is not None}
    if "aef" in told:
        return AnchorSettings(**told)
    for name in told:
        option = f"--{name.removesuffix('_m').replace('_', '-')}"
        raise InputError(f"{option}: of the field that --aef names; add --aef ROOT, or leave {option} out")
    return None


def add_tiles(add: Callable[..., Any], overlap: str) -> None:
    """How a scene is cut: by `add_argument` of a group. `overlap` says its default."""
    add(
        "--tile",
        metavar="PX",
        type=int,
        help="side in the scene's pixels (default: what the model sees unscaled, less of pixels coarser than it knows)",
    )
    add(
        "--resolution",
        metavar="M",
        type=float,
        dest="resolution_m",
        help="of a pixel as the model sees it; the tile follows from it, instead of --tile",
    )
    add("--overlap", metavar="PX", type=int, help=f"of neighbours, at least (default: {overlap})")


def check_prior(chosen: dict[str, Any]) -> None:
    """Raises InputError where a scene is given neither a prior nor word that there is none."""
    if not chosen.get("no_prior") and "aef" not in chosen:
        raise InputError(
            "--aef and --no-prior: found neither; add --no-prior to answer from the image alone, or --aef ROOT with a "
            f"folder or URL of AlphaEarth, which is public at {PUBLIC_FIELD}"
        )


def check_out(task: str, chosen: dict[str, Any]) -> None:
    """Raises InputError where it is not said where the map is to be written."""
    if "out" not in chosen:
        raise InputError(f"found no --out; add where the map is to be written, as: --out {task}.geojson")


def quicklook_of(out: Path) -> Path:
    """The picture beside a map: its own, whatever other maps of that name there are."""
    return out.with_name(f"{out.name}.png")


def counted(count: int, noun: str) -> str:
    """As 1 box, 2 boxes."""
    return f"{count:,} {noun}" + ("" if count == 1 else "es" if noun.endswith("x") else "s")


def list_problems(noun: str, said: str, lines: Sequence[str]) -> None:
    """On stderr: how many there are, and the first of them."""
    if lines:
        print(f"{counted(len(lines), noun)} {said}:", file=sys.stderr)
        for line in lines[:_SHOWN_PROBLEMS]:
            print(f"  {line}", file=sys.stderr)
        if len(lines) > _SHOWN_PROBLEMS:
            print(f"  and {len(lines) - _SHOWN_PROBLEMS:,} more", file=sys.stderr)
