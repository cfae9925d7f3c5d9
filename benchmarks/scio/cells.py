"""Cells of the proof: one kind of errors, one seed, one arm; each leaves `results.json`, and is not made again."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.scio.cleaning import any_half, better_half, clean_by_scio, make_noisy, match_scores, matched
from benchmarks.scio.data import keep_rows, make_clean
from benchmarks.scio.flags import flag_scores
from benchmarks.scio.scores import scores
from benchmarks.scio.student import make_student
from fusargpt.errors import InputError
from fusargpt.files import write_text_whole
from trl_recipes.klip.train import run_recipe

ARMS = ("none", "capfilt", "half", "any", "scio", "clean")
KEPT = {"capfilt": matched, "half": better_half, "any": any_half}
"""Arms that drop rows by their matching scores, and how."""
RECIPE = Path(__file__).parent / "student.yaml"
RESULTS = "results.json"


@dataclass(frozen=True)
class Proof:
    """The sizes of the proof.

    Attributes:
        out: folder of data, fits and results.
        start: model that judges start from, and whose eyes the students have.
        rows: captions.
        held_out: places that are searched, with clean text.
        steps, judge_steps: of students and of judges.
        rounds: of SCIO.
        min_auroc: of planted errors, below which SCIO cleans nothing and the proof ends.
        batch: rows a step.

    Raises:
        InputError: a size below 1.
    """

    out: Path
    start: Path
    rows: int
    held_out: int
    steps: int
    judge_steps: int
    rounds: int
    min_auroc: float
    batch: int

    def __post_init__(self) -> None:
        for name in ("rows", "held_out", "steps", "judge_steps", "rounds", "batch"):
            if vars(self)[name] < 1:
                raise InputError(f"--{name.replace('_', '-')}: found {vars(self)[name]}, expected 1 or more")

    def sizes(self) -> dict[str, Any]:
        """What results depend on."""
        return {name: str(value) for name, value in vars(self).items() if name != "out"} | {"start": self.start.name}


@dataclass(frozen=True)
class Cell:
    """One training. Clean captions are the same for both kinds of errors."""

    kind: str
    seed: int
    arm: str

    @property
    def name(self) -> str:
        return f"clean-{self.seed}" if self.arm == "clean" else f"{self.kind}-{self.seed}-{self.arm}"


def all_cells(kinds: tuple[str, ...], seeds: tuple[int, ...], arms: tuple[str, ...]) -> list[Cell]:
    """In an order in which what is cheap comes first; a clean ceiling stands once for all kinds."""
    found = [Cell(kind, seed, arm) for seed in seeds for kind in kinds for arm in arms]
    return list({cell.name: cell for cell in found}.values())


def run_cell(cell: Cell, proof: Proof) -> dict[str, Any]:
    """The result of a cell, which is made where it is not there.

    Returns:
        `scores` of the student, and of the arms that clean `flags` or `kept` rows. Of fewer rows than a batch nothing
        is learned: then there are no `scores`.

    Raises:
        InputError: a result of other sizes.
    """
    folder = proof.out / "cells" / cell.name
    path = folder / RESULTS
    if path.is_file():
        found = json.loads(path.read_text())
        if found["sizes"] != proof.sizes():
            raise InputError(f"{path}: was made with {found['sizes']}, now {proof.sizes()}; choose another --out")
        return found
    result: dict[str, Any] = {"cell": vars(cell), "sizes": proof.sizes()}
    data = make_clean(proof.out / "data" / "clean", proof.rows)
    if cell.arm != "clean":
        clean, data = data, make_noisy(proof.out / "data", data, cell.kind, cell.seed)
        if cell.arm == "scio":
            noisy, data = data, _cleaned(cell, proof, data)
            result["flags"] = flag_scores(data, noisy, clean)
        elif cell.arm in KEPT:
            kept = KEPT[cell.arm](match_scores(data, _cleaned(cell, proof, data)))
            result["kept"] = len(kept)
            data = keep_rows(folder / "data", data, kept)
    if result.get("kept", proof.rows) >= proof.batch:
        model = folder / "model"
        if not (model / "config.json").is_file():
            student = make_student(proof.out / "students" / str(cell.seed), proof.start, cell.seed)
            given = {**_fields(cell, proof), "model_name_or_path": student, "max_steps": proof.steps}
            given |= {"dataset_name": data, "output_dir": model}
            run_recipe([str(RECIPE), *(word for name, value in given.items() for word in (f"--{name}", str(value)))])
        result["scores"] = scores(model, proof.held_out, folder / "suite")
        shutil.rmtree(model)
        shutil.rmtree(folder / "suite")
    write_text_whole(path, json.dumps(result, indent=1) + "\n")
    return result


def _cleaned(cell: Cell, proof: Proof, noisy: Path) -> Path:
    fields = {**_fields(cell, proof), "model_name_or_path": proof.start, "max_steps": proof.judge_steps}
    options = {"rounds": proof.rounds, "min-auroc": proof.min_auroc, "seed": cell.seed}
    return clean_by_scio(noisy, proof.out / "scio" / f"{cell.kind}-{cell.seed}", fields, options)


def _fields(cell: Cell, proof: Proof) -> dict[str, object]:
    """Of the recipes of students and judges alike."""
    return {
        "feature_cache": proof.out / "states",
        "seed": cell.seed,
        "per_device_train_batch_size": proof.batch,
    }
