"""The whole model, trained through the package's recipes: stage 1 describes the ground, stage 2 counts its ships."""

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from datasets import Dataset
from pyarrow import parquet
from tqdm import tqdm

from benchmarks.ablation import run as ablation
from benchmarks.ablation.cells import Cell as AblationCell
from benchmarks.pixel_size.cells import PER_SIDE, SHUFFLED, SIGMA, Cell
from benchmarks.pixel_size.scenes import seeds
from fusargpt.errors import InputError
from fusargpt.files import written_whole
from fusargpt.geo.blank import blank
from fusargpt.geo.embeddings import dequantize
from fusargpt.geo.prior import PRIOR_EMBEDDINGS, PRIOR_POSITIONS, Prior
from fusargpt.inference.asking import Asking
from fusargpt.inference.journal import Journal
from fusargpt.inference.loading import load
from fusargpt.inference.questions import FusarGptAnswerer, Item, Question
from fusargpt.simulator.description import describe
from fusargpt.simulator.records import Record, scene_fields
from fusargpt.simulator.version2.scene import simulate_pixels
from fusargpt.tasks.answers import parse_count
from fusargpt.tasks.prompts import prompt
from fusargpt.tasks.questions import conversation
from fusargpt.triplets.features import RECORD_FEATURES

BATCH = 16
MAX_NEW_TOKENS = 8
_AT_ONCE = 60
_TARGET = "ship"


@dataclass(frozen=True)
class Effort:
    """How much is done in each cell; results of different efforts do not mix.

    Attributes:
        backbone: name of the folder that it starts from, or whose tower is read.
        training: scenes to learn from, of each stage.
        steps: optimizer steps of `BATCH` sequences, of each stage; 0 where a head is trained instead.
        scenes: held-out scenes.
    """

    backbone: str
    training: int
    steps: tuple[int, int]
    scenes: int

    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {**asdict(self), "steps": list(self.steps)}


def run_cell(cell: Cell, effort: Effort, backbone: Path, build: Path) -> dict[str, list[int]]:
    """Train and ask one cell; counts by arm and the true ones under "reference". An interrupted cell goes on.

    A count that cannot be read is -1.
    """
    folder = build / "whole_model" / cell.name
    fusion = "none" if cell.arm == "none" else "tlm"
    initial = ablation.make_initial(
        AblationCell(cell.arm, cell.seed, fusion=fusion, sigma=SIGMA), backbone, folder / "initial"
    )
    shared = ["--seed", str(cell.seed), "--feature_cache", str(build / "features")]
    shared += ["--per_device_train_batch_size", str(BATCH), "--save_steps", "50"]
    if cell.arm == "none":
        shared += ["--prior", "none"]
    both = ["--train", "lora" if cell.arm == "none" else "tlm+lora"]
    start = initial
    for stage, (task, steps, more) in enumerate(zip(("describe", "count"), effort.steps, (both, []), strict=True), 1):
        data = ["--dataset_name", str(_data(cell, task, effort.training, build)), "--max_steps", str(steps)]
        ablation.train(f"stage{stage}.yaml", start, folder / f"stage{stage}", [*more, *data, *shared])
        start = folder / f"stage{stage}"
    return _ask(cell, start, effort.scenes, folder / "answers")


def _row(seed: int, cell: Cell, task: str) -> Record:
    """One row of a scene; of `blind` without its image."""
    scene = simulate_pixels(seed, (cell.pixel_size, cell.pixel_size))
    fields = scene_fields(scene, per_side=PER_SIDE, polarization="VV")
    if cell.arm == "blind":
        fields["image"] = blank(fields["image"])
    said = describe(scene) if task == "describe" else str(sum(target.label == _TARGET for target in scene.targets))
    return {**fields, "id": f"{fields['id']}-{task}", **conversation(task, prompt(task, _TARGET, seed), said)}


def _data(cell: Cell, task: str, count: int, build: Path) -> Path:
    """The folder of training rows, made where it is not there; `none` reads those of `true` without their prior."""
    arm = "blind" if cell.arm == "blind" else "true"
    folder = build / "rows" / f"{cell.pixel_size:g}m-{arm}-{task}-{count}"
    path = folder / "train-00000-of-00001.parquet"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        places = tqdm(seeds("train", count), unit="scene", desc=f"{cell.pixel_size:g} m, {task}")
        rows = [_row(seed, cell, task) for seed in places]
        with written_whole(path) as part:
            table = Dataset.from_list(rows, features=RECORD_FEATURES).data.table
            parquet.write_table(table, part, compression="zstd")
    return folder


def _ask(cell: Cell, model: Path, count: int, journals: Path) -> dict[str, list[int]]:
    """Counts of held-out scenes.

    Raises:
        InputError: a question that the model could not be asked; those that it answered are kept.
    """
    rows = [_row(seed, cell, "count") for seed in seeds("test", count)]
    priors = [Prior(dequantize(row[PRIOR_EMBEDDINGS]), row[PRIOR_POSITIONS]) for row in rows]
    items = [Item(row["id"], "count", row["prompt"][0]["content"], str(place), 0) for place, row in enumerate(rows)]
    images = [row["image"].convert("RGB") for row in rows]

    def question(item: Item, arm: str) -> Question:
        place = int(item.place)
        prior = priors[(place + 1) % len(priors)] if arm == SHUFFLED else priors[place]
        return Question(item, images[place], item.question, None if arm == "none" else prior)

    answerer = FusarGptAnswerer(load(model))
    answers = {"reference": [int(row["completion"][0]["content"]) for row in rows]}
    for arm in cell.asked:
        journal = Journal(journals / f"{arm}.jsonl", {"cell": cell.name, "scenes": count}, "a cell")
        with tqdm(total=len(items), initial=len(journal.answers), unit="answer", desc=f"{cell.name}, {arm}") as shown:
            asking = Asking(
                answerer,
                partial(question, arm=arm),
                journal,
                batch_size=_AT_ONCE,
                max_new_tokens=MAX_NEW_TOKENS,
                advance=shown.update,
            )
            failures = asking.run(items, "given")
        if failures:
            raise InputError(
                f"{cell.name}, {arm}: {len(failures)} questions without an answer; the same command asks them again; "
                f"{failures[0].id}: {failures[0].reason}"
            )
        said = [parse_count(journal.answers[item.id].answer).value for item in items]
        answers[arm] = [-1 if value is None else value for value in said]
    return answers
