"""A trainer that, killed at any moment, goes on to the losses and weights of a run that was not."""

import shutil
from collections.abc import Callable, Sized
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

import torch
from accelerate.utils import gather_object
from peft import PeftModel
from torch.utils.data import DataLoader
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import TrainOutput

from fusargpt.conversion.model_card import CARD
from fusargpt.errors import InputError
from fusargpt.files import FullDiskError, check_room, watching_disk
from fusargpt.private_names import exported_states, gather_losses
from trl_recipes.arguments import OnFullDisk
from trl_recipes.data.rows import Batch
from trl_recipes.running.atomic_runs import (
    STATE,
    checkpoints,
    complete,
    folder_bytes,
    partial_name,
    remove,
    rotate,
    to_disk,
)
from trl_recipes.running.non_blocking_trainer import NonBlockingTrainer
from trl_recipes.running.precision import Precision

CURVE = "CurveSoFar"  # of trainer_state.json's stateful_callbacks


class CurveSoFar(TypedDict):
    """What has been summed since the last log."""

    loss: float
    logged_at: int
    total_loss: float
    tokens: NotRequired[float]
    metrics: NotRequired[dict[str, list[float]]]
    training: NotRequired[bool]
    watched: NotRequired[list[list[float]]]
    parts: NotRequired[dict[str, list[float]]]


class Resumable(Trainer):
    """``Trainer`` with checkpoints that are whole or absent, and that hold what the loss curve is drawn from.

    Between two logs the parent sums the loss in memory; a resumed run would log other numbers. The sums go into
    ``trainer_state.json``.

    Args:
        on_full_disk: ``stop`` raises FullDiskError when there is no room for a checkpoint, ``continue`` trains on
            without this one.
    """

    model: PreTrainedModel | PeftModel

    def __init__(self, *, on_full_disk: OnFullDisk = "stop", **arguments: Any) -> None:
        self.on_full_disk = on_full_disk
        super().__init__(**arguments)
        self.add_callback(_CurveSoFar(self))
        self.add_callback(_LogShortRuns())
        self.add_callback(Precision())

    def weights_are_sharded(self) -> bool:
        """Whether no process holds the whole model."""
        deepspeed = self.accelerator.state.deepspeed_plugin
        return self.is_fsdp_enabled or (deepspeed is not None and deepspeed.zero_stage == 3)

    def rows_a_batch(self, batch_size: int) -> int:
        """Rows that a process fetches together in training, for a batch of `batch_size`."""
        return batch_size

    def get_train_dataloader(self) -> DataLoader[Batch]:
        """Raises InputError where rows make no whole batch: the parent would end well, and train nothing."""
        loader = super().get_train_dataloader()
        if not len(loader):
            rows = len(cast(Sized, self.train_dataset))
            needed = self.rows_a_batch(self.args.per_device_train_batch_size) * self.args.world_size
            raise InputError(
                f"dataset_name: found {rows} rows, expected at least a batch of all processes, {needed}; give more "
                "rows, or set smaller batches, or dataloader_drop_last: false"
            )
        return loader

    def curve_so_far(self) -> CurveSoFar:
        """What has been summed since the last log, over all processes."""
        return {
            "loss": gather_losses(self._tr_loss, self.args).mean().item(),
            "logged_at": self._globalstep_last_logged,
            "total_loss": self._total_loss_scalar,
        }

    def take_up(self, curve: CurveSoFar) -> None:
        """Go on from what `curve_so_far` has given."""
        self._tr_loss += curve["loss"]
        self._globalstep_last_logged = curve["logged_at"]
        self._total_loss_scalar = curve["total_loss"]

    def evaluate(self, *arguments: Any, **options: Any) -> dict[str, float]:
        # Reading the test split draws from the generator of which dropout and answers are drawn: training goes on as
        # if it had not.
        devices = [self.args.device] if self.args.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            return super().evaluate(*arguments, **options)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "train_loss" in logs:  # the parent divides by the steps since the process began
            logs["train_loss"] = self._total_loss_scalar / max(self.state.global_step, 1)
        super().log(logs, start_time)

    def _get_dataloader(self, *args: Any, **kwargs: Any) -> DataLoader[Batch]:
        loader: Any = super()._get_dataloader(*args, **kwargs)
        # A loader draws the seed of its workers when it starts them, in a resumed run at other times than in one that
        # was not cut. Dropout must not notice.
        loader.base_dataloader.generator = torch.Generator().manual_seed(self.args.seed)
        return loader

    def _run_epoch(self, *arguments: object, **keywords: object) -> None:
        if self.state.global_step >= self.state.max_steps:
            # Resumed after the last step of the run; the parent would do another one.
            self.control.should_training_stop = True
            return
        super()._run_epoch(*arguments, **keywords)

    def _finalize_training(self, trial: object, num_train_samples: int, start_time: float) -> TrainOutput:
        best = self.state.best_model_checkpoint
        if self.args.should_save and best is not None and self.args.save_total_limit == 1:
            # As the parent would do next, but whole or not at all.
            for path in checkpoints(Path(str(self.args.output_dir))):
                if path.name != Path(best).name:
                    remove(path)
        return super()._finalize_training(trial, num_train_samples, start_time)

    def _save_checkpoint(self, model: torch.nn.Module, trial: object) -> None:
        run_dir = Path(str(self.args.output_dir))
        target = run_dir / f"checkpoint-{self.state.global_step}"
        partial = partial_name(target)
        best_before = self.state.best_model_checkpoint
        if self.state.best_global_step:
            best = run_dir / f"checkpoint-{self.state.best_global_step}"
            if best == target or best.exists():
                self.state.best_model_checkpoint = str(best)
        self.store_flos()
        _kept(self.state)[CURVE] = self.curve_so_far()
        about = (run_dir, f"output_dir: {target.name}", self._checkpoint_bytes(), self._remedy())
        # Agreed on by all processes before the first one writes: part of the writing is done together.
        full = self._any_full(lambda: check_room(*about)) or self._any_full(lambda: self._write(partial, about))
        if full is not None:
            self.state.best_model_checkpoint = best_before
            if self.args.should_save:
                shutil.rmtree(partial, ignore_errors=True)
            if self.on_full_disk == "stop":
                raise full
            self.accelerator.print(f"{full}; on_full_disk: continue, going on without it")
            return
        if self.args.should_save:
            complete(target)
            rotate(run_dir, self.args.save_total_limit, self.state.best_model_checkpoint)
        self.accelerator.wait_for_everyone()
        # Where nodes do not share the folder, each has written the random states of its own processes.
        if self.is_local_process_zero() and partial.is_dir():
            complete(target)

    def _any_full(self, attempt: Callable[[], None]) -> FullDiskError | None:
        """Make the attempt in every process; the first error of a full disk that any of them met."""
        met = None
        try:
            attempt()
        except FullDiskError as error:
            met = error
        return next((error for error in gather_object([met]) if error is not None), None)

    def _write(self, folder: Path, about: tuple[Path, str, int, str]) -> None:
        with watching_disk(*about):
            self._write_checkpoint(folder)
            if self.args.should_save:
                to_disk(folder)

    def _write_checkpoint(self, folder: Path) -> None:
        self.save_model(str(folder), _internal_call=True)
        if not self.args.save_only_model:
            self._save_optimizer_and_scheduler(str(folder))
            self._save_scaler(str(folder))
            self._save_rng_state(str(folder))
        if self.args.should_save:
            states = exported_states([*self.callback_handler.callbacks, self.control])
            _kept(self.state).update({name: of if len(of) > 1 else of[0] for name, of in states.items()})
            self.state.save_to_json(str(folder / STATE))

    def _checkpoint_bytes(self) -> int:
        """Those of the last checkpoint; for the first one, of what is trained and its optimizer's state, at least."""
        earlier = checkpoints(Path(str(self.args.output_dir)))
        if earlier:
            return folder_bytes(earlier[-1])
        optimizer = cast(torch.optim.Optimizer, self.optimizer)
        tensors = [value for state in optimizer.state.values() for value in state.values() if torch.is_tensor(value)]
        tensors += [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        return sum(tensor.nbytes for tensor in tensors)

    def _remedy(self) -> str:
        earlier = checkpoints(Path(str(self.args.output_dir)))
        goes_on = f"goes on from {earlier[-1].name}, which is whole" if earlier else "starts afresh"
        remedy = f"free some space and run the same command again, which {goes_on}"
        return remedy if self.on_full_disk == "continue" else f"{remedy}, or set on_full_disk: continue"


class ResumableTrainer(Resumable, NonBlockingTrainer):
    """``SFTTrainer``, resumable; what it counts beside the loss goes into ``trainer_state.json`` as well."""

    model: PreTrainedModel | PeftModel

    def curve_so_far(self) -> CurveSoFar:
        self.read_sums()
        return {
            **super().curve_so_far(),
            "tokens": self._total_train_tokens,
            "metrics": dict(self._metrics["train"]),
            "training": self.model.training,  # by which TRL chooses what goes into the next log
        }

    def take_up(self, curve: CurveSoFar) -> None:
        super().take_up(curve)
        self._total_train_tokens = curve.get("tokens", 0)
        for name, values in curve.get("metrics", {}).items():
            self._metrics["train"][name] = list(values)
        self.model.train(curve.get("training", True))

    def _write_checkpoint(self, folder: Path) -> None:
        super()._write_checkpoint(folder)
        if self.args.should_save:
            # peft writes a form that nobody fills in; the stage's result gets its card at the end.
            (folder / CARD).unlink(missing_ok=True)


class _CurveSoFar(TrainerCallback):
    """Hands a resumed trainer its curve, and saves at the end of an epoch after what else is logged there."""

    def __init__(self, trainer: Resumable) -> None:
        self.trainer = trainer
        self.save_is_due = False

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        curve = _kept(state).get(CURVE)
        if curve is not None:
            self.trainer.take_up(cast(CurveSoFar, curve))

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        # An evaluation at the end of an epoch comes after the save of its last step, and a run resumed from there would
        # begin the next epoch without it.
        epoch_ends = control.should_training_stop or control.should_epoch_stop or float(state.epoch or 0).is_integer()
        if control.should_save and epoch_ends:
            control.should_save, self.save_is_due = False, True

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        if self.save_is_due:
            control.should_save, self.save_is_due = True, False


class _LogShortRuns(TrainerCallback):
    """Logs a run that is shorter than a recipe's `logging_steps` at a tenth of its steps: it has a curve, too."""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        if state.logging_steps > state.max_steps:
            state.logging_steps = max(1, state.max_steps // 10)


def _kept(state: TrainerState) -> dict[str, object]:
    """What ``trainer_state.json`` keeps of callbacks; transformers annotates it as what it is made from."""
    return cast(dict[str, object], state.stateful_callbacks)
