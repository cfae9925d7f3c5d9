"""Rows of mini's language stages, in the columns of `triplets build`; every image is the square that the model sees.

python -m trl_recipes.small.rows questions --pictures build/mini/scenes --ssdd SSDD --count 16000 --out DIR
python -m trl_recipes.small.rows captions --pictures build/mini/scenes_of_stage1 --out DIR
python -m trl_recipes.small.rows instructions --pictures build/mini/scenes_of_stage2 --ssdd SSDD --count 6000 --out DIR
python -m trl_recipes.small.rows chips --ssdd SSDD --count 8000 --out DIR

- `questions`: about drawn pictures, simulated and real, without priors; and descriptions of whole scenes;
- `captions`: descriptions of stored scenes, with their priors;
- `instructions`: the other tasks about stored scenes, with their priors, and about drawn pictures of real chips, which
  have none;
- `chips`: about real chips, most of them whole.

Boxes are asked for in pixels of that square, and named by its rows of tokens. Shards are written atomically and kept.
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

from datasets import Dataset
from PIL import Image

from fusargpt.errors import InputError
from fusargpt.geo.prior import PRIOR_EMBEDDINGS, PRIOR_LONLAT, PRIOR_POSITIONS
from fusargpt.tasks.answers import LabelledBox
from fusargpt.tasks.prompts import prompt
from fusargpt.tasks.questions import conversation, questions_about
from fusargpt.tasks.stable_random import whole_number
from fusargpt.tasks.target_names import TARGETS
from fusargpt.triplets.features import RECORD_FEATURES
from trl_recipes.data.rows import Row
from trl_recipes.small.drawing import WHOLE, Drawing, ordered, read_chips
from trl_recipes.small.pictures import Picture, in_whole_pixels, scaled
from trl_recipes.small.scenes import drawing_of, is_real, read_scenes, row_picture
from trl_recipes.small.shards import Shard, write_shards
from trl_recipes.small.sizes import MINI, SMALL_MODELS, SmallModel

LAYOUTS = ("questions", "captions", "instructions", "chips")
_SHARD = 1000
_ROW_GROUP = 500
_DESCRIBED = 1.5  # whole scenes that are described, for each drawn picture of `questions`
_NOWHERE: Row = dict.fromkeys(
    (
        PRIOR_EMBEDDINGS,
        PRIOR_POSITIONS,
        PRIOR_LONLAT,
        "year",
        "bounds",
        "crs",
        "polarization",
        "resolution_m",
        "acquired",
    )
)

Jobs = tuple[Callable[[int], list[Row]], int]
"""What makes the rows of an item, and how many items there are."""


def asked(name: str, picture: Picture, targets: Sequence[str]) -> list[tuple[str, str, str]]:
    """Task, question and answer of all that a picture with whole boxes is asked."""
    objects = [
        LabelledBox([int(edge) for edge in box], label)
        for box, label in zip(picture.boxes, picture.labels, strict=True)
    ]
    found = questions_about(name, objects, (), targets, picture.width, picture.height)
    return [(question.task, question.prompt, question.answer) for question in found]


def rows_of(name: str, picture: Picture, columns: Row, turns: Sequence[tuple[str, str, str]]) -> list[Row]:
    """A row for each question about one picture."""
    objects = [
        {"bbox_2d": [int(edge) for edge in box], "label": label, "fine_label": ""}
        for box, label in zip(picture.boxes, picture.labels, strict=True)
    ]
    shared = {**columns, "image": Image.fromarray(picture.pixels), "objects": objects}
    return [{**shared, "id": f"{name}-{task}", **conversation(task, *texts)} for task, *texts in turns]


def scene_rows(rows: Dataset, described: bool, asks: bool, side: int, index: int) -> list[Row]:
    """The rows of a stored scene, squeezed to `side` pixels: its description, its other questions, or both."""
    row = cast(dict[str, Any], rows[index])
    picture = ordered(in_whole_pixels(scaled(row_picture(row), side, side)))
    name = str(row["id"])
    turns = asked(name, picture, TARGETS) if asks else []
    if described:
        turns.append(("describe", prompt("describe", TARGETS[0], whole_number(name)), row["described"]))
    columns = {key: value for key, value in row.items() if key not in ("cover", "described", "image", "objects")}
    columns["resolution_m"] = row["resolution_m"] * row["image"].width / side
    return rows_of(name, picture, columns, turns)


def drawn_rows(drawing: Drawing, index: int) -> list[Row]:
    """The rows of a drawn picture, which is nowhere."""
    which, picture = drawing.draw(index)
    real = is_real(drawing.sources[which])
    name = f"drawn-{drawing.seed}-{index:06d}"
    columns = {**_NOWHERE, "sensor": "SAR" if real else "simulated SAR"}
    return rows_of(name, picture, columns, asked(name, picture, TARGETS[:1] if real else TARGETS))


def jobs(
    layout: str, size: SmallModel, pictures: Path | None, ssdd: Path | None, count: int, seed: int
) -> dict[str, Jobs]:
    """By the name of its shards, what a layout is made of.

    Raises:
        InputError: no scenes or no chips for a layout that is made of them, or chips that cannot be read.
    """
    if layout == "chips":
        if ssdd is None:
            raise InputError("chips: found no --ssdd; expected the folder of SSDD, of which they are")
        whole = Drawing([read_chips(ssdd)], [1.0], size.image_size, size.most_objects, seed, WHOLE)
        return {"chips": (partial(drawn_rows, whole), count)}
    if pictures is None:
        raise InputError(f"{layout}: found no --pictures; expected the folder of trl_recipes.small.scenes")
    scenes = {f"version{version}": read_scenes(pictures, version) for version in (1, 2)}
    side = size.image_size
    if layout != "questions":
        is_captions = layout == "captions"
        found: dict[str, Jobs] = {
            name: (partial(scene_rows, rows, is_captions, not is_captions, side), len(rows))
            for name, rows in scenes.items()
        }
        if ssdd is not None and layout == "instructions":
            real = Drawing([read_chips(ssdd)], [1.0], side, size.most_objects, seed)
            found["chips"] = (partial(drawn_rows, real), count)
        return found
    drawing = drawing_of(size, pictures, ssdd, seed)
    found = {"drawn": (partial(drawn_rows, drawing), count)}
    for name, rows in scenes.items():
        some = min(len(rows), round(count * _DESCRIBED / 2))
        found[name] = (partial(scene_rows, rows, True, False, side), some)
    return found


def rows_at(made: dict[str, Jobs], item: tuple[str, int]) -> list[Row]:
    """The rows of an item of a job."""
    name, index = item
    make, _ = made[name]
    return make(index)


def write_rows(out: Path, made: dict[str, Jobs], workers: int) -> None:
    """Write shards of all jobs as the split `train`."""
    shards = [
        Shard(
            out / f"train-{name}-{low // _SHARD:05d}.parquet",
            [(name, index) for index in range(low, min(low + _SHARD, items))],
        )
        for name, (_, items) in made.items()
        for low in range(0, items, _SHARD)
    ]
    write_shards(shards, partial(rows_at, made), RECORD_FEATURES, _ROW_GROUP, workers)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("layout", choices=LAYOUTS)
    parser.add_argument("--size", choices=SMALL_MODELS, default=MINI.name, help="default: mini")
    parser.add_argument("--pictures", type=Path, help="scenes of trl_recipes.small.scenes; `chips` reads none")
    parser.add_argument("--ssdd", type=Path, help="folder of SSDD; without it, simulated scenes alone")
    parser.add_argument("--count", type=int, default=16_000, help="drawn pictures (default: 16000)")
    parser.add_argument("--seed", type=int, default=1, help="of drawn pictures (default: 1; the tower has 0)")
    parser.add_argument("--workers", type=int, default=1, help="processes beside this one (default: 1)")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    size = SMALL_MODELS[options.size]
    try:
        made = jobs(options.layout, size, options.pictures, options.ssdd, options.count, options.seed)
        write_rows(options.out, made, options.workers)
    except InputError as error:
        parser.exit(2, f"rows: error: {error}\n")


if __name__ == "__main__":
    main()
