"""The trainer of a classifier: classes may be weighted, accuracy and macro F1 of the evaluations are logged."""

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import EvalPrediction

from fusargpt.metrics.classification import label_tallies
from modeling_fusarklip.modeling_fusarklip import FusarKlipForImageClassification
from trl_recipes.data.rows import Batch
from trl_recipes.klip.classifier_arguments import METRICS
from trl_recipes.klip.epoch_trainer import EpochTrainer


class ClassifierTrainer(EpochTrainer):
    """``Trainer`` of a classifier.

    Args:
        names: of the classes, by their numbers.
        class_weights: of the classes in the loss; None counts every row alike.
        arguments: go to `EpochTrainer` unchanged.
    """

    model: FusarKlipForImageClassification  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(self, *, names: list[str], class_weights: list[float] | None, **arguments: Any) -> None:
        self.names = names
        super().__init__(compute_metrics=self._metrics, **arguments)
        self.class_weights = None if class_weights is None else torch.tensor(class_weights, device=self.args.device)

    def training_step(self, model: nn.Module, inputs: Batch, num_items_in_batch: Tensor | int | None = None) -> Tensor:
        self.throughput.add(torch.zeros((), device=self.args.device), len(inputs["labels"]))
        return super().training_step(model, inputs, num_items_in_batch)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor | tuple[Tensor, object]:
        outputs = model(**inputs)
        if self.class_weights is not None:
            outputs.loss = functional.cross_entropy(outputs.logits.float(), inputs["labels"], self.class_weights)
        return (outputs.loss, outputs) if return_outputs else outputs.loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:
            read = self.throughput.read(self._add_up(self.throughput.take(self.args.device)).tolist())
            logs |= {name: value for name, value in read.items() if name == "images_per_second"}
        super().log(logs, start_time)

    def _metrics(self, predicted: EvalPrediction) -> dict[str, float]:
        logits, labels = cast(np.ndarray, predicted.predictions), cast(np.ndarray, predicted.label_ids)
        found = label_tallies(logits.argmax(1), labels, self.names)
        return {name: found[name].value for name in METRICS}
