"""What is read late is what TRL reads at once: the same logs, the same weights, and no waiting between logs."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.training_overhead import Counted
from tests.trl_recipes.stages import arguments, result, write_base
from tests.trl_recipes.triplets import write_triplets
from trl_recipes.arguments import parse
from trl_recipes.running.non_blocking_trainer import NonBlockingTrainer
from trl_recipes.running.trainer import StageTrainer
from trl_recipes.sft import main, make_trainer

TIMED = ("runtime", "per_second")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("non_blocking")
    write_base(folder)
    write_triplets(folder / "data", tasks=True)
    return folder


def logged(output_dir: Path) -> tuple[list[dict[str, Any]], float]:
    """All that was logged but for how long it took, and the run's floating point operations."""
    state = json.loads((output_dir / "trainer_state.json").read_text())
    history = [
        {name: value for name, value in entry.items() if not name.endswith(TIMED)} for entry in state["log_history"]
    ]
    return history, state["total_flos"]


def test_logs_and_weights_are_those_of_trl(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Logged between evaluations, after several micro-batches of which the last of an epoch is smaller."""
    fields = {
        "max_steps": 4,
        "logging_steps": 2,
        "per_device_train_batch_size": 3,
        "gradient_accumulation_steps": 2,
        "eval_strategy": "steps",
        "eval_steps": 3,
        "dataset_test_split": "train[:3]",
        "eval_answers": 0,
    }
    main(arguments(folder, tmp_path / "ours", train="tlm", **fields))
    with monkeypatch.context() as patch:
        patch.setattr(NonBlockingTrainer, "has_plain_loss", False)
        main(arguments(folder, tmp_path / "theirs", train="tlm", **fields))
    ours, theirs = logged(tmp_path / "ours"), logged(tmp_path / "theirs")
    assert ours == theirs and ours[1] > 0
    assert {"entropy", "mean_token_accuracy", "num_tokens"} <= set(ours[0][0])
    assert any("eval_entropy" in entry for entry in ours[0])
    weights, expected = result(tmp_path / "ours")[1], result(tmp_path / "theirs")[1]
    assert all(torch.equal(value, expected[name]) for name, value in weights.items())


def test_a_loss_that_is_not_finite_does_not_end_the_curve(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As transformers has it: the mean of the losses since the last log stands in."""
    computed = StageTrainer.compute_loss
    losses: list[float] = []

    def broken(self: Any, *values: Any, **options: Any) -> Tensor:
        loss: Any = computed(self, *values, **options)
        losses.append(loss.item())
        return loss * (float("nan") if len(losses) == 2 else 1.0)

    monkeypatch.setattr(StageTrainer, "compute_loss", broken)
    main(arguments(folder, tmp_path / "out", train="tlm", max_steps=2, logging_steps=2, learning_rate=0.0))
    (entry,) = [entry for entry in logged(tmp_path / "out")[0] if "loss" in entry]
    assert len(losses) == 2 and entry["loss"] == pytest.approx((losses[0] + losses[0] / 2) / 2, rel=1e-5)


@pytest.mark.parametrize("cached", [False, True])
def test_a_step_reads_nothing_that_it_does_not_log(folder: Path, tmp_path: Path, cached: bool) -> None:
    cache = {"feature_cache": tmp_path / "features"} if cached else {}
    fields = {"train": "tlm+lora", "max_steps": 3, "logging_steps": 3, "per_device_train_batch_size": 4, **cache}
    trainer = make_trainer(*parse(arguments(folder, tmp_path / "out", **fields)))
    own = Counted()
    trainer.add_callback(own)
    trainer.train()
    # Windows on a CPU are attended by their lengths; torch's attention of packed sequences reads none.
    assert {place for place in own.waits.reads if "in_batches" not in place} == set()
    assert not own.waits.copies.total()
