"""The trainer of rows that are drawn anew in every epoch: resumable, with a slower tower and a faster TLM."""

from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from modeling_fusarklip.processing_fusarklip import FusarKlipProcessor
from trl_recipes.data.row_checks import LeftOut, UsedRows
from trl_recipes.data.rows import Batch
from trl_recipes.klip.collator import ImageCollator
from trl_recipes.klip.image_arguments import ImageArguments
from trl_recipes.klip.parameters import TLM, TOWER, part_of
from trl_recipes.klip.rows import EpochSampler, Places
from trl_recipes.running.resumable import Resumable
from trl_recipes.running.run_metrics import Throughput


class EpochTrainer(Resumable):
    """``Trainer`` of FUSAR-KLIP, whatever it learns.

    Args:
        recipe: the run's own fields.
        left_out: rows of the datasets that are not among those given.
        used: how many of each are, for the card.
        collator: of the training rows.
        eval_collator: of the test split's; None without evaluations.
        arguments: go to ``Trainer`` unchanged.
    """

    processing_class: FusarKlipProcessor

    def __init__(
        self,
        *,
        recipe: ImageArguments,
        collator: ImageCollator,
        eval_collator: ImageCollator | None = None,
        left_out: Sequence[LeftOut] = (),
        used: Sequence[UsedRows] = (),
        **arguments: Any,
    ) -> None:
        self.ratios = {TOWER: recipe.vision_learning_rate_ratio, TLM: recipe.prior_learning_rate_ratio}
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
        self.throughput = Throughput()
        self.add_callback(self.throughput)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        optimizer = super().create_optimizer(model)
        part_of_parameter = {parameter: part_of(name) for name, parameter in (model or self.model).named_parameters()}
        for part, ratio in self.ratios.items():
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
            batch_size = self.rows_a_batch(batch_size)
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

    def evaluate(self, *arguments: Any, **options: Any) -> dict[str, float]:
        # The same words are masked in every evaluation, and training goes on as if there had been none.
        devices = [self.args.device] if self.args.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(self.args.seed)
            return super().evaluate(*arguments, **options)

    def floating_point_ops(self, inputs: Batch) -> int:
        return 0  # the parent's estimate is of one tower that reads everything

    def _add_up(self, values: Tensor) -> Tensor:
        return cast(Tensor, self.accelerator.reduce(values.to(self.args.device), reduction="sum"))
