"""The trainer of a phase: resumable, two passes over large batches, a slower tower, every part of the loss logged."""

from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from modeling_fusarklip.modeling_fusarklip import FusarKlipModel
from modeling_fusarklip.processing_fusarklip import FusarKlipProcessor
from modeling_fusarklip.two_pass import two_pass_step
from trl_recipes.data.row_checks import LeftOut, UsedRows
from trl_recipes.data.rows import Batch
from trl_recipes.klip.arguments import KlipArguments
from trl_recipes.klip.collator import KlipCollator
from trl_recipes.klip.loss_parts import LossParts
from trl_recipes.klip.parameters import TLM, TOWER, part_of
from trl_recipes.klip.rows import EpochSampler, Places
from trl_recipes.running.resumable import CurveSoFar, Resumable
from trl_recipes.running.run_metrics import Throughput


class KlipTrainer(Resumable):
    """``Trainer`` of one phase of FUSAR-KLIP.

    Args:
        recipe: the phase's own fields.
        left_out: rows of the datasets that are not among those given.
        used: how many of each are, for the card.
        collator: of the training rows.
        eval_collator: of the test split's; None without evaluations.
        arguments: go to ``Trainer`` unchanged.
    """

    model: FusarKlipModel  # pyright: ignore[reportIncompatibleVariableOverride]
    processing_class: FusarKlipProcessor

    def __init__(
        self,
        *,
        recipe: KlipArguments,
        collator: KlipCollator,
        eval_collator: KlipCollator | None = None,
        left_out: Sequence[LeftOut] = (),
        used: Sequence[UsedRows] = (),
        **arguments: Any,
    ) -> None:
        self.recipe = recipe
        self.left_out = left_out
        self.used = used
        self.eval_collator = eval_collator
        super().__init__(
            on_full_disk=recipe.on_full_disk,
            data_collator=collator,
            train_dataset=Places(len(collator)),
            eval_dataset=None if eval_collator is None else Places(len(eval_collator)),
            **arguments,
        )
        # Its losses are means over a batch, whatever number of tokens.
        self.model_accepts_loss_kwargs = False
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        self.sampler = EpochSampler(len(collator), seed)
        self.parts = {"train": LossParts(), "eval": LossParts()}
        self.throughput = Throughput()
        self.add_callback(self.throughput)

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        # A decayed temperature would sharpen the contrast by itself.
        return [name for name in super().get_decay_parameter_names(model) if name != "temperature"]

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        optimizer = super().create_optimizer(model)
        ratios = {TOWER: self.recipe.vision_learning_rate_ratio, TLM: self.recipe.prior_learning_rate_ratio}
        part_of_parameter = {parameter: part_of(name) for name, parameter in (model or self.model).named_parameters()}
        for part, ratio in ratios.items():
            if ratio == 1.0:
                continue
            for group in list(optimizer.param_groups):
                own = [parameter for parameter in group["params"] if part_of_parameter[parameter] == part]
                if own:
                    group["params"] = [
                        parameter for parameter in group["params"] if part_of_parameter[parameter] != part
                    ]
                    optimizer.add_param_group({**group, "params": own, "lr": group["lr"] * ratio})
        return optimizer

    def _get_train_sampler(self, train_dataset: object = None) -> EpochSampler:
        return self.sampler

    def _get_dataloader(
        self,
        dataset: Any,
        description: str,
        batch_size: int,
        sampler_fn: Any = None,
        is_training: bool = False,
        dataloader_key: str | None = None,
    ) -> DataLoader[Batch]:
        training_collator = self.data_collator
        if is_training:
            batch_size = self.recipe.logical_batch_size or batch_size
        else:
            self.data_collator = self.eval_collator
        try:
            return super()._get_dataloader(dataset, description, batch_size, sampler_fn, is_training, dataloader_key)
        finally:
            self.data_collator = training_collator

    def _run_epoch(self, *arguments: object, **keywords: object) -> None:
        self.sampler.epoch = cast(int, keywords["epoch"])
        super()._run_epoch(*arguments, **keywords)

    def get_batch_samples(
        self, epoch_iterator: Iterator[Batch], num_batches: int, device: torch.device
    ) -> tuple[list[Batch], Tensor | int | None]:
        self.throughput.start()
        return super().get_batch_samples(epoch_iterator, num_batches, device)

    def training_step(self, model: nn.Module, inputs: Batch, num_items_in_batch: Tensor | int | None = None) -> Tensor:
        self.throughput.add(inputs["attention_mask"].sum(), len(inputs["attention_mask"]))
        if self.recipe.logical_batch_size is None:
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

    def evaluate(self, *arguments: Any, **options: Any) -> dict[str, float]:
        # The same words are masked in every evaluation, and training goes on as if there had been none.
        devices = [self.args.device] if self.args.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(self.args.seed)
            return super().evaluate(*arguments, **options)

    def floating_point_ops(self, inputs: Batch) -> int:
        return 0  # the parent's estimate is of one tower that reads everything

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

    def _add_up(self, values: Tensor) -> Tensor:
        return cast(Tensor, self.accelerator.reduce(values.to(self.args.device), reduction="sum"))
