"""A fine-tuning killed at any moment, and started again, ends as one that was not, bit for bit."""

from pathlib import Path

import pytest
import torch

from tests.trl_recipes.klip.chips import classifier_arguments, write_chips
from tests.trl_recipes.klip.phases import write_klip_base
from tests.trl_recipes.running.killing import at_call, half_written, run_until
from tests.trl_recipes.running.test_resume import check_same
from trl_recipes.klip import train
from trl_recipes.klip.classifier_trainer import ClassifierTrainer
from trl_recipes.klip.train import main
from trl_recipes.running import resumable
from trl_recipes.running.atomic_runs import MANIFESTS, checkpoints

# Four steps an epoch; all that is drawn, the best weights kept, and a log that a kill cuts in two.
FIELDS = {
    "prior": "true",
    "acquisition": True,
    "class_weights": "balanced",
    "resume": True,
    "max_steps": 7,
    "logging_steps": 3,
    "save_strategy": "steps",
    "save_steps": 2,
    "save_total_limit": 2,
    "eval_strategy": "steps",
    "eval_steps": 2,
    "load_best_model_at_end": True,
    "metric_for_best_model": "macro_f1",
}
KILLS = [
    (at_call(ClassifierTrainer, "training_step", 2), None),  # before the first checkpoint
    (half_written(torch, "save"), None),
    (at_call(resumable, "rotate", 2), 4),
    (at_call(ClassifierTrainer, "training_step", 2), 4),  # between two evaluations
    (at_call(train, "publish"), 7),  # the result is written, but for its place
]


@pytest.mark.slow
def test_a_fine_tuning_killed_again_and_again_ends_as_one_that_was_not(tmp_path: Path) -> None:
    write_klip_base(tmp_path)
    write_chips(tmp_path / "chips")
    commands = {
        name: classifier_arguments(tmp_path, tmp_path / name, **FIELDS, feature_cache=tmp_path / f"states of {name}")
        for name in ("whole", "cut")
    }
    main(commands["whole"])
    cut = tmp_path / "cut"
    for patch, last in KILLS:
        run_until(commands["cut"], patch, main)
        steps = [int(path.name.removeprefix("checkpoint-")) for path in checkpoints(cut)]
        assert (steps[-1] if steps else None) == last
        assert not any((cut / name).exists() for name in MANIFESTS)
    main(commands["cut"])
    check_same(tmp_path / "whole", cut)
    assert not list(cut.glob("partial-*"))
