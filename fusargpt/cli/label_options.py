"""`fusargpt classify --labels`: classes without training, by FUSAR-KLIP."""

import argparse
from pathlib import Path
from typing import Any

from fusargpt.cli.area_options import AREA
from fusargpt.cli.argument_types import names
from fusargpt.cli.embedding_options import check_source, is_scene, tell_failures
from fusargpt.cli.extras import needs
from fusargpt.cli.scene_options import check_prior, quicklook_of
from fusargpt.errors import InputError

# As in fusargpt.embedding.labels, whose import takes seconds.
SUFFIXES = (".geojson", ".gpkg", ".parquet", ".json", ".csv")
PROMPT = "the terrain is mostly {label}"
_OF_QUESTIONS = (
    "question", "constrained", "max_new_tokens", "contrast_db", "no_skip", "dtype", "quantization", "engine"
)  # fmt: skip


def add_labels(parser: argparse.ArgumentParser) -> None:
    """What chooses among labels instead of asking for targets."""
    labels = parser.add_argument_group(
        "labels (by FUSAR-KLIP, without training; SCENE may be a folder, a dataset or what fusargpt embed wrote)"
    )
    labels.add_argument(
        "--labels", metavar="A,B", type=names, help="choose one of these for each tile; --out may be a .csv table, too"
    )
    labels.add_argument("--prompt", metavar="TEXT", help=f"makes captions of labels (default: {PROMPT!r})")


def classify_by_labels(chosen: dict[str, Any]) -> int:
    """Run `fusargpt classify` with what was parsed; returns 0, or 1 when some images failed.

    Raises:
        InputError: what `fusargpt.embedding.verbs.classify` raises.
    """
    for name in _OF_QUESTIONS:
        if name in chosen:
            option = {"contrast_db": "contrast"}.get(name, name).replace("_", "-")
            raise InputError(f"--{option}: is of questions to FUSAR-GPT; leave it out, or leave --labels out")
    for name in AREA:
        if name in chosen:
            raise InputError(f"--{name.replace('_', '-')}: is not for --labels, which take whole scenes; leave it out")
    scene, out, quicklook = chosen.pop("scene"), chosen.pop("out"), chosen.pop("quicklook")
    if out.suffix.lower() not in SUFFIXES:
        raise InputError(f"--out: found {out.name}; expected a name that ends in {', '.join(SUFFIXES)}")
    check_source(scene)
    if is_scene(scene):
        check_prior(chosen)
        quicklook = quicklook_of(out) if quicklook is None else quicklook
    if chosen.pop("no_quicklook"):
        quicklook = None
    with needs("embedding needs", "scenes", "data"):
        return _run(scene, out, quicklook, chosen)


def _run(scene: str, out: Path, quicklook: Path | None, chosen: dict[str, Any]) -> int:
    from fusargpt.embedding.verbs import classify
    from fusargpt.inference.quiet import quiet_libraries

    quiet_libraries()
    result = classify(scene, out=out, quicklook=quicklook, **chosen)
    total = len(result.features)
    print(f"{'image' if total == 1 else 'images'}  share  label, by {result.prompt!r}")
    for label, count in result.counts().items():
        print(f"{count:>6,}  {count / total:>5.1%}  {label}")
    for path in result.files:
        print(path)
    tell_failures(result.failures)
    return 1 if result.failures else 0
