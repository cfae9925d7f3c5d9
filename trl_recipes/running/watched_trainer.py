"""TRL's ``SFTTrainer`` with its run watched: more is logged, evaluations score answers, and training is the same."""

from collections.abc import Iterator
from typing import Any, cast

import torch
from peft import PeftModel
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import PreTrainedModel
from transformers.trainer_utils import EvalLoopOutput

from fusargpt.errors import InputError
from trl_recipes.data.collator import TripletCollator
from trl_recipes.data.rows import Batch
from trl_recipes.model.parameters import without_adapters
from trl_recipes.running.answer_scores import AnswerScores
from trl_recipes.running.resumable import CurveSoFar, ResumableTrainer
from trl_recipes.running.run_metrics import Watch


class WatchedTrainer(ResumableTrainer):
    """``SFTTrainer`` that logs what ``Watch`` sees, and what ``AnswerScores`` says in every evaluation.

    Args:
        data_collator: of the rows, with the tasks that they name.
        answers: questions that every evaluation has answered and scores; None for none.
        arguments: go to ``ResumableTrainer`` unchanged.

    Raises:
        InputError: for questions to a model of which no process holds the whole.
    """

    model: PreTrainedModel | PeftModel

    def __init__(
        self, *, data_collator: TripletCollator, answers: AnswerScores | None = None, **arguments: Any
    ) -> None:
        super().__init__(data_collator=data_collator, **arguments)
        self.answers = answers
        if answers is not None and self.weights_are_sharded():
            raise InputError(
                "eval_answers: found a model whose weights are sharded (FSDP, ZeRO-3), expected a whole one in every "
                "process; set eval_answers: 0, and score checkpoints when the stage is done"
            )
        self.watch = Watch(self.model, data_collator.tasks)
        self.add_callback(self.watch.throughput)

    def get_batch_samples(
        self, epoch_iterator: Iterator[Batch], num_batches: int, device: torch.device
    ) -> tuple[list[Batch], Tensor | int | None]:
        self.watch.throughput.start()
        return super().get_batch_samples(epoch_iterator, num_batches, device)

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor | tuple[Tensor, object]:
        self.watch.see_batch(inputs)
        return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        mode = "train" if "loss" in logs else "eval" if "eval_loss" in logs else None
        if mode is not None:
            logs |= self.watch.report(mode, self.args.device, self._add_up)
        super().log(logs, start_time)

    def curve_so_far(self) -> CurveSoFar:
        return {**super().curve_so_far(), "watched": self.watch.so_far(self.args.device, self._add_up)}

    def take_up(self, curve: CurveSoFar) -> None:
        super().take_up(curve)
        if self.accelerator.is_main_process:  # they are sums over all processes, and will be added up again
            self.watch.take_up(curve.get("watched", ()), self.args.device)

    def _add_up(self, values: Tensor) -> Tensor:
        return cast(Tensor, self.accelerator.reduce(values, reduction="sum"))

    def evaluation_loop(
        self,
        dataloader: DataLoader[Batch],
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        output = super().evaluation_loop(dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix)
        if self.answers is not None and metric_key_prefix == "eval":
            model = without_adapters(self.accelerator.unwrap_model(self.model))
            with self.compute_loss_context_manager():
                scores = self.answers(model, self._prepare_inputs)
            scored = {f"eval_{name}": value for name, value in scores.items()}
            output = output._replace(metrics={**(output.metrics or {}), **scored})
        return output
