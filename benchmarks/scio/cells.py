"""Cells of the proof: one kind of errors, one seed, one arm; each leaves `results.json`, and is not made again."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.scio.data import (
    KINDS,
    held_out_seeds,
    is_true,
    keep_rows,
    make_clean,
    make_nano,
    make_planted,
    read,
    truths,
    wrong_parts,
)
from fusargpt.cli.main import main as fusargpt
from fusargpt.errors import InputError
from fusargpt.files import write_text_whole
from fusargpt.geo.embeddings import dequantize
from fusargpt.geo.prior import PRIOR_EMBEDDINGS, PRIOR_POSITIONS, Prior
from fusargpt.inference.rows import read_picture, read_prior
from fusargpt.metrics.retrieval import retrieval_tallies, true_pairs
from fusargpt.scio.judge import Judge
from fusargpt.scio.texts import groups
from fusargpt.simulator.description import scene_phrases
from fusargpt.simulator.records import scene_fields
from fusargpt.simulator.simulated_scene import simulate_scene
from fusargpt.tasks.facts import DIMENSIONS, phrases_of
from fusargpt.tasks.part_texts import part_text
from trl_recipes.klip.train import run_recipe

ARMS = ("none", "capfilt", "scio", "clean")
RECIPE = Path(__file__).parent / "fit.yaml"
RESULTS = "results.json"
MATCHED = 0.5
"""Probability of matching from which on CapFilt keeps a row (arXiv 2201.12086, and its authors in issue 46)."""
CAPFILT_PARTS = 4
SAID = ("terrain", "functionality", "distribution", "layout", "boundary", "water")
"""Parts of the texts that are looked for among held-out places, as in the card of fusarklip-nano."""
AT_ONCE = 16


@dataclass(frozen=True)
class Proof:
    """The sizes of the proof.

    Attributes:
        out: folder of data, fits and results.
        start: model that every fit starts from.
        rows: captions.
        held_out: places that are searched, with clean text.
        steps, judge_steps: of arms and of judges, 64 rows each.
        rounds: of SCIO.
        min_auroc: of planted errors, below which SCIO cleans nothing and the proof ends.
        batch: rows a step.
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

    def sizes(self) -> dict[str, Any]:
        """What results depend on."""
        return {name: str(value) for name, value in vars(self).items() if name != "out"}


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
    clean = make_clean(proof.out / "data" / "clean", proof.rows)
    noisy = clean if cell.arm == "clean" else _noisy(cell, proof, clean)
    flags: dict[str, Any] = {}
    data = noisy
    if cell.arm in ("capfilt", "scio"):
        # CapFilt's filter is SCIO's: the same two judges, each of which reads the half that it was not fitted on.
        cleaned = _cleaned(cell, proof, noisy)
        if cell.arm == "scio":
            data, flags = cleaned, flag_scores(cleaned, noisy, clean)
        else:
            kept = matched(noisy, cleaned, folder / "matched.json")
            data = keep_rows(folder / "data", noisy, kept)
            flags = {"kept": len(kept)}
    model = folder / "model"
    if not (model / "config.json").is_file():
        fit(data, model, proof, cell.seed, proof.steps)
    result = {"cell": vars(cell), "sizes": proof.sizes(), **flags, "retrieval": retrieval(model, proof.held_out)}
    write_text_whole(path, json.dumps(result, indent=1) + "\n")
    shutil.rmtree(model)
    return result


def fit(data: Path, model: Path, proof: Proof, seed: int, steps: int) -> None:
    """Train from the start model on a dataset; what was cut goes on."""
    run_recipe([str(RECIPE), *_overrides(proof, seed, steps), "--dataset_name", str(data), "--output_dir", str(model)])


def _overrides(proof: Proof, seed: int, steps: int) -> list[str]:
    given = {
        "model_name_or_path": proof.start,
        "feature_cache": proof.out / "states",
        "seed": seed,
        "max_steps": steps,
        "per_device_train_batch_size": proof.batch,
    }
    return [word for name, value in given.items() for word in (f"--{name}", str(value))]


def _noisy(cell: Cell, proof: Proof, clean: Path) -> Path:
    if cell.kind not in KINDS:
        raise ValueError(f"kind: found {cell.kind!r}, expected one of {', '.join(KINDS)}")
    data = proof.out / "data"
    return (
        make_nano(data / "nano", clean)
        if cell.kind == "nano"
        else make_planted(data / f"planted-{cell.seed}", clean, cell.seed)
    )


def _cleaned(cell: Cell, proof: Proof, noisy: Path) -> Path:
    """What `fusargpt scio` makes of captions with errors; without its captioner, which would read the true boxes."""
    out = proof.out / "scio" / f"{cell.kind}-{cell.seed}"
    recipe = proof.out / f"judge-{cell.seed}.yaml"
    if not recipe.is_file():
        text = RECIPE.read_text()
        for name, value in zip(*[iter(_overrides(proof, cell.seed, proof.judge_steps))] * 2, strict=True):
            text = _with(text, name.removeprefix("--"), value)
        write_text_whole(recipe, text)
    given = ["--rounds", str(proof.rounds), "--min-auroc", str(proof.min_auroc), "--seed", str(cell.seed)]
    given += ["--captioner", "none", "--device", "cpu"]
    if fusargpt(["scio", str(noisy), "--recipe", str(recipe), "--out", str(out), *given]):
        raise InputError(f"{out}: captions were not cleaned, see above")
    return out


def _with(recipe: str, name: str, value: str) -> str:
    lines = recipe.splitlines()
    found = [place for place, line in enumerate(lines) if line.startswith(f"{name}:")]
    lines[found[0]] = f"{name}: {value}"
    return "\n".join(lines) + "\n"


def matched(noisy: Path, cleaned: Path, path: Path) -> list[str]:
    """Ids of the rows whose captions match their images with at least `MATCHED`, by the judge of the other half.

    A caption is longer than the judge reads at once: the mean over texts of four parts.
    """
    if path.is_file():
        return json.loads(path.read_text())
    kept: list[str] = []
    rows = {row["id"]: row for row in read(noisy)}
    for half, judging in (("a", "b"), ("b", "a")):
        judge = Judge.load(cleaned / "rounds" / "1" / judging / "model", "cpu")
        judged = read(cleaned / "rounds" / "1" / half / "data", ("id",))
        ids = [row["id"] for row in judged]
        for first in range(0, len(ids), AT_ONCE):
            some = [rows[name] for name in ids[first : first + AT_ONCE]]
            seen = judge.see([read_picture(row) for row in some], [read_prior(row) for row in some], some)
            texts = [
                (image, part_text(phrases_of(row), group, 0).text)
                for image, row in enumerate(some)
                for group in groups(list(phrases_of(row)), CAPFILT_PARTS, row["id"])
            ]
            odds = judge.fits(seen, [text for _, text in texts], [image for image, _ in texts])[:, 1]
            of_image = np.array([image for image, _ in texts])
            probability = 1 / (1 + np.exp(-odds))
            kept += [row["id"] for image, row in enumerate(some) if probability[of_image == image].mean() >= MATCHED]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text_whole(path, json.dumps(kept))
    return kept


def flag_scores(cleaned: Path, noisy: Path, clean: Path) -> dict[str, Any]:
    """What became of wrong and right parts, by dimension and in all."""
    truth = truths(clean)
    wrong = wrong_parts(noisy, truth)
    found: dict[str, dict[str, int]] = {name: _counts() for name in (*DIMENSIONS, "all")}
    for row in read(cleaned, ("id", "description", "target_description", "part_origin", "part_source")):
        now = phrases_of(row)
        for dimension, origin in zip(DIMENSIONS, row["part_origin"], strict=True):
            if origin is None:
                continue
            is_wrong = (row["id"], dimension) in wrong
            flagged = origin != "source"
            repaired = origin == "reconstructed" and is_true(dimension, now[dimension], truth[row["id"]][dimension])
            for name in (dimension, "all"):
                counts = found[name]
                counts["parts"] += 1
                counts["wrong"] += is_wrong
                counts["flagged"] += flagged
                counts["flagged_wrong"] += flagged and is_wrong
                counts["reconstructed"] += origin == "reconstructed"
                counts["reconstructed_right"] += repaired
    return {"flags": found}


def _counts() -> dict[str, int]:
    return dict.fromkeys(("parts", "wrong", "flagged", "flagged_wrong", "reconstructed", "reconstructed_right"), 0)


def retrieval(model: Path, count: int) -> dict[str, float]:
    """Scores in percent of clean texts of six parts among held-out places; all of which a text is true are hits."""
    judge = Judge.load(model, "cpu")
    places = list(held_out(count))
    vectors, cosines = [], []
    for first in range(0, count, AT_ONCE):
        some = places[first : first + AT_ONCE]
        seen = judge.see(
            [fields["image"] for fields, _ in some],
            [
                Prior(dequantize(fields[PRIOR_EMBEDDINGS]).astype(np.float32), fields[PRIOR_POSITIONS])
                for fields, _ in some
            ],
            [fields for fields, _ in some],
        )
        vectors.append(seen.vectors.cpu().numpy())
    texts = [part_text(phrases, [name for name in SAID if name in phrases], 0) for _, phrases in places]
    for first in range(0, count, AT_ONCE):
        cosines.append(judge.text_vectors([text.text for text in texts[first : first + AT_ONCE]]))
    facts = np.stack([text.facts for text in texts])
    tallies = retrieval_tallies(np.concatenate(vectors) @ np.concatenate(cosines).T, true_pairs(facts, facts))
    return {name: 100 * tally.value for name, tally in tallies.items()}


def held_out(count: int) -> Iterator[tuple[dict[str, Any], dict[str, str]]]:
    """Columns and true phrases of held-out places, the image in RGB."""
    for seed in held_out_seeds(count):
        scene = simulate_scene(seed)
        fields = scene_fields(scene)
        yield {**fields, "image": fields["image"].convert("RGB")}, scene_phrases(scene)
