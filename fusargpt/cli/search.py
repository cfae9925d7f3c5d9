"""`fusargpt search`: the places of a scene, or the images of a folder, that fit words best."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusargpt.checkpoints import shipped
from fusargpt.cli.embedding_options import (
    IMAGES_FAILED,
    add_embedding,
    check_source,
    is_scene,
    tell_failures,
    tell_unknown,
)
from fusargpt.cli.extras import needs
from fusargpt.cli.parser import Parser
from fusargpt.cli.scene_options import PUBLIC_FIELD, check_prior
from fusargpt.errors import InputError

if TYPE_CHECKING:
    from fusargpt.embedding.search import Found


def main(arguments: Sequence[str]) -> int:
    """Print what was found; returns 0, or 1 when some images failed.

    Raises:
        InputError: an extra is not installed, or what `fusargpt.embedding.search_run.search_all` raises.
    """
    # Intermixed, so that WORDS may also come after the options.
    chosen = vars(_parser().parse_intermixed_args(arguments))
    words, image, within = chosen.pop("words"), chosen.pop("image"), chosen.pop("within")
    if "decibels" in chosen:
        chosen["decibels"] = tuple(chosen["decibels"])
    # What is quick to check comes before the seconds that torch takes to import.
    query: str | Path | None = words if image is None else image
    if query is None or (words is not None and image is not None):
        raise InputError("WORDS and --image: expected one of them")
    if words is not None and not words.strip():
        raise InputError("WORDS: found none; expected what to search for, as 'ships at anchor off a port'")
    check_source(within)
    if is_scene(within):
        check_prior(chosen)
    with needs("search needs", "scenes", "data"):
        return _run(query, within, chosen)


def _run(query: str | Path, within: str, chosen: dict[str, Any]) -> int:
    from fusargpt.embedding.verbs import search
    from fusargpt.inference.quiet import quiet_libraries

    quiet_libraries()
    found = search(query, within, **chosen)
    print("\n".join(table(found)))
    for path in found.files:
        print(path)
    tell_unknown(found.unknown)
    tell_failures(found.failures)
    return IMAGES_FAILED if found.failures else 0


def table(found: "Found") -> list[str]:
    """Lines: rank, score, match where it was asked, place (longitude and latitude, or pixels), id."""
    rows = found.rows()
    matched = any("match" in row for row in rows)
    columns = [["rank", *(str(row["rank"]) for row in rows)], ["score", *(f"{row['score']:.3f}" for row in rows)]]
    if matched:
        columns.append(["match", *(f"{row['match']:.3f}" if "match" in row else "" for row in rows)])
    columns.append(["place", *map(_place, rows)])
    columns.append(["id", *(row["id"] for row in rows)])
    widths = [max(map(len, column)) for column in columns]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
        for cells in zip(*columns, strict=True)
    ]


def _place(row: dict[str, Any]) -> str:
    if row["centre"] is not None:
        longitude, latitude = row["centre"]
        return f"{longitude:.5f}, {latitude:.5f}"
    x1, y1, x2, y2 = row["box"]
    return f"pixels {x1}-{x2}, {y1}-{y2}"


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="fusargpt search",
        description="Search a scene, a folder of images or a dataset by words, or by an image. What fusargpt embed "
        "wrote is searched at once; anything else is embedded first. A run that was cut goes on with the same command.",
        examples=(
            f"fusargpt search 'ships at anchor off a port' --in scene.tif --aef {PUBLIC_FIELD} --out found",
            "fusargpt search 'mostly crops' --in scene.parquet --top 5",
        ),
        epilog="Exit codes: 0; 1 when some images failed (they are listed); 2 when something is wrong with the input.",
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("words", metavar="WORDS", nargs="?", default=None, help="what to search for")
    parser.add_argument(
        "--in",
        dest="within",
        metavar="WHERE",
        type=shipped,
        required=True,
        help="a scene, a folder of images, a dataset, or a .parquet file of fusargpt embed",
    )
    parser.add_argument("--image", metavar="FILE", type=Path, default=None, help="search for what looks like this")
    parser.add_argument("--top", metavar="N", type=int, help="how many to list (default: 20)")
    parser.add_argument(
        "--rerank",
        metavar="N",
        type=int,
        help="look at the N best again with the words, by the model's matching head (default: 0)",
    )
    parser.add_argument(
        "--out",
        metavar="FOLDER",
        type=Path,
        help="a new folder for found.geojson (or .json), heat_map.png of a scene, and features.parquet",
    )
    add_embedding(parser)
    return parser
