"""Train and question one cell of the ablation; what is done already is not done again."""

import gzip
import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm
from transformers import set_seed

from benchmarks.ablation.cells import Cell
from fusargpt.errors import InputError
from fusargpt.files import written_whole
from fusargpt.geo.blank import blank
from fusargpt.geo.embeddings import dequantize
from fusargpt.geo.prior import PRIOR_EMBEDDINGS, PRIOR_POSITIONS, Prior
from fusargpt.inference.asking import Asking
from fusargpt.inference.journal import Journal
from fusargpt.inference.loading import load
from fusargpt.inference.questions import FusarGptAnswerer, Item, Question
from fusargpt.simulator.records import LAYOUTS, SPLIT_SEEDS, records
from fusargpt.simulator.simulate import simulate
from fusargpt.simulator.simulated_scene import simulate_scene
from fusargpt.tasks.prompts import TASKS
from modeling_fusargpt import FusarGptConfig, FusarGptForConditionalGeneration, FusarGptProcessor, TlmConfig
from trl_recipes.model.checkpoint import load_model
from trl_recipes.model.parameters import part_of

RECIPES = Path(__file__).parent
WITH_IMAGE = ("true", "none", "shuffled")
BLIND = "blind"
"""The own prior with a blank image."""
PRIORS = (*WITH_IMAGE, BLIND)
TRAINING_SCENES = 4800
CAPTIONS_START, INSTRUCTIONS_START = 300_000, 400_000  # places that nano's own training does not use
HELD_OUT_START = 100_000  # of the split test, of which nano's scores use the first thousands
SCENES_AT_ONCE = 60
MAX_NEW_TOKENS = 160


def result_path(results: Path, cell: Cell) -> Path:
    return results / f"{cell.name}.json.gz"


def run_cell(cell: Cell, backbone: Path, build: Path, results: Path, scenes: int) -> None:
    """Write the result of `cell` into `results`; nothing to do when it is there.

    Args:
        cell: what to train.
        backbone: pre-trained model folder that all cells start from; its TLM, if any, is left out.
        build: folder of data, cached visual tokens and trainings. An interrupted cell goes on from there.
        results: folder of results, one file a cell.
        scenes: held-out scenes to ask about, all five tasks each.

    Raises:
        InputError: a result about another number of scenes.
    """
    path = result_path(results, cell)
    if path.exists():
        if (found := read(path)["scenes"]) != scenes:
            raise InputError(f"{path}: answers about {found} scenes, expected {scenes}; remove it to ask again")
        return
    folder = build / cell.name
    captions, instructions = make_data(cell.per_side, build / "data")
    shared = ["--seed", str(cell.seed), "--feature_cache", str(build / "features")]
    if cell.fusion == "none":
        # Fine-tuned alike, without a prior: LoRA on the same rows for the same steps.
        shared += ["--prior", "none"]
    both = "lora" if cell.fusion == "none" else cell.first_trains
    initial = make_initial(cell, backbone, folder / "initial")
    if cell.stages == 2:
        stage1 = folder / "stage1"
        train("stage1.yaml", initial, stage1, ["--train", both, "--dataset_name", captions, *shared])
        data = ["--dataset_name", instructions, captions]
        train("stage2.yaml", stage1, folder / "stage2", [*data, *shared])
    else:
        data = ["--dataset_name", instructions, captions]
        train("one_stage.yaml", initial, folder / "stage2", ["--train", both, *data, *shared])
    write(
        path,
        {"cell": vars(cell), "scenes": scenes, "answers": ask(cell, folder / "stage2", scenes, folder / "answers")},
    )


def make_data(per_side: int, data: Path) -> tuple[str, str]:
    """Folders of captions and instructions with `per_side`^2 anchors; images are the same for every `per_side`."""
    folders = []
    for layout, start in (("captions", CAPTIONS_START), ("instructions", INSTRUCTIONS_START)):
        folder = data / f"{layout}-{per_side}"
        simulate(folder, layout, "train", TRAINING_SCENES, 0.0, per_side, start, workers=2)
        folders.append(str(folder))
    return folders[0], folders[1]


def make_initial(cell: Cell, backbone: Path, folder: Path) -> Path:
    """The backbone with a new TLM of the cell's kind, which is the identity."""
    if not (folder / "config.json").exists():
        config = FusarGptConfig.from_pretrained(backbone)
        assert isinstance(config.tlm_config, TlmConfig)
        config.tlm_config.fusion, config.tlm_config.sigma = cell.fusion, cell.sigma
        set_seed(cell.seed)
        model = FusarGptForConditionalGeneration(config)
        weights = load_model(str(backbone)).state_dict()
        model.load_state_dict(
            {name: weights[name] if part_of(name) != "TLM" else new for name, new in model.state_dict().items()}
        )
        FusarGptProcessor.from_pretrained(backbone).save_pretrained(folder)
        model.save_pretrained(folder)
    return folder


def train(recipe: str, start: Path, output: Path, arguments: list[str]) -> None:
    """Run a stage in a process of its own; it goes on from its last checkpoint."""
    if (output / "config.json").exists():
        return
    command = [sys.executable, "-m", "trl_recipes.sft", str(RECIPES / recipe)]
    folders = ["--model_name_or_path", str(start), "--output_dir", str(output)]
    subprocess.run([*command, *folders, *arguments], check=True)


def ask(cell: Cell, model: Path, scenes: int, journals: Path) -> dict[str, dict[str, list[str]]]:
    """For every task the true answers under "reference" and the model's under the name of each prior.

    "shuffled" gives every scene the prior of the next one. A cell without a fusion gives the same answer under any
    prior, and is asked once. An interrupted cell goes on from its journals.

    Raises:
        InputError: a question that the model could not be asked; those that it answered are kept.
    """
    answerer = FusarGptAnswerer(load(model))
    asked = HeldOut(scenes, cell.per_side)
    settings = ("none",) if cell.fusion == "none" else PRIORS
    answers = {task: {"reference": asked.references(task)} for task in TASKS}
    with tqdm(total=len(asked.items) * len(settings), unit="answer", desc=cell.name) as progress:
        for setting in settings:
            journal = Journal(journals / f"{setting}.jsonl", {"cell": cell.name, "scenes": scenes}, "a cell")
            progress.update(len(journal.answers))
            asking = Asking(
                answerer,
                partial(asked.question, setting=setting),
                journal,
                batch_size=SCENES_AT_ONCE * len(TASKS),
                max_new_tokens=MAX_NEW_TOKENS,
                advance=progress.update,
            )
            # All questions about a scene together, so that it is read once.
            failures = asking.run(asked.items, "given")
            if failures:
                raise InputError(
                    f"{cell.name}, prior {setting}: {len(failures)} questions without an answer; the same command asks "
                    f"them again; {failures[0].id}: {failures[0].reason}"
                )
            for task in TASKS:
                of_task = (item for item in asked.items if item.task == task)
                answers[task][setting] = [journal.answers[item.id].answer for item in of_task]
    if cell.fusion == "none":
        for of_task in answers.values():
            of_task |= dict.fromkeys(WITH_IMAGE, of_task["none"])
    return answers


class HeldOut:
    """Scenes that no training has seen, each asked all five tasks.

    Args:
        scenes: how many.
        per_side: anchors along each side of an image.
    """

    def __init__(self, scenes: int, per_side: int) -> None:
        first = SPLIT_SEEDS["test"] + HELD_OUT_START
        rows = [
            records(simulate_scene(seed), LAYOUTS["questions"], per_side=per_side)
            for seed in range(first, first + scenes)
        ]
        self._images = [scene[0]["image"].convert("RGB") for scene in rows]
        # One object a scene, so that it too is read once for all questions.
        self._blanks = [blank(image) for image in self._images]
        self._priors = [Prior(dequantize(scene[0][PRIOR_EMBEDDINGS]), scene[0][PRIOR_POSITIONS]) for scene in rows]
        self._rows = {row["id"]: row for scene in rows for row in scene}
        self.items = [
            Item(row["id"], row["task"], row["prompt"][0]["content"], str(place), 0)
            for place, scene in enumerate(rows)
            for row in scene
        ]

    def references(self, task: str) -> list[str]:
        """The true answers to a task, scene by scene."""
        return [self._rows[item.id]["completion"][0]["content"] for item in self.items if item.task == task]

    def question(self, item: Item, setting: str) -> Question:
        """An item with the prior of a setting of `PRIORS`."""
        place = int(item.place)
        own, other = self._priors[place], self._priors[(place + 1) % len(self._priors)]
        priors = {"true": own, "none": None, "shuffled": other, BLIND: own}
        images = self._blanks if setting == BLIND else self._images
        return Question(item, images[place], item.question, priors[setting])


def write(path: Path, result: dict[str, Any]) -> None:
    """Compressed JSON, whole or not at all; the same result gives the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as partial:
        partial.write_bytes(gzip.compress(json.dumps(result).encode(), mtime=0))


def read(path: Path) -> dict[str, Any]:
    return json.loads(gzip.decompress(path.read_bytes()))
