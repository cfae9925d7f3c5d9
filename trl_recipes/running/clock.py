"""A run that has minutes instead of steps: its learning rate follows the clock, and it ends when they are over."""

import math
import time

from accelerate.scheduler import AcceleratedScheduler
from torch.optim.lr_scheduler import LambdaLR
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

_WARMUP_SHARE = 0.03


class Clock(TrainerCallback):
    """Ends training after `minutes` of this process, its learning rate on a cosine of the time that is gone.

    Whatever the recipe says of steps is an upper limit. A resumed run has its minutes anew.

    Raises:
        ValueError: when training begins with a scheduler that follows no function of steps, as `reduce_lr_on_plateau`.
    """

    def __init__(self, minutes: float) -> None:
        self.seconds = 60 * minutes
        self.began = time.monotonic()

    def gone(self) -> float:
        """Share of the minutes that is gone, above 1 when they are over."""
        return (time.monotonic() - self.began) / self.seconds

    def factor(self, step: int) -> float:
        """Of the learning rate, whatever the step."""
        gone = min(self.gone(), 1.0)
        if step == 0 or gone < _WARMUP_SHARE:
            return gone / _WARMUP_SHARE
        return (1 + math.cos(math.pi * (gone - _WARMUP_SHARE) / (1 - _WARMUP_SHARE))) / 2

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        lr_scheduler: object = None,
        **_: object,
    ) -> None:
        scheduler = lr_scheduler.scheduler if isinstance(lr_scheduler, AcceleratedScheduler) else lr_scheduler
        if not isinstance(scheduler, LambdaLR):
            raise ValueError(f"lr_scheduler_type: {args.lr_scheduler_type} cannot follow the clock; set cosine")
        scheduler.lr_lambdas = [self.factor] * len(scheduler.lr_lambdas)
        self.began = time.monotonic()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        if self.gone() >= 1:
            control.should_training_stop = control.should_log = True
