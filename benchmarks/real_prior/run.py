"""Train and question one cell; what is done already is not done again."""

import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from datasets import Dataset, Features, Image, List, Value
from PIL import Image as Pillow
from pyarrow import parquet
from tqdm import tqdm

from benchmarks.ablation import run as ablation
from benchmarks.ablation.cells import Cell as AblationCell
from benchmarks.real_prior.cells import SIGMA, Arm, Cell, Variant
from benchmarks.real_prior.regions import Split
from benchmarks.real_prior.scenes import (
    CELL_PIXELS,
    DESCRIBE,
    SIDES,
    TASKS,
    Ground,
    following,
    test_scenes,
    training_scenes,
)
from fusargpt.errors import InputError
from fusargpt.files import written_whole
from fusargpt.geo.blank import blank
from fusargpt.geo.embeddings import dequantize, quantize
from fusargpt.geo.prior import PRIOR_EMBEDDINGS, PRIOR_POSITIONS, Prior
from fusargpt.inference.asking import Asking
from fusargpt.inference.journal import Journal
from fusargpt.inference.loading import load
from fusargpt.inference.questions import FusarGptAnswerer, Item, Question
from fusargpt.tasks.questions import conversation
from modeling_fusargpt import FusarGptProcessor

RESULT = "results.json"
MAX_NEW_TOKENS = 120
SCENES_AT_ONCE = 60
BATCH = 16
"""Sequences a step: half of the ablation's, whose recipes these are, as scenes are few and small."""
_MESSAGES = List({"role": Value("string"), "content": Value("string")})
_FEATURES = Features(
    {
        "image": Image(),
        PRIOR_EMBEDDINGS: List(List(Value("int8"), length=64)),
        PRIOR_POSITIONS: List(List(Value("float32"), length=2)),
        "task": Value("string"),
        "prompt": _MESSAGES,
        "completion": _MESSAGES,
    }
)


@dataclass(frozen=True)
class Effort:
    """How much is done in each cell; results of different efforts do not mix.

    Attributes:
        training: scenes of each stage.
        steps: optimizer steps of `BATCH` sequences, of each stage.
        scenes: held-out scenes, asked all tasks each.
    """

    training: int
    steps: tuple[int, int]
    scenes: int


def result_path(results: Path, cell: Cell) -> Path:
    return results / cell.held_out / f"{cell.variant}-{cell.seed}" / RESULT


def run_cell(
    cell: Cell, split: Split, effort: Effort, backbone: Path, build: Path, results: Path, extra: Sequence[str] = ()
) -> None:
    """Write the result of `cell`; nothing to do when it is there.

    Args:
        cell: what to train.
        split: of its `held_out`.
        effort: see there.
        backbone: pre-trained model folder that all cells start from; its TLM, if any, is left out.
        build: folder of data, cached visual tokens and trainings. An interrupted cell goes on from there.
        results: folder of results, one a cell.
        extra: arguments of every training, after those of the recipe.

    Raises:
        InputError: a result of another effort.
    """
    path = result_path(results, cell)
    if path.exists():
        if (found := json.loads(path.read_text())["effort"]) != _plain(effort):
            raise InputError(
                f"{path}: found {found}, expected {_plain(effort)}; remove it, or choose another --results"
            )
        return
    started = time.perf_counter(), _processor_seconds()
    settings, folder = cell.settings, build / cell.name
    captions, instructions = make_data(cell, split, effort.training, build / "data")
    initial = make_initial(cell, backbone, folder / "initial")
    shared = ["--seed", str(cell.seed), "--feature_cache", str(build / "features")]
    shared += ["--per_device_train_batch_size", str(BATCH), "--save_steps", "50", *extra]
    if settings.arm == "none":
        shared += ["--prior", "none"]
    # Fine-tuned alike: without a prior LoRA learns the same rows for the same steps.
    both = ["--train", "lora" if settings.fusion == "none" else "tlm+lora"]
    first, second = effort.steps
    answers: dict[str, Any] = {}
    if settings.stages == 2:
        stage1 = folder / "stage1"
        data = ["--dataset_name", captions, "--max_steps", str(first)]
        ablation.train("stage1.yaml", initial, stage1, [*both, *data, *shared])
        answers |= ask(cell, split, stage1, effort.scenes, (DESCRIBE,), folder / "answers")
        data = ["--dataset_name", instructions, "--max_steps", str(second)]
        ablation.train("stage2.yaml", stage1, folder / "stage2", [*data, *shared])
    else:
        data = ["--dataset_name", instructions, captions, "--max_steps", str(first + second)]
        ablation.train("one_stage.yaml", initial, folder / "stage2", [*both, *data, *shared])
        answers |= ask(cell, split, folder / "stage2", effort.scenes, (DESCRIBE,), folder / "answers")
    answers |= ask(cell, split, folder / "stage2", effort.scenes, TASKS, folder / "answers")
    result = {
        "cell": vars(cell),
        "effort": _plain(effort),
        # Of the last run, where a cell was cut.
        "seconds": round(time.perf_counter() - started[0]),
        "processor_seconds": round(_processor_seconds() - started[1]),
        "answers": answers,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as part:
        part.write_text(json.dumps(result, separators=(",", ":")) + "\n", encoding="utf-8")


def _processor_seconds() -> float:
    """Of this process and the trainings it has run."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _plain(effort: Effort) -> dict[str, Any]:
    return {"training": effort.training, "steps": list(effort.steps), "scenes": effort.scenes}


def make_data(cell: Cell, split: Split, scenes: int, data: Path) -> tuple[str, str]:
    """Folders of captions and instructions of the cell's held-out place and arm, made where they are not there."""
    # Without a prior the columns are not read.
    arm = "true" if cell.settings.arm == "none" else cell.settings.arm
    folders = []
    for layout, tasks in (("captions", (DESCRIBE,)), ("instructions", TASKS)):
        folder = data / cell.held_out / f"{layout}-{arm}-{scenes}"
        path = folder / "train-00000-of-00001.parquet"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            grounds = list(training_scenes(split.train, scenes, floods=layout == "instructions"))
            rows = [row for scene in shown(grounds, arm) for row in scene.rows(tasks)]
            with written_whole(path) as part:
                parquet.write_table(Dataset.from_list(rows, features=_FEATURES).data.table, part, compression="zstd")
        folders.append(str(folder))
    return folders[0], folders[1]


def make_initial(cell: Cell, backbone: Path, folder: Path) -> Path:
    """The backbone with a new fusion of the cell's kind, which is the identity, and scenes read at their own size."""
    variant: Variant = cell.settings
    ablation.make_initial(AblationCell(cell.variant, cell.seed, fusion=variant.fusion, sigma=SIGMA), backbone, folder)
    processor = FusarGptProcessor.from_pretrained(folder)
    shortest, longest = ((side * CELL_PIXELS) ** 2 for side in (min(SIDES), max(SIDES)))
    processor.image_processor.size = {"shortest_edge": shortest, "longest_edge": longest}
    processor.save_pretrained(folder)
    return folder


@dataclass(frozen=True)
class Shown:
    """A scene as an arm shows it."""

    ground: Ground
    image: Pillow.Image
    prior: Prior | None

    def rows(self, tasks: Iterable[str]) -> list[dict[str, Any]]:
        """Of a dataset, one a task."""
        assert self.prior is not None, "rows of `none` are those of `true`, read without their prior"
        fields = {
            "image": self.image,
            PRIOR_EMBEDDINGS: quantize(self.prior.embeddings),
            PRIOR_POSITIONS: self.prior.positions,
        }
        about = ((task, self.ground.question(task), self.ground.answer(task)) for task in tasks)
        return [{**fields, **conversation(*asked)} for asked in about]


def shown(grounds: Sequence[Ground], arm: Arm) -> list[Shown]:
    """The scenes under an arm; `shuffled` gives each the prior of the next one of its size."""
    whose = following(grounds) if arm == "shuffled" else grounds
    found = []
    for ground, other in zip(grounds, whose, strict=True):
        image = ground.image().convert("RGB")
        prior = other.prior()
        # As the rows of a training hold it.
        prior = Prior(dequantize(quantize(prior.embeddings)), prior.positions)
        found.append(
            Shown(
                ground,
                blank(image.convert("RGB")) if arm == "blind" else image,
                None if arm == "none" else prior,
            )
        )
    return found


def ask(
    cell: Cell, split: Split, model: Path, scenes: int, tasks: Sequence[str], journals: Path
) -> dict[str, dict[str, list[str]]]:
    """For every task the true answers under "reference" and the model's under the name of each arm.

    Descriptions are of scenes without floods. An interrupted cell goes on from its journals.

    Raises:
        InputError: a question that the model could not be asked; those that it answered are kept.
    """
    grounds = list(test_scenes(split.test, scenes, floods=DESCRIBE not in tasks))
    items = [
        Item(f"{index}-{task}", task, ground.question(task), str(index), 0)
        for index, ground in enumerate(grounds)
        for task in tasks
    ]
    answers = {task: {"reference": [ground.answer(task) for ground in grounds]} for task in tasks}
    answerer = FusarGptAnswerer(load(model))
    with tqdm(total=len(items) * len(cell.asked), unit="answer", desc=cell.name) as progress:
        for arm in cell.asked:
            conditions = {"cell": cell.name, "scenes": scenes, "tasks": list(tasks)}
            journal = Journal(journals / f"{'-'.join(tasks)}-{arm}.jsonl", conditions, "a cell")
            progress.update(len(journal.answers))
            asking = Asking(
                answerer,
                partial(_question, shown(grounds, arm)),
                journal,
                batch_size=SCENES_AT_ONCE * len(tasks),
                max_new_tokens=MAX_NEW_TOKENS,
                advance=_advance(progress),
            )
            # All questions about a scene together, so that it is read once.
            failures = asking.run(items, "given")
            if failures:
                raise InputError(
                    f"{cell.name}, {arm}: {len(failures)} questions without an answer; the same command asks them "
                    f"again; {failures[0].id}: {failures[0].reason}"
                )
            for task in tasks:
                answers[task][arm] = [journal.answers[item.id].answer for item in items if item.task == task]
    return answers


def _advance(progress: "tqdm[Any]") -> Callable[[int], object]:
    return progress.update


def _question(scenes: Sequence[Shown], item: Item) -> Question:
    scene = scenes[int(item.place)]
    return Question(item, scene.image, item.question, scene.prior)
