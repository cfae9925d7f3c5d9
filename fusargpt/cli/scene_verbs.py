"""`fusargpt detect`, `count`, `localize`, `classify` and `describe`: a whole scene from file to map."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusargpt.checkpoints import DEFAULT, check_model_name, shipped
from fusargpt.cli.area_options import add_area, check_area
from fusargpt.cli.extras import needs
from fusargpt.cli.label_options import add_labels, classify_by_labels
from fusargpt.cli.number_options import add_engine, add_number_types, check_engine
from fusargpt.cli.parser import Parser
from fusargpt.cli.scene_options import (
    PUBLIC_FIELD,
    add_grey_levels,
    add_prior,
    add_tiles,
    check_out,
    counted,
    list_problems,
    quicklook_of,
)
from fusargpt.cli.target_option import add_target, check_answered
from fusargpt.errors import InputError
from fusargpt.geo.safe_files import is_safe
from fusargpt.tasks.prompts import MAX_NEW_TOKENS, TARGET_TASKS

if TYPE_CHECKING:
    from fusargpt.scenes.result import SceneResult

TILES_FAILED = 1
DESCRIPTIONS = {
    "classify": "Name the class of the targets in each tile of a grid over a scene, or with --labels one of yours.",
    "count": "Count the targets of a class in each tile of a grid over a scene, as ships.",
    "describe": "Describe each tile of a grid over a scene.",
    "detect": "Box the targets of a class in a whole scene, as ships: tiles with overlap, boxes merged.",
    "localize": "Name the cells with targets of a class, as ships, in each tile of a grid over a scene.",
}
_SUFFIXES = (".geojson", ".json", ".gpkg", ".parquet")
_PICTURES = (".png", ".jpg", ".jpeg")


def run(task: str, arguments: Sequence[str]) -> int:
    """Run the verb `task`; returns 0, or 1 when some tiles failed.

    Args:
        task: of `DESCRIPTIONS`.
        arguments: of the command line.

    Raises:
        InputError: an extra is not installed, or what `fusargpt.scenes.ask_scene.ask_scene` raises.
    """
    chosen = vars(_parser(task).parse_args(arguments))
    if "decibels" in chosen:
        chosen["decibels"] = tuple(chosen["decibels"])
    if "labels" in chosen:
        check_out(task, chosen)
        return classify_by_labels(chosen)
    if "prompt" in chosen:
        raise InputError("--prompt: makes captions of --labels; give some, or leave it out")
    _check_whole(task, chosen)
    scene, out, quicklook = chosen.pop("scene"), chosen.pop("out"), chosen.pop("quicklook")
    # What is quick to check comes before the seconds that torch takes to import.
    if out.suffix.lower() not in _SUFFIXES:
        raise InputError(f"--out: found {out.name}; expected a name that ends in {', '.join(_SUFFIXES)}")
    check_area(chosen)
    if chosen.pop("no_quicklook"):
        quicklook = None
    elif quicklook is None:
        quicklook = quicklook_of(out)
    with needs("--constrained needs", "constrained"), needs("scenes need", "scenes"):
        result = _ask(task, scene, out, quicklook, chosen)
    return _tell(task, result)


def _check_whole(task: str, chosen: dict[str, Any]) -> None:
    """Raises InputError that says what to type where the scene is none, or what every run needs is not said."""
    scene: str = chosen["scene"]
    name = shlex.quote(scene)
    if "://" not in scene and not scene.startswith("/vsi"):
        if Path(scene).is_dir() and not is_safe(scene):
            raise InputError(
                f"{scene}: a folder; expected one SAR scene as a GeoTIFF; for every image of a folder, without "
                f"tiles and map: fusargpt batch {name} --task {task} --out answers.parquet"
            )
        if not Path(scene).exists():
            raise InputError(f"{scene}: no such file; expected a SAR scene as a GeoTIFF")
        if Path(scene).suffix.lower() in _PICTURES:
            raise InputError(
                f"{scene}: a picture without a place; expected a SAR scene as a GeoTIFF; one chip is asked about by: "
                f"fusargpt ask {name} --task {task}"
            )
    prior = chosen.get("no_prior") or "aef" in chosen
    if not prior:
        missing = "--aef or --no-prior" if "out" in chosen else "--out, and no --aef or --no-prior"
        out = shlex.quote(str(chosen.get("out", f"{task}.geojson")))
        raise InputError(
            f"found no {missing}; type: fusargpt {task} {name} --no-prior --out {out} (from the image "
            f"alone), or with AlphaEarth, a folder or what is public: fusargpt {task} {name} --aef {PUBLIC_FIELD} "
            f"--out {out}"
        )
    check_out(task, chosen)
    if "model" in chosen:
        check_model_name(chosen["model"])
    if task in TARGET_TASKS and "question" not in chosen:
        check_answered(chosen.get("model"), chosen.get("target"))


def _ask(task: str, scene: str, out: Path, quicklook: Path | None, chosen: dict[str, Any]) -> "SceneResult":
    from fusargpt.scenes.settings import SceneSettings

    check_engine(chosen)
    engine = chosen.pop("engine", None)
    settings = SceneSettings(task=task, **chosen)

    from fusargpt.inference.quiet import quiet_libraries
    from fusargpt.scenes.ask_scene import ask_scene

    quiet_libraries()
    predictor = None
    if engine == "vllm":
        from fusargpt.serving.engines import choose_engine, load_engine

        predictor = load_engine(choose_engine(engine), settings.model)
    return ask_scene(scene, settings, out, quicklook, predictor)


def _tell(task: str, result: "SceneResult") -> int:
    tiles = result.provenance["tiles"]
    total = tiles["asked"] + tiles["no data"] + tiles["nothing stands out"] + tiles["on land"] + tiles["failed"]
    on_land = f"{tiles['on land']:,} on land, " if tiles["on land"] else ""
    print(
        f"{counted(total, 'tile')}: {tiles['asked']:,} asked, {tiles['nothing stands out']:,} in which nothing stands "
        f"out, {tiles['no data']:,} without data, {on_land}{tiles['failed']:,} failed"
    )
    for where, count in result.provenance.get("left_out", {}).items():
        if count:
            print(f"{counted(count, 'cell' if task == 'localize' else 'box')} left out {where}")
    if task == "detect":
        cut = sum(place.properties["cut"] for place in result.places)
        print(f"{counted(len(result.places), 'box')}, {cut:,} of them cut by an edge between tiles")
        if unsure := result.provenance["boxes_of_lower_scores"]:
            least = result.provenance["min_score"]
            print(
                f"{counted(unsure, 'box')} in the answers of tiles left out, of scores below {least:.2f} (--min-score)"
            )
    if task == "count":
        counts = [place.properties["count"] for place in result.places]
        print(f"{sum(count or 0 for count in counts):,} counted in {counted(len(counts), 'tile')}")
    if abstained := sum(place.properties.get("abstained", False) for place in result.places):
        print(f"{counted(abstained, 'tile')} of which the model cannot tell")
    for path in result.files:
        print(path)
    if tiles["asked without anchors"]:
        print(
            f"{tiles['asked without anchors']:,} of the asked tiles lie where AlphaEarth has no data and were answered "
            "from the image alone (anchors: 0).",
            file=sys.stderr,
        )
    list_problems("answer", "could not be read in whole", result.problems)
    list_problems(
        "tile",
        "failed; the same command tries again",
        [f"tile {one.id}: {one.reason}" for one in result.failures],
    )
    return TILES_FAILED if result.failures else 0


def _parser(task: str) -> argparse.ArgumentParser:
    targets = task in TARGET_TASKS
    about = " --target ship" if targets else ""
    parser = Parser(
        prog=f"fusargpt {task}",
        description=f"{DESCRIPTIONS[task]} A run that was cut goes on with the same command. "
        "For a chip that the model sees whole: fusargpt ask; for a folder of chips: fusargpt batch.",
        epilog="Exit codes: 0; 1 when some tiles failed (they are listed); 2 when something is wrong with the input.",
        examples=(
            f"fusargpt {task} scene.tif{about} --no-prior --out {task}.geojson",
            f"fusargpt {task} scene.tif{about} --aef {PUBLIC_FIELD} --out {task}.geojson",
        ),
        allow_abbrev=False,
        # What is not given is left to fusargpt.scenes.settings.SceneSettings, whose import takes seconds; its
        # defaults are repeated in the help alone.
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument(
        "scene", metavar="SCENE", help="GeoTIFF or COG, file or URL; Sentinel-1 GRD .SAFE or .zip; STAC item"
    )
    if targets:
        add_target(parser.add_argument)
    pixels = "COCO boxes" if task == "detect" else "tiles"
    parser.add_argument(
        "--out", metavar="FILE", type=Path, help=f"needed: .geojson, .gpkg, .parquet, or .json ({pixels} in pixels)"
    )
    parser.add_argument("--quicklook", metavar="PNG", type=Path, default=None, help="default: --out and .png")
    parser.add_argument("--no-quicklook", action="store_true", default=False, help="draw no picture")
    add_area(parser, task)
    add_grey_levels(parser)
    add_prior(parser)
    tiles = parser.add_argument_group("tiles")
    add_tiles(tiles.add_argument, overlap="a quarter for detect, else 0")
    if task == "detect":
        tiles.add_argument(
            "--overlap-threshold",
            metavar="SHARE",
            type=float,
            help="of the smaller of two boxes, from which on they are one object (default: 0.5)",
        )
        tiles.add_argument(
            "--min-score",
            metavar="SCORE",
            type=float,
            help="0 to 1: boxes of which the model was less sure are left out (default: as its calibration says, or 0)",
        )
    if task != "describe":
        tiles.add_argument(
            "--contrast",
            metavar="DB",
            type=float,
            dest="contrast_db",
            help="tiles without 3 x 3 pixels that lie so far above their median are skipped as empty sea (default: 6)",
        )
        tiles.add_argument("--no-skip", action="store_true", help="ask about every tile that holds data")
    if task != "detect":
        tiles.add_argument(
            "--abstain",
            metavar="CONFIDENCE",
            type=float,
            help="0 to 1: of a tile about which the model is less sure nothing is said (default: 0)",
        )

    if task == "classify":
        add_labels(parser)
    model = parser.add_argument_group("model")
    model.add_argument(
        "--model",
        metavar="MODEL",
        type=shipped,
        help=f"name, folder, or owner/name on the Hub (default: {DEFAULT.name})",
    )
    model.add_argument("--question", metavar="TEXT", help="instead of the task's own; the answer is read as the task's")
    if task != "describe":
        model.add_argument(
            "--constrained", action="store_true", help="hold each answer to the form of its task (extra: constrained)"
        )
    model.add_argument("--batch-size", metavar="N", type=int, help="tiles answered at a time (default: 64)")
    model.add_argument(
        "--max-new-tokens", metavar="N", type=int, help=f"where an answer is cut (default: {MAX_NEW_TOKENS})"
    )
    model.add_argument("--device", help="as torch names it (default: a GPU where there is one)")
    add_number_types(model.add_argument, argparse.SUPPRESS)
    add_engine(model.add_argument, argparse.SUPPRESS)
    return parser
