"""TRL's ``SFTTrainer``, in which nothing that is only to be logged is read before it is logged.

TRL reads five numbers of every micro-batch, transformers two more, and each time the processor waits until a GPU has
done all it was asked for, and then asks for the next thing. Here they stay where they are until `log`.
"""

from functools import cached_property
from typing import Any, cast

import torch
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from trl_recipes.data.rows import Batch


class NonBlockingTrainer(SFTTrainer):
    """``SFTTrainer`` that logs the same and trains the same.

    Losses other than the plain one (``loss_type``, ``label_smoothing_factor``) and training in which several processes
    share a sequence are TRL's own, with what it reads.
    """

    args: SFTConfig
    model: PreTrainedModel | PeftModel

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        # Of each micro-batch: answer tokens, their entropies, those that were the likeliest, tokens.
        self._sums: dict[str, list[Tensor]] = {"train": [], "eval": []}
        # transformers asks at every micro-batch whether its loss is finite; `training_step` does it there.
        self._keeps_finite = self.args.logging_nan_inf_filter
        self.args.logging_nan_inf_filter = False

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor | tuple[Tensor, object]:
        if return_outputs or not self.has_plain_loss:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        outputs = model(**inputs, use_cache=False, fused_lm_head=True)
        tokens = outputs.label_mask.sum()
        items = tokens if num_items_in_batch is None else num_items_in_batch
        loss = -self.log_likelihood(outputs.log_probs, inputs["labels"]) / torch.as_tensor(items).clamp(min=1)
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            # The items are those of all processes, over which the gradients are averaged.
            loss = loss * self.accelerator.num_processes
        parts = (tokens, outputs.entropy.detach().sum(), outputs.is_top1.sum(), inputs["attention_mask"].sum())
        sums = torch.stack([part.float() for part in parts])
        mode = "train" if self.model.training else "eval"
        gathered = cast(Tensor, self.accelerator.gather_for_metrics(sums[None]))
        self._sums[mode].append(gathered.sum(0))
        return loss

    def log_likelihood(self, log_probs: Tensor, labels: Tensor) -> Tensor:
        """What the loss is the mean of, summed up: `log_probs` [batch, tokens - 1] are 0 where no loss falls."""
        return log_probs.sum()

    @cached_property
    def has_plain_loss(self) -> bool:
        """Whether the loss is computed here."""
        return (
            self.args.loss_type == "nll"
            and self.label_smoother is None
            and self.compute_loss_func is None  # pyright: ignore[reportUnnecessaryComparison]  # annotated too narrowly
            and not self.aux_loss_enabled
            and self.accelerator.parallelism_config is None
        )

    def training_step(
        self, model: torch.nn.Module, inputs: Batch, num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        loss = super().training_step(model, inputs, num_items_in_batch)
        if not self._keeps_finite:
            return loss
        # As the parent: in the place of one that is not, the mean of those since the last log.
        mean = self._tr_loss / (1 + self.state.global_step - self._globalstep_last_logged)
        return torch.where(loss.isfinite(), loss, mean)

    def floating_point_ops(self, inputs: Batch) -> int:
        # The parent goes through all modules and all weights, at every micro-batch.
        return inputs["input_ids"].numel() * self._operations_a_token

    @cached_property
    def _operations_a_token(self) -> int:
        return super().floating_point_ops({"input_ids": torch.empty(1)})

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        self.read_sums()
        super().log(logs, start_time)

    def read_sums(self) -> None:
        """Put what micro-batches have summed up to where TRL averages it."""
        for mode, sums in self._sums.items():
            if not sums:
                continue
            tokens, *parts, read = torch.stack(sums).unbind(1)
            means = [part / tokens.clamp(min=1) for part in parts]
            entropies, accuracies, counts = cast(list[list[float]], torch.stack([*means, read]).tolist())
            metrics = self._metrics[mode]
            metrics["entropy"] += entropies
            metrics["mean_token_accuracy"] += accuracies
            if mode == "train":
                self._total_train_tokens += sum(map(int, counts))
            metrics["num_tokens"] = [self._total_train_tokens]
            sums.clear()
