"""A phase killed at any moment, and started again with the same command, ends as one that was not: bit for bit."""

from pathlib import Path

import pytest
import torch

from tests.trl_recipes.klip.phases import klip_arguments, write_klip_base, write_klip_rows
from tests.trl_recipes.running.killing import at_call, half_written, run_until
from tests.trl_recipes.running.test_resume import check_same
from trl_recipes.data import feature_cache
from trl_recipes.klip import train
from trl_recipes.klip.train import main
from trl_recipes.klip.trainer import KlipTrainer
from trl_recipes.running import resumable
from trl_recipes.running.atomic_runs import MANIFESTS, checkpoints

# Two steps an epoch; all losses, everything that is drawn, and a log that a kill cuts in two.
FIELDS = {
    "itm": 1.0,
    "mlm": 1.0,
    "match_share": 0.5,
    "frozen": "below_geography",
    "resume": True,
    "max_steps": 7,
    "logging_steps": 3,
    "save_strategy": "steps",
    "save_steps": 2,
    "save_total_limit": 1,
    "eval_strategy": "epoch",
    "dataset_test_split": "train[:6]",
}
KILLS = [
    (at_call(feature_cache.os, "fsync"), []),  # in the computing of image states
    (at_call(KlipTrainer, "training_step", 2), []),  # before the first checkpoint
    (half_written(torch, "save"), []),
    (at_call(resumable, "rotate", 2), ["checkpoint-2", "checkpoint-4"]),
    (at_call(KlipTrainer, "training_step", 2), ["checkpoint-2", "checkpoint-4"]),  # in the middle of an epoch
    (at_call(train, "publish"), ["checkpoint-7"]),  # the result is written, but for its place
]


@pytest.mark.slow
@pytest.mark.parametrize("logical_batch_size", [None, 6], ids=["one pass", "two passes"])
def test_a_phase_killed_again_and_again_ends_as_one_that_was_not(
    tmp_path: Path, logical_batch_size: int | None
) -> None:
    write_klip_base(tmp_path)
    write_klip_rows(tmp_path / "data")
    commands = {}
    for name in ("whole", "cut"):
        own = {"feature_cache": tmp_path / f"states of the {name}"}
        if logical_batch_size is not None:
            own |= {"logical_batch_size": logical_batch_size, "per_device_train_batch_size": 3}
        commands[name] = klip_arguments(tmp_path, tmp_path / name, **FIELDS | own)
    main(commands["whole"])
    cut = tmp_path / "cut"
    for patch, left in KILLS:
        run_until(commands["cut"], patch, main)
        assert [path.name for path in checkpoints(cut)] == left
        assert not any((cut / name).exists() for name in MANIFESTS)
    main(commands["cut"])
    check_same(tmp_path / "whole", cut)
    assert not list(cut.glob("partial-*"))
