"""The trainer of a stage: a slower vision tower, checkpoints of the TLM alone, one mean loss, and all of it watched."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from transformers.training_args import OptimizerNames

from fusargpt.errors import InputError
from fusargpt.private_names import attention_of
from modeling_fusargpt import AnyFusarGpt, FusarGptProcessor
from modeling_fusargpt.artefacts import TLM_FILE, load_tlm
from trl_recipes.arguments import RecipeArguments
from trl_recipes.data.answer_weights import token_weights
from trl_recipes.data.collator import IGNORED_LABEL
from trl_recipes.data.row_checks import LeftOut, UsedRows
from trl_recipes.data.rows import Batch
from trl_recipes.model.attention import SDPA_FLOAT32
from trl_recipes.model.checkpoint import load_model, save_tlm, tlm_weights
from trl_recipes.model.matrix_optimizer import matrix_optimizer
from trl_recipes.model.parameters import part_of, without_adapters
from trl_recipes.model.pointed_attention import BoxPlaces, PointedAttention
from trl_recipes.model.sharding import check_sharding, compute_in_given_types, gather_head
from trl_recipes.running.answer_scores import AnswerScores
from trl_recipes.running.resumable import Resumable
from trl_recipes.running.watched_trainer import WatchedTrainer


class StageFiles(Resumable):
    """``Trainer`` of a stage, whatever it learns by: what its optimizer moves at which rate, and what it writes.

    Args:
        recipe: the stage's own fields; everything else goes to ``Resumable`` unchanged.
        left_out: rows of the datasets that are not among those given.
        used: how many of each are, for the card.
    """

    processing_class: FusarGptProcessor
    answers: AnswerScores | None

    def __init__(
        self,
        *,
        recipe: RecipeArguments,
        left_out: Sequence[LeftOut] = (),
        used: Sequence[UsedRows] = (),
        **arguments: Any,
    ) -> None:
        self.recipe = recipe
        self.left_out = left_out
        self.used = used
        super().__init__(on_full_disk=recipe.on_full_disk, **arguments)

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        if self.recipe.matrix_learning_rate is not None:
            self.optimizer = self._matrix_optimizer(self.recipe.matrix_learning_rate)
            return self.optimizer
        optimizer = super().create_optimizer(model)
        ratio = self.recipe.vision_learning_rate_ratio
        if ratio == 1.0:
            return optimizer
        names = {parameter: name for name, parameter in (model or self.model).named_parameters()}
        for group in list(optimizer.param_groups):
            tower = [parameter for parameter in group["params"] if part_of(names[parameter]) == "vision tower"]
            if not tower:
                continue
            group["params"] = [
                parameter for parameter in group["params"] if part_of(names[parameter]) != "vision tower"
            ]
            optimizer.add_param_group({**group, "params": tower, "lr": group["lr"] * ratio})
        return optimizer

    def _matrix_optimizer(self, learning_rate: float) -> torch.optim.Optimizer:
        if self.weights_are_sharded() or self.args.world_size > 1:
            raise InputError(
                f"matrix_learning_rate: found {learning_rate} with {self.args.world_size} processes, expected one "
                "that holds the whole model; leave it out"
            )
        optim = str(OptimizerNames(self.args.optim).value)
        if not optim.startswith("adamw_torch"):
            raise InputError(
                f"optim: found {optim} with matrix_learning_rate, expected adamw_torch or "
                "adamw_torch_fused, which moves what is no matrix; leave one of the two out"
            )
        model = self.accelerator.unwrap_model(self.model)
        layers, arguments = model.model.language_model.layers, self.args
        betas = (arguments.adam_beta1, arguments.adam_beta2)
        return matrix_optimizer(model, layers, learning_rate, arguments.learning_rate, arguments.weight_decay, betas)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, torch.Tensor] | None = None) -> None:
        # A stage that trains the TLM alone never writes the backbone, not even in its checkpoints.
        if self.recipe.train != "tlm" or self.recipe.save != "trained":
            super()._save(output_dir, state_dict)
            return
        if self.args.should_save:
            model = self.accelerator.unwrap_model(self.model)
            # Given where the model is sharded.
            weights = model.model.tlm.state_dict() if state_dict is None else tlm_weights(state_dict)
            save_tlm(Path(output_dir or str(self.args.output_dir)), weights, model.config, self.recipe)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: torch.nn.Module | None = None) -> None:
        if self.is_fsdp_enabled:  # from a file of its own, in the model's names
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        checkpoint = Path(resume_from_checkpoint)
        plain = self.accelerator.unwrap_model(model or self.model)
        if (checkpoint / TLM_FILE).is_file():
            load_tlm(plain.model.tlm, checkpoint / TLM_FILE)
        elif isinstance(plain, AnyFusarGpt):
            # Saved files name the weights as Qwen2.5-VL's do. The parent would compare those names with the model's,
            # find none of them, and go on with the weights that the model happens to have.
            plain.load_state_dict(load_model(resume_from_checkpoint).state_dict())
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_best_model(self) -> None:
        # The parent looks for files and names that are not those of a stage, and goes on without them.
        if self.is_deepspeed_enabled or self.is_fsdp_enabled:
            super()._load_best_model()
        else:
            self._load_from_checkpoint(str(self.state.best_model_checkpoint))


class StageTrainer(StageFiles, WatchedTrainer):
    """``SFTTrainer`` of one stage, watched; arguments as of both."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        # Qwen2.5-VL says that its own loss takes no count of tokens, and then a step's loss would be a mean of means of
        # micro-batches and processes. TRL's loss takes it.
        self.model_accepts_loss_kwargs = True
        check_sharding(self.accelerator, self.recipe)
        if self.accelerator.is_fsdp2:
            compute_in_given_types(self.accelerator)
            gather_head(without_adapters(self.accelerator.unwrap_model(self.model)))
        if self.recipe.answer_weight != "tokens" and not self.has_plain_loss:
            raise InputError(
                f"answer_weight: found {self.recipe.answer_weight} with another loss than the plain one, expected "
                "loss_type: nll, label_smoothing_factor: 0 and whole sequences in every process; or leave it out"
            )
        self._pointed: PointedAttention | None = None
        self._attention_losses: list[Tensor] = []
        if self.recipe.pointed_attention:
            if self.args.activation_checkpointing or self.args.gradient_checkpointing:
                raise InputError("pointed_attention: found it with activation_checkpointing, expected that to be false")
            language_model = without_adapters(self.accelerator.unwrap_model(self.model)).model.language_model
            attention = attention_of(language_model.config)
            if attention not in ("sdpa", SDPA_FLOAT32):
                raise InputError(
                    f"pointed_attention: found it with attn_implementation {attention}, in whose place it computes "
                    f"{SDPA_FLOAT32}; set attn_implementation: {SDPA_FLOAT32}, or leave it out"
                )
            middle = len(language_model.layers) // 2
            self._places = BoxPlaces(self.processing_class)
            self._pointed = PointedAttention(language_model, (middle, middle + 1))

    def get_batch_samples(
        self, epoch_iterator: Iterator[Batch], num_batches: int, device: torch.device
    ) -> tuple[list[Batch], Tensor | int | None]:
        batches, items = super().get_batch_samples(epoch_iterator, num_batches, device)
        if self.recipe.answer_weight == "tokens" or not batches:
            return batches, items
        # The mean is over what all tokens of the step weigh, however they are spread over batches and processes.
        weights = torch.stack([self._weights(batch["labels"]).sum() for batch in batches]).sum().to(device)
        if self.args.average_tokens_across_devices and self.args.world_size > 1:
            weights = cast(Tensor, self.accelerator.gather(weights)).sum()
        return batches, weights

    def log_likelihood(self, log_probs: Tensor, labels: Tensor) -> Tensor:
        if self.recipe.answer_weight == "tokens" or not self.model.training:
            return super().log_likelihood(log_probs, labels)
        # Outputs begin with the second token's.
        return (self._weights(labels)[:, 1:] * log_probs).sum()

    def _weights(self, labels: Tensor) -> Tensor:
        return token_weights(labels, self.recipe.answer_weight, IGNORED_LABEL)

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor | tuple[Tensor, object]:
        loss = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        if self._pointed is None or not model.training or isinstance(loss, tuple):
            return loss
        rows, positions, looked_at = self._places(inputs["input_ids"], inputs["labels"], inputs["image_grid_thw"])
        if not len(rows):
            return loss
        attention = self._pointed.loss(rows, positions, looked_at)
        self._attention_losses.append(attention.detach())
        return loss + self.recipe.pointed_attention / self.args.gradient_accumulation_steps * attention

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs and self._attention_losses:
            logs["attention"] = round(float(torch.stack(self._attention_losses).mean()), 4)
            self._attention_losses.clear()
        super().log(logs, start_time)
