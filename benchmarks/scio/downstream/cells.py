"""Cells of the downstream half: stage 1 of FUSAR-GPT on the captions that one cell of the proof was trained on."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datasets import Features
from tqdm import tqdm

from benchmarks.scio.cells import KEPT, RESULTS, Cell
from benchmarks.scio.data import is_true, read, truths, write
from benchmarks.scio.downstream.start import make_start
from benchmarks.scio.downstream.texts import PARTS, caption, question, told, told_with_doubts
from benchmarks.scio.downstream.training import Sizes, train
from fusargpt.errors import InputError
from fusargpt.files import write_text_whole
from fusargpt.foundation.places import places
from fusargpt.inference.loading import load
from fusargpt.tasks.facts import DIMENSIONS, DOUBTED_COLUMN
from fusargpt.tasks.questions import conversation
from fusargpt.triplets.features import CAPTION_FEATURES, DOUBTED_FEATURE

RECIPE = Path(__file__).parent / "stage1.yaml"
STAGE_FEATURES = Features({**CAPTION_FEATURES, DOUBTED_COLUMN: DOUBTED_FEATURE})
START = "start"
MAX_NEW_TOKENS = 300
AT_ONCE = 64


def run_start(out: Path, sizes: Sizes) -> dict[str, Any]:
    """What the model that all arms start from says; its result has no captions."""
    path = out / "cells" / START / RESULTS
    found = _found(path, sizes.told())
    if found is None:
        found = {"sizes": sizes.told(), "answers": answers(make_start(out, sizes), sizes.held_out)}
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text_whole(path, json.dumps(found, indent=1) + "\n")
    return found


def run_cell(cell: Cell, proof: Path, out: Path, sizes: Sizes) -> dict[str, Any]:
    """The result of a cell, which is made where it is not there; what was cut goes on.

    Args:
        cell: of the proof, whose captions are trained on.
        proof: the proof's folder, in which that cell is done.
        out: folder of trainings and results.
        sizes: of the training.

    Returns:
        `captions`: rows, and how many parts they tell, and how many of these are wrong. `answers`: what the model said
        of each held-out place (`said`), and what is `true` of it by part.

    Raises:
        InputError: a cell of the proof that is not done, or a result of other sizes.
    """
    given = {**sizes.told(), "proof": _proof_sizes(cell, proof)}
    folder = out / "cells" / cell.name
    path = folder / RESULTS
    found = _found(path, given)
    if found is not None:
        return found
    data, model = folder / "data", folder / "model"
    if not data.is_dir():
        write(data, stage_rows(source_of(cell, proof)), STAGE_FEATURES)
    if not (model / "config.json").is_file():
        start = make_start(out, sizes)
        train(RECIPE, start, data, model, out / "features", sizes.steps, sizes.batch, cell.seed)
    result = {
        "cell": vars(cell),
        "sizes": given,
        "captions": _count(source_of(cell, proof), proof / "data" / "clean"),
        "answers": answers(model, sizes.held_out),
    }
    write_text_whole(path, json.dumps(result, indent=1) + "\n")
    shutil.rmtree(model)
    shutil.rmtree(data)
    return result


def source_of(cell: Cell, proof: Path) -> Path:
    """The captions that a cell of the proof was trained on."""
    if cell.arm == "clean":
        return proof / "data" / "clean"
    if cell.arm in KEPT:
        return proof / "cells" / cell.name / "data"
    if cell.arm == "scio":
        return proof / "scio" / f"{cell.kind}-{cell.seed}"
    return proof / "data" / ("nano" if cell.kind == "nano" else f"planted-{cell.seed}")


def stage_rows(source: Path) -> list[dict[str, Any]]:
    """Rows that ask for the parts of a caption and tell them, in the order of their ids.

    Those that are not trusted are told and not learned. A row of which no part is left is left out.
    """
    found: list[dict[str, Any]] = []
    for row in sorted(read(source), key=lambda row: row["id"]):
        phrases = told(row)
        if phrases:
            answer = told_with_doubts(row)
            asked = [part for part in PARTS if part in answer.dimensions]
            spans = [[first, last] for index, first, last in answer.spans if DIMENSIONS[index] not in phrases]
            found.append(
                {
                    **{name: row[name] for name in CAPTION_FEATURES},
                    **conversation("describe", question(asked), caption(phrases)),
                    DOUBTED_COLUMN: {"answer": answer.text, "spans": spans} if spans else None,
                }
            )
    return found


def answers(model: Path, count: int) -> list[dict[str, Any]]:
    """What a model says of `count` held-out places when it is asked for all parts, with the prior of each."""
    speaker = load(model, device="cpu")
    known = places("test", count)
    found: list[dict[str, Any]] = []
    with tqdm(total=count, unit="place", desc="describing", disable=None, leave=False) as progress:
        for first in range(0, count, AT_ONCE):
            some = known[first : first + AT_ONCE]
            texts = speaker.answers(
                [place.view.picture.convert("RGB") for place in some],
                [question(PARTS)] * len(some),
                [place.view.prior for place in some],
                MAX_NEW_TOKENS,
                AT_ONCE,
            )
            found += [
                {"said": str(said), "true": {part: place.phrases[part] for part in PARTS if part in place.phrases}}
                for said, place in zip(texts, some, strict=True)
            ]
            progress.update(len(some))
    return found


def _found(path: Path, sizes: Mapping[str, Any]) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    found = json.loads(path.read_text())
    if found["sizes"] != sizes:
        raise InputError(f"{path}: was made with {found['sizes']}, now {sizes}; choose another --out")
    return found


def _proof_sizes(cell: Cell, proof: Path) -> Mapping[str, Any]:
    path = proof / "cells" / cell.name / RESULTS
    if not path.is_file():
        raise InputError(f"{path}: there is none; first run `python -m benchmarks.scio --out {proof}`, which makes it")
    return json.loads(path.read_text())["sizes"]


def _count(source: Path, clean: Path) -> dict[str, int]:
    """Rows, the parts of `PARTS` that they tell, and how many of these are wrong."""
    truth = truths(clean)
    columns = ("id", "description", "target_description")
    rows = [(row["id"], phrases) for row in read(source, columns) if (phrases := told(row))]
    wrong = [not is_true(part, phrase, truth[name][part]) for name, phrases in rows for part, phrase in phrases.items()]
    return {"rows": len(rows), "parts": len(wrong), "wrong": sum(wrong)}
