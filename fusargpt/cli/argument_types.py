"""Types of arguments that several verbs have, for argparse."""

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusargpt.checkpoints import HUB_ID
from fusargpt.errors import InputError

if TYPE_CHECKING:
    from fusargpt.geo.reading import Reading

STORED = ("grey", "decibels", "amplitude", "power", "iq")
"""As in fusargpt.geo.radiometry, whose import takes its time."""
READING = ("stored", "nodata", "crs", "height_m", "band", "polarization")
"""The names of the options of `add_reading`."""


def names(text: str) -> tuple[str, ...]:
    """Different names, as A,B."""
    found = tuple(name.strip() for name in text.split(","))
    if not all(found) or len(set(found)) < len(found):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected different names, as A,B")
    return found


def label(text: str) -> tuple[str, str]:
    """What a label of annotations is here, as NAME=CLASS."""
    name, separator, target = text.rpartition("=")
    if not separator or not name or not target:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected NAME=CLASS, as Boat=ship")
    return name, target


def check_images(name: str) -> None:
    """Raises InputError for what can be neither images nor a dataset of them, before the seconds of an import."""
    if not Path(name).exists() and not HUB_ID.fullmatch(name):
        raise InputError(
            f"{name}: there is no such folder; expected a folder of images, or a dataset's folder, Parquet or Hub name"
        )


def nodata(text: str) -> float:
    """A number, or "none", which is NaN: no value marks pixels without data."""
    try:
        value = math.nan if text.strip().lower() == "none" else float(text)
    except ValueError:
        value = math.inf
    if math.isinf(value):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a number, or none")
    return value


def add_abstain(add: Callable[..., object]) -> None:
    """The least confidence of an answer, by the `add_argument` of a parser or a group."""
    add(
        "--abstain",
        metavar="CONFIDENCE",
        type=float,
        default=0.0,
        help="0 to 1: an answer of which the model is less sure is 'cannot tell' (default: 0, every one is given)",
    )


def check_abstain(least: float) -> None:
    """Raises InputError for what is no confidence."""
    if not 0 <= least <= 1:
        raise InputError(f"--abstain: found {least:g}; expected 0 to 1")


def add_reading(parser: argparse.ArgumentParser) -> None:
    """How a raster is to be read: the fields of `fusargpt.geo.reading.Reading`."""
    group = parser.add_argument_group("how the file is to be read (default: as it says; what was assumed is printed)")
    group.add_argument("--band", metavar="N", type=int, help="of a TIFF, from 1 (default: 1)")
    group.add_argument(
        "--polarization", metavar="VV", help="of the band to read, or what it is where the file does not say"
    )
    group.add_argument(
        "--stored",
        choices=STORED,
        help="what the values are; iq: complex, I and Q in two bands or packed in one number (default: found out)",
    )
    group.add_argument("--nodata", metavar="VALUE", type=nodata, help="marks pixels without data; none: no value does")
    group.add_argument("--crs", metavar="EPSG:N", help="of the file's transform or control points")
    group.add_argument(
        "--height-m", metavar="M", type=float, help="of the ground above the ellipsoid, for files placed by RPCs"
    )


def reading_of(options: dict[str, Any]) -> "Reading":
    """What `add_reading` parsed, taken out of `options`.

    Raises:
        InputError: what `Reading` raises.
    """
    from fusargpt.geo.reading import Reading

    told = {name: options.pop(name, None) for name in READING}
    return Reading(**told)


def check_unread(options: dict[str, Any], why: str) -> None:
    """Raise InputError for options of `add_reading` that were given and have no use, because of `why`."""
    for name in READING:
        if options.get(name) is not None:
            raise InputError(f"--{name.replace('_', '-')}: {why}; leave it out")
