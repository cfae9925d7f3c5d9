"""A run by the clock: its learning rate follows the time that is gone, and it ends when that is over."""

from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import LambdaLR, StepLR
from transformers import TrainerControl, TrainerState, TrainingArguments

from trl_recipes.running import clock
from trl_recipes.running.clock import Clock


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    time = [0.0]
    monkeypatch.setattr(clock.time, "monotonic", lambda: time[0])
    return time


def scheduler(kind: Any, *arguments: Any) -> Any:
    return kind(torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0), *arguments)


def test_the_learning_rate_rises_and_falls_with_the_clock(now: list[float]) -> None:
    control, state = TrainerControl(), TrainerState()
    run, steps = Clock(minutes=1), scheduler(LambdaLR, lambda step: 1.0)
    arguments = TrainingArguments(use_cpu=True)
    run.on_train_begin(arguments, state, control, lr_scheduler=steps)
    rates = []
    for second in (0.9, 1.8, 30.9, 59.9):
        now[0] = second
        steps.step()
        rates.append(steps.get_last_lr()[0])
        run.on_step_end(arguments, state, control)
        assert not control.should_training_stop
    assert rates == pytest.approx([0.5, 1.0, 0.5, 0.0], abs=0.01)
    now[0] = 60.0
    run.on_step_end(arguments, state, control)
    assert control.should_training_stop


def test_a_schedule_that_follows_no_steps_cannot_follow_the_clock() -> None:
    with pytest.raises(ValueError, match="set cosine"):
        Clock(1).on_train_begin(
            TrainingArguments(use_cpu=True), TrainerState(), TrainerControl(), lr_scheduler=scheduler(StepLR, 1)
        )
