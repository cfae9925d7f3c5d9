"""What `embed`, `search` and `classify --labels` take and print alike."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fusargpt.checkpoints import shipped
from fusargpt.cli.argument_types import check_images, names
from fusargpt.cli.scene_options import add_grey_levels, add_prior, add_tiles, list_problems
from fusargpt.errors import InputError

if TYPE_CHECKING:
    from fusargpt.inference.questions import Failure

IMAGES_FAILED = 1
_SCENE_SUFFIXES = (".tif", ".tiff")


def add_embedding(parser: argparse.ArgumentParser) -> None:
    """How images are read, and the model. What is not given is left to `EmbeddingSettings`."""
    add_grey_levels(parser)
    add_prior(parser)
    add_tiles(parser.add_argument_group("tiles of a scene").add_argument, overlap="0")
    rows = parser.add_argument_group("rows of a dataset")
    rows.add_argument("--split", help="default: test")
    rows.add_argument("--config", metavar="A,B", dest="configs", type=names, help="default: all")
    model = parser.add_argument_group("model")
    model.add_argument(
        "--model",
        metavar="MODEL",
        type=shipped,
        help="FUSAR-KLIP, or CLIP and its like, which see the image alone: folder, or owner/name on the Hub "
        "(default: fusarklip-nano)",
    )
    model.add_argument("--batch-size", metavar="N", type=int, help="images embedded at a time (default: 32)")
    model.add_argument("--device", help="as torch names it (default: a GPU where there is one)")


def is_scene(source: str) -> bool:
    """Whether this is a scene that is cut into tiles, by its name alone."""
    return "://" in source or source.startswith("/vsi") or source.lower().endswith(_SCENE_SUFFIXES)


def check_source(source: str) -> None:
    """Raises InputError for a local scene or image that is not there, before the seconds that torch takes to import."""
    if "://" in source or source.startswith("/vsi") or os.path.exists(source):
        return
    if Path(source).suffix.lower() in (*_SCENE_SUFFIXES, ".png", ".jpg", ".jpeg", ".parquet"):
        raise InputError(f"{source}: no such file; expected a scene, an image, a folder of images or a dataset")
    check_images(source)


def tell_failures(failures: "Sequence[Failure]") -> None:
    """On stderr, after all else."""
    lines = [f"{one.id}: {one.reason}" for one in failures]
    list_problems("image", "failed; the same command tries again", lines)


def tell_unknown(words: Sequence[str]) -> None:
    """On stderr: words of a query that say nothing to the model."""
    if words:
        print(f"The model does not know {', '.join(words)}; the rest of the words was searched for.", file=sys.stderr)
