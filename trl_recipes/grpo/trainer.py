"""TRL's ``GRPOTrainer`` of a stage: images and priors reach the drawing of answers and the loss as they do in SFT.

The difference is where answers are drawn (`draw_answers`), how the model is called in the loss (`pack`), a share of
loss on true answers, evaluations that answer greedily, and checkpoints that a killed run goes on from.
"""

import warnings
from typing import Any, cast

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor
from torch.utils.data import DataLoader
from transformers.trainer_utils import EvalLoopOutput
from trl.trainer.grpo_trainer import GRPOTrainer

from fusargpt.errors import InputError
from trl_recipes.data.collator import TripletCollator
from trl_recipes.data.row_tasks import TASK_COLUMN
from trl_recipes.data.rows import Batch, Row
from trl_recipes.grpo.arguments import ReinforcementArguments
from trl_recipes.grpo.packing import of_like_length, pack, padded
from trl_recipes.grpo.rows import REFERENCE, QuestionSampler, Replay, grouped, informative, reward_functions
from trl_recipes.grpo.sampling import Drawn, draw_answers
from trl_recipes.model.parameters import without_adapters
from trl_recipes.running.answer_scores import AnswerScores
from trl_recipes.running.resumable import CurveSoFar
from trl_recipes.running.trainer import StageFiles
from trl_recipes.stage_config import ReinforcementConfig

TOKENS_AT_ONCE = 4096
"""Of a call of the model, with padding, where one process trains alone."""
ROWS = "rows"  # of a batch of drawn answers: the row that each answers


class ReinforcementTrainer(StageFiles, GRPOTrainer):
    """``GRPOTrainer`` of one stage.

    Args:
        recipe: the stage's own fields.
        collator: of the rows.
        replay: true answers; None for none.
        answers: questions that every evaluation has answered and scores; None for none.
        arguments: go to ``StageFiles`` and ``GRPOTrainer`` unchanged.

    Raises:
        InputError: for a model of which no process holds the whole.
    """

    args: ReinforcementConfig
    recipe: ReinforcementArguments

    def __init__(
        self,
        *,
        recipe: ReinforcementArguments,
        collator: TripletCollator,
        replay: Replay | None,
        answers: AnswerScores | None,
        **arguments: Any,
    ) -> None:
        self.collator = collator
        self.replay = replay
        self.answers = answers
        self._rows: list[Row] = []  # what the answers at hand are to
        self._log_probabilities = torch.empty(0)  # of these, as the model gave them last
        self._last_batch = (-1, 0)  # of replay: the step, and which of its batches
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "You are using 'rollout_func'")
            super().__init__(
                recipe=recipe,
                reward_funcs=reward_functions(recipe.tasks, lambda: self.end_tokens),
                rollout_func=self._draw,
                **arguments,
            )
        if self.weights_are_sharded():
            raise InputError(
                "accelerate: found a model whose weights are sharded (FSDP, ZeRO-3), expected a whole one in every "
                "process, which draws answers from it; use ddp.yaml or zero2.yaml"
            )

    @property
    def end_tokens(self) -> list[int]:
        """Tokens that end an answer."""
        # TRL annotates them as what a tokenizer may hold.
        return cast(list[int], self.eos_token_ids)

    # TRL's own name of the argument, which is not transformers'.
    def _get_train_sampler(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, dataset: Dataset | None = None
    ) -> QuestionSampler:
        return QuestionSampler(super()._get_train_sampler(dataset), self.args.seed)

    def _generate_and_score_completions(self, inputs: list[Row]) -> dict[str, Any]:
        self._rows = inputs
        references = self.collator.seen_answers(inputs)
        asked = [
            {"prompt": row["prompt"], TASK_COLUMN: row[TASK_COLUMN], REFERENCE: reference}
            for row, reference in zip(inputs, references, strict=True)
        ]
        return {**super()._generate_and_score_completions(asked), ROWS: inputs}

    def _draw(self, prompts: list[object], trainer: GRPOTrainer) -> dict[str, object]:
        """TRL's ``rollout_func``: an answer to each of the rows at hand."""
        unique, question_of = grouped(self._rows)
        model = without_adapters(self.accelerator.unwrap_model(self.model))
        training = model.training
        model.eval()  # activation checkpointing, which is of training, would forget the cache
        try:
            with self.accelerator.autocast():
                drawn: Drawn = draw_answers(
                    model,
                    self.collator,
                    unique,
                    question_of,
                    self.end_tokens,
                    self.temperature,
                    cast(int, self.max_completion_length),  # a field of the recipe
                    self._to_device,
                )
        finally:
            model.train(training)
        return {
            "prompt_ids": drawn.prompts,
            "completion_ids": drawn.answers,
            "logprobs": drawn.log_probabilities,
        }

    def _to_device(self, batch: Batch) -> Batch:
        # GRPOTrainer's draws answers, its parent's moves a batch.
        return super(GRPOTrainer, self)._prepare_inputs(batch)

    def _get_per_token_logps_and_entropies(
        self,
        model: torch.nn.Module,
        input_ids: Tensor,
        attention_mask: Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        compute_aux_loss: bool = False,
        **theirs: object,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Log-probabilities and entropies [answers, logits_to_keep] of the answers to the rows at hand."""
        unique, question_of = grouped(self._rows)
        start = input_ids.shape[1] - logits_to_keep
        prompts, answers = (
            [ids[part][mask[part].bool()].tolist() for ids, mask in zip(input_ids, attention_mask, strict=True)]
            for part in (slice(start), slice(start, None))
        )
        processor = self.collator.processor
        image_token, pad_token = processor.image_token_id, processor.tokenizer.pad_token_id
        packed = pack(prompts, answers, question_of, image_token, pad_token)
        # Of several processes each calls the model as often as the others.
        most = TOKENS_AT_ONCE if self.accelerator.num_processes == 1 else sum(len(one.ids) for one in packed) ** 2
        values: list[tuple[Tensor, Tensor]] = []
        places: list[tuple[int, int]] = []
        for batch in of_like_length(packed, most):
            shown = self.collator.shown([unique[one.question] for one in batch])
            text = padded(batch, self.collator.token_grids(shown), image_token, pad_token)
            with self.accelerator.autocast():
                outputs = model(**self._to_device(self.collator.prepared(text | shown)), fused_lm_head=True)
            carries = outputs.label_mask
            values.append((outputs.log_probs[carries], outputs.entropy[carries]))
            places += [place for one in batch for place in one.places]
        index = tuple(torch.tensor(places, device=input_ids.device).T)
        empty = values[0][0].new_zeros(len(input_ids), logits_to_keep)
        log_probabilities, entropies = (empty.index_put(index, torch.cat(parts)) for parts in zip(*values, strict=True))
        self._log_probabilities = log_probabilities.detach()
        return log_probabilities, entropies if compute_entropy else None, None

    def _compute_loss(self, model: torch.nn.Module, inputs: Batch) -> Tensor:
        # Where nothing but the reward pulls, an answer that earns what the others do pulls nowhere. The sum over tokens
        # is divided by a number that is known before.
        rewards_alone = self.beta == 0.0 and not self.args.entropy_coef and self.args.top_entropy_quantile == 1.0
        if rewards_alone and self.loss_type == "dapo":
            inputs = informative(inputs, inputs["advantages"])
        self._rows = inputs[ROWS]
        loss = super()._compute_loss(model, inputs)
        differences = (self._log_probabilities - inputs["sampling_per_token_logps"])[inputs["completion_mask"].bool()]
        self._metrics["train"]["sampling_difference"].append(differences.abs().mean().item())
        if self.replay is None:
            return loss
        accumulated = self.current_gradient_accumulation_steps
        batch = self.collator(self.replay.batch(self._batch_number(), self.accelerator.process_index))
        batch.pop("task_ids", None)
        with self.accelerator.autocast():
            replayed = model(**self._to_device(batch), fused_lm_head=True).loss
        self._metrics["train"]["replay_loss"].append(replayed.item())
        return loss + self.recipe.replay_weight * replayed / accumulated

    def _batch_number(self) -> int:
        """One for each batch of the run, whether it was cut or not."""
        step = self.state.global_step
        self._last_batch = (step, self._last_batch[1] + 1 if self._last_batch[0] == step else 0)
        return step * self.args.gradient_accumulation_steps + self._last_batch[1]

    def evaluation_loop(
        self,
        dataloader: DataLoader[Batch],
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """Scores of greedy answers, as users get them, in the place of a loss that says nothing."""
        answers = cast(AnswerScores, self.answers)
        model = without_adapters(self.accelerator.unwrap_model(self.model))
        self.model.eval()
        with self.compute_loss_context_manager():
            scores = answers(model, self._to_device)
        named = {f"{metric_key_prefix}_{name}": value for name, value in scores.items()}
        return EvalLoopOutput(predictions=np.empty(0), label_ids=None, metrics=named, num_samples=len(answers.rows))

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        seconds = self._metrics["train"].get("step_time")
        if "loss" in logs and seconds:
            drawn = self.args.per_device_train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
            logs["answers_per_second"] = drawn * len(seconds) / sum(seconds)
        super().log(logs, start_time)

    def curve_so_far(self) -> CurveSoFar:
        return {
            **super().curve_so_far(),
            "metrics": dict(self._metrics["train"]),
            "training": self.model.training,  # by which TRL chooses what goes into the next log
        }

    def take_up(self, curve: CurveSoFar) -> None:
        super().take_up(curve)
        for name, values in curve.get("metrics", {}).items():
            self._metrics["train"][name] = list(values)
        self.model.train(curve.get("training", True))
