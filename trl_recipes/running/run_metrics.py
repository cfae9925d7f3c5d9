"""What a run shows of itself beside its loss: loss by task, the TLM's health, tokens and images per second.

Sums are kept on the device and read when the trainer logs, so that watching waits for nothing and changes nothing.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from fusargpt.private_names import is_fused_output
from modeling_fusargpt.tlm import TokenwiseLinearModulation
from trl_recipes.data.row_tasks import NO_TASK
from trl_recipes.data.rows import Batch

if TYPE_CHECKING:
    from fusargpt.private_names import FusedCausalLMOutput

MODULATED_FROM = 0.5
"""A token counts as modulated where the anchors' weights sum to more than this; far from anchors they fade to 0."""


class TaskLoss:
    """Mean negative log-likelihood of the answer tokens of each task."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self.sums: Tensor | None = None  # float32 [2, 1 + tasks]: log-likelihood and tokens; the first has no task

    def add(self, outputs: "FusedCausalLMOutput", task_ids: Tensor) -> None:
        """Tokens of a batch; `task_ids` [batch, tokens] of `answer_tasks`."""
        if outputs.log_probs is None or outputs.label_mask is None:
            return
        # The last token predicts nothing, so that outputs begin with the second one's.
        places = (task_ids[:, 1:] - NO_TASK).flatten()
        values = torch.stack([outputs.log_probs.detach().flatten().float(), outputs.label_mask.flatten().float()])
        sums = torch.zeros(2, 1 + len(self.names), device=values.device).index_add_(1, places, values)
        self.sums = sums if self.sums is None else self.sums + sums

    def take(self, device: torch.device) -> Tensor:
        """The sums since the last time, flat."""
        sums = torch.zeros(2, 1 + len(self.names), device=device) if self.sums is None else self.sums
        self.sums = None
        return sums.flatten()

    def put(self, sums: Tensor) -> None:
        """Count on from what `take` has given."""
        self.sums = sums.view(2, -1)

    def read(self, sums: Sequence[float]) -> dict[str, float]:
        """`loss_TASK` of every task that had an answer token."""
        half = len(sums) // 2
        found = zip(self.names, sums[1:half], sums[half + 1 :], strict=True)
        return {f"loss_{name}": -log_likelihood / tokens for name, log_likelihood, tokens in found if tokens}


class TlmHealth:
    """How strongly, and on how many tokens, the TLM acts: means over the tokens of the images that it was called on."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.sums: Tensor | None = None  # float32 [5]: |gamma|, |beta|, modulated tokens, tokens with gamma, tokens
        for module in model.modules():
            if isinstance(module, TokenwiseLinearModulation):
                # A function is copied by reference: a copy of the TLM must not bring a copy of the model with it.
                module.observer = lambda *values: self.add(*values)

    def add(self, gamma: Tensor | None, beta: Tensor, coverage: Tensor) -> None:
        """What the TLM tells its observer."""
        if not self.model.training:
            return
        # Filled there: a number that is sent over would be waited for.
        tokens = torch.full((), len(coverage), device=beta.device, dtype=torch.float32)
        none = torch.zeros_like(tokens)
        sizes = none if gamma is None else gamma.abs().mean() * tokens
        modulated = (coverage > MODULATED_FROM).sum()
        scaled = none if gamma is None else tokens
        sums = torch.stack([sizes, beta.abs().mean() * tokens, modulated.float(), scaled, tokens])
        self.sums = sums if self.sums is None else self.sums + sums

    def take(self, device: torch.device) -> Tensor:
        """The sums since the last time."""
        sums = torch.zeros(5, device=device) if self.sums is None else self.sums
        self.sums = None
        return sums

    def put(self, sums: Tensor) -> None:
        """Count on from what `take` has given."""
        self.sums = sums

    @staticmethod
    def read(sums: Sequence[float]) -> dict[str, float]:
        """`tlm_gamma`, `tlm_beta` and `tlm_tokens_modulated`; nothing where the TLM was not called."""
        gamma, beta, modulated, scaled, tokens = sums
        if not tokens:
            return {}
        health = {"tlm_beta": beta / tokens, "tlm_tokens_modulated": modulated / tokens}
        return health | ({"tlm_gamma": gamma / scaled} if scaled else {})


class Throughput(TrainerCallback):
    """Tokens and images that were trained on, and the time it took, data loading included.

    The clock stands while the trainer logs, evaluates and saves. Tokens are those of the sequences, visual ones
    included and padding left out. A resumed run counts from where it goes on.
    """

    def __init__(self) -> None:
        self.tokens: Tensor | None = None
        self.images = 0
        self.seconds = 0.0
        self.started: float | None = None

    def start(self) -> None:
        """Before the batches of a step are fetched."""
        if self.started is None:
            self.started = time.perf_counter()

    def add(self, tokens: Tensor, images: int) -> None:
        """A batch of training: its tokens, a number, and its images."""
        self.tokens = tokens.float() if self.tokens is None else self.tokens + tokens
        self.images += images

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        # Each of these waits for the device anyway.
        if control.should_log or control.should_evaluate or control.should_save:
            self._stop()

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        self._stop()

    def take(self, device: torch.device) -> Tensor:
        """Tokens and images since the last time."""
        tokens = torch.zeros((), device=device) if self.tokens is None else self.tokens
        counts = torch.stack([tokens, torch.full_like(tokens, self.images)])
        self.tokens, self.images = None, 0
        return counts

    def read(self, counts: Sequence[float]) -> dict[str, float]:
        """`tokens_per_second` and `images_per_second` of all processes."""
        tokens, images = counts
        seconds, self.seconds = self.seconds, 0.0
        return {"tokens_per_second": tokens / seconds, "images_per_second": images / seconds} if seconds else {}

    def _stop(self) -> None:
        if self.started is None:
            return
        if torch.accelerator.is_available():
            torch.accelerator.synchronize()
        self.seconds += time.perf_counter() - self.started
        self.started = None


class Watch:
    """The three of them, for a trainer that tells it of its batches and outputs.

    Args:
        model: as the trainer trains it, adapters included.
        names: of the tasks, in the order of their ids.
    """

    def __init__(self, model: nn.Module, names: Sequence[str]) -> None:
        self.model = model
        self.losses = {"train": TaskLoss(names), "eval": TaskLoss(names)}
        self.health = TlmHealth(model)
        self.throughput = Throughput()
        self._task_ids: Tensor | None = None
        model.register_forward_hook(self._see_outputs)

    def see_batch(self, inputs: Batch) -> None:
        """A batch that is about to be computed; `task_ids`, which the model does not know, leave it here."""
        self._task_ids = inputs.pop("task_ids", None)
        if self.model.training:
            self.throughput.add(inputs["attention_mask"].sum(), len(inputs["image_grid_thw"]))

    def _see_outputs(self, module: nn.Module, arguments: tuple[object, ...], outputs: object) -> None:
        if self._task_ids is not None and is_fused_output(outputs):
            self.losses["train" if self.model.training else "eval"].add(outputs, self._task_ids)
            self._task_ids = None

    def report(self, mode: str, device: torch.device, add_up: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """What to log of `mode` ("train" or "eval"), of all processes; what is counted begins anew.

        Args:
            device: of the sums.
            add_up: adds a tensor up over the processes, each of which calls this.
        """
        if mode == "eval":
            sums = add_up(self.losses[mode].take(device)).tolist()
            return {f"eval_{name}": value for name, value in self.losses[mode].read(sums).items()}
        watched = (self.losses[mode], self.health, self.throughput)
        parts = [part.take(device).to(device) for part in watched]
        sums = iter(add_up(torch.cat(parts)).tolist())
        result: dict[str, float] = {}
        for part, own in zip(watched, parts, strict=True):
            result |= part.read(list(_first(sums, len(own))))
        return result

    def so_far(self, device: torch.device, add_up: Callable[[Tensor], Tensor]) -> list[list[float]]:
        """What has been counted of training since the last report, over all processes, but for the throughput."""
        sums = []
        for part in (self.losses["train"], self.health):
            own = part.take(device)
            part.put(own)
            sums.append(add_up(own.clone()).tolist())  # which may add up in place
        return sums

    def take_up(self, sums: Sequence[Sequence[float]], device: torch.device) -> None:
        """Count on from what `so_far` has given."""
        for part, own in zip((self.losses["train"], self.health), sums, strict=True):
            part.put(torch.tensor(own, device=device))


def _first(values: Iterator[float], count: int) -> Iterator[float]:
    return (next(values) for _ in range(count))
