"""`fusargpt embed`: the vectors of a scene's tiles, of images or of a dataset, in a GeoParquet file."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fusargpt.checkpoints import shipped
from fusargpt.cli.embedding_options import IMAGES_FAILED, add_embedding, check_source, is_scene, tell_failures
from fusargpt.cli.extras import needs
from fusargpt.cli.parser import Parser
from fusargpt.cli.scene_options import PUBLIC_FIELD, check_prior
from fusargpt.errors import InputError


def main(arguments: Sequence[str]) -> int:
    """Leave vectors in a file; returns 0, or 1 when some images failed.

    Raises:
        InputError: an extra is not installed, or what `fusargpt.embedding.embed.embed_all` raises.
    """
    chosen = vars(_parser().parse_args(arguments))
    sources, out = chosen.pop("sources"), chosen.pop("out")
    if "decibels" in chosen:
        chosen["decibels"] = tuple(chosen["decibels"])
    # What is quick to check comes before the seconds that torch takes to import.
    if out.suffix != ".parquet":
        raise InputError(f"--out: found {out.name}; expected a name that ends in .parquet")
    for source in sources:
        check_source(source)
    if len(sources) == 1 and is_scene(sources[0]):
        check_prior(chosen)
    with needs("embedding needs", "scenes", "data"):
        return _run(sources, out, chosen)


def _run(sources: Sequence[str], out: Path, chosen: dict[str, Any]) -> int:
    from fusargpt.embedding.verbs import embed
    from fusargpt.inference.quiet import quiet_libraries

    quiet_libraries()
    embedded = embed(*sources, out=out, **chosen)
    features, about = embedded.features, embedded.features.provenance
    count, width = features.vectors.shape
    print(f"{count:,} vectors of {width} numbers by {features.model} ({features.model_hash})")
    if about["skipped"]:
        print(f"{about['skipped']:,} tiles without data have none")
    print(out)
    tell_failures(embedded.failures)
    return IMAGES_FAILED if embedded.failures else 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="fusargpt embed",
        description="Make vectors of images, for search, clustering or models of your own: the tiles of a scene, image "
        "files, a folder of them, or a dataset of triplets. A run that was cut goes on with the same command.",
        examples=(
            f"fusargpt embed scene.tif --aef {PUBLIC_FIELD} --out scene.parquet",
            "fusargpt embed chips --out chips.parquet",
        ),
        epilog="Exit codes: 0; 1 when some images failed (they are listed); 2 when something is wrong with the input.",
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument(
        "sources",
        metavar="SOURCE",
        type=shipped,
        nargs="+",
        help="a scene (GeoTIFF or COG; file or URL), a folder of images, a dataset, or image files",
    )
    parser.add_argument("--out", metavar="FILE", type=Path, required=True, help="a new .parquet file (GeoParquet)")
    add_embedding(parser)
    return parser
