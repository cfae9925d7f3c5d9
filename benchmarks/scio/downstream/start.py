"""The model that all arms start from: nano's backbone, which has learned the form of captions and nothing of images.

The backbone has written short descriptions only. Without this, stage 1 in miniature would be spent on the form; the
language model of the 7B knows it long before.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.scio.data import TRAINING_START, plain, write
from benchmarks.scio.downstream.texts import caption, question, told
from benchmarks.scio.downstream.training import Sizes, train
from fusargpt.simulator.records import rows
from fusargpt.tasks.questions import conversation
from fusargpt.tasks.stable_random import whole_number

RECIPE = Path(__file__).parent / "form.yaml"
FORM_START = TRAINING_START + 100_000
"""First seed of places that no arm is trained on."""
SEED = 0
"""Of this training, which all seeds of the arms share."""
LEFT_OUT_ONE_OF = 4


def make_start(out: Path, sizes: Sizes) -> Path:
    """Folder of the model, which is trained where it is not there; what was cut goes on."""
    model = out / f"start-{sizes.form_places}-{sizes.form_steps}-{sizes.batch}"
    data = out / f"form-{sizes.form_places}"
    if not data.is_dir():
        write(data, form_rows(sizes.form_places))
    if not (model / "config.json").is_file():
        train(RECIPE, sizes.backbone, data, model, out / "features", sizes.form_steps, sizes.batch, SEED)
    return model


def form_rows(places: int) -> list[dict[str, Any]]:
    """Of each place two rows: its own short description, and the caption of the next place.

    Questions name other parts each time: a model that has only been asked for all of them would have to learn what the
    numbers mean from captions with gaps, and only those that SCIO has cleaned have any.
    """
    known = [row for seed in range(FORM_START, FORM_START + places) for row in rows(seed, "captions", "sar")]
    found: list[dict[str, Any]] = []
    for row, other in zip(known, [*known[1:], known[0]], strict=True):
        phrases = some_of(told(other), other["id"])
        form = conversation("describe", question(list(phrases)), caption(phrases))
        found += [plain(row), plain({**row, **form, "id": f"{row['id']}-form"})]
    return found


def some_of(phrases: Mapping[str, str], name: str) -> dict[str, str]:
    """One to all of the phrases, drawn by a name: each is left out in one of four draws, one drawn at random never."""
    kept = list(phrases)[whole_number("kept", name) % len(phrases)]
    return {
        part: phrase
        for part, phrase in phrases.items()
        if part == kept or whole_number("form", name, part) % LEFT_OUT_ONE_OF
    }
