"""The trainer of a phase: two passes over large batches, every part of the loss logged."""

from typing import Any, cast

import torch
from torch import Tensor, nn

from modeling_fusarklip.modeling_fusarklip import FusarKlipModel
from modeling_fusarklip.two_pass import two_pass_step
from trl_recipes.data.rows import Batch
from trl_recipes.klip.arguments import KlipArguments
from trl_recipes.klip.epoch_trainer import EpochTrainer
from trl_recipes.klip.loss_parts import LossParts
from trl_recipes.running.resumable import CurveSoFar


class KlipTrainer(EpochTrainer):
    """``Trainer`` of one phase of FUSAR-KLIP.

    Args:
        recipe: the phase's own fields.
        arguments: go to `EpochTrainer` unchanged.
    """

    model: FusarKlipModel  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(self, *, recipe: KlipArguments, **arguments: Any) -> None:
        self.logical_batch_size = recipe.logical_batch_size
        self.parts = {"train": LossParts(), "eval": LossParts()}
        super().__init__(recipe=recipe, **arguments)

    def rows_a_batch(self, batch_size: int) -> int:
        return self.logical_batch_size or batch_size

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        # A decayed temperature would sharpen the contrast by itself.
        return [name for name in super().get_decay_parameter_names(model) if name != "temperature"]

    def training_step(self, model: nn.Module, inputs: Batch, num_items_in_batch: Tensor | int | None = None) -> Tensor:
        self.throughput.add(inputs["attention_mask"].sum(), len(inputs["attention_mask"]))
        if self.logical_batch_size is None:
            return super().training_step(model, inputs, num_items_in_batch)
        model.train()
        inputs = self._prepare_inputs(inputs)
        size = self.args.per_device_train_batch_size
        split = {name: values.split(size) for name, values in inputs.items()}
        chunks = [dict(zip(split, values, strict=True)) for values in zip(*split.values(), strict=True)]
        with self.compute_loss_context_manager():
            found = two_pass_step(self.accelerator.unwrap_model(model), chunks, self.accelerator.backward, call=model)
        self.parts["train"].add(found)
        return torch.tensor(found["loss"], device=self.args.device)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor | tuple[Tensor, object]:
        outputs = model(**inputs, return_loss=True)
        self.parts["train" if self.model.training else "eval"].add(outputs)
        return (outputs.loss, outputs) if return_outputs else outputs.loss

    def prediction_step(
        self,
        model: nn.Module,
        inputs: Batch,
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[Tensor | None, None, None]:
        with torch.no_grad(), self.compute_loss_context_manager():
            loss = self.compute_loss(model, self._prepare_inputs(inputs))
        return cast(Tensor, loss).detach(), None, None

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        mode = "train" if "loss" in logs else "eval" if "eval_loss" in logs else None
        if mode is not None:
            beginning = "" if mode == "train" else "eval_"
            logs |= {f"{beginning}{name}": value for name, value in self.parts[mode].take(self._add_up).items()}
        if mode == "train":
            logs["temperature"] = self.model.temperature.item()
            logs |= self.throughput.read(self._add_up(self.throughput.take(self.args.device)).tolist())
        super().log(logs, start_time)

    def curve_so_far(self) -> CurveSoFar:
        return {**super().curve_so_far(), "parts": self.parts["train"].so_far(self._add_up)}

    def take_up(self, curve: CurveSoFar) -> None:
        super().take_up(curve)
        if self.accelerator.is_main_process:  # they are sums over all processes, and will be added up again
            self.parts["train"].take_up(curve.get("parts", {}))
