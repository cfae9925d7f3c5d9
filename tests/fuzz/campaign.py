"""Many inputs, one after the other."""

import faulthandler
import gc
import logging
import os
import tempfile
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest

from fusargpt.inference import loading
from fusargpt.inference.predict import FusarGpt
from tests.fuzz import material
from tests.fuzz.kinds import KINDS
from tests.fuzz.material import Material
from tests.fuzz.trial import WAIT, Finding, try_input
from trl_recipes.sft import Make


def chosen(inputs: int, seed: int, only: Sequence[str] = ()) -> list[tuple[str, int]]:
    """Kinds and numbers of so many inputs, each kind as often as `KINDS` says."""
    names = [name for name in KINDS if not only or name in only]
    random = Random(f"{seed}")
    drawn = random.choices(names, [KINDS[name][0] for name in names], k=inputs)
    return [(name, number) for number, name in enumerate(drawn)]


def run(inputs: Sequence[tuple[str, int]], seed: int) -> Generator[tuple[str, int, Finding | None]]:
    """Each input and what was found, as it is tried."""
    with tempfile.TemporaryDirectory() as folder, _prepared(Path(folder)) as good:
        for name, number in inputs:
            # Where not even Python gets to the signal: it says where, and ends.
            faulthandler.dump_traceback_later(2 * WAIT, exit=True)
            yield name, number, try_input(name, KINDS[name][1], number, seed, good, Path(folder) / f"{name}-{number}")
            faulthandler.cancel_dump_traceback_later()
            os.chdir(folder)
            if number % 50 == 0:
                gc.collect()


@contextmanager
def _prepared(folder: Path) -> Generator[Material]:
    """Models are loaded once, nothing is served, stages end with their first batch, and no network is asked."""
    good = material.write(folder / "good")
    load = loading.load

    @cache
    def load_once(model: str) -> FusarGpt:
        return load(model, "cpu")

    def load_good_once(model: str | Path, device: str | None = None, *_: object, **__: object) -> FusarGpt:
        return load_once(str(model)) if Path(model) == good.model else load(model, "cpu")

    def nothing(*_: Any) -> None:
        return None

    def first_batch(recipe: Any, config: Any, _output_dir: Path, make: Make) -> None:
        """In place of a stage."""
        next(iter(make(recipe, config).get_train_dataloader()))

    before = Path.cwd()
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # The others before the module that they import it from: one first imported now would keep what is put there.
        for place in ("scenes.ask_scene", "evaluation.answerers", "inference.loading"):
            patch.setattr(f"fusargpt.{place}.load", load_good_once)
        patch.setattr("space_app.launch.serve", nothing)
        patch.setattr("trl_recipes.sft._train", first_batch)
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        patch.setattr("datasets.config.HF_DATASETS_CACHE", folder / "cache")
        patch.setattr("datasets.config.HF_HUB_OFFLINE", True)
        logging.disable(logging.WARNING)
        try:
            yield good
        finally:
            logging.disable(logging.NOTSET)
            os.chdir(before)
