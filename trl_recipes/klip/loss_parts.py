"""Means of the parts of a loss between two logs."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

PARTS = ("itc", "itm", "itm_base_rate", "itm_accuracy", "mlm", "lm", "mim")
"""What `FusarKlipOutput` says beside the loss; `itm_base_rate` is what `itm` is where nothing has been learned."""


class LossParts:
    """Sums of `PARTS` and how many batches had each, kept on the device until the trainer logs."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}

    def add(self, outputs: Mapping[str, Any]) -> None:
        """One batch; parts that it lacks are not counted."""
        for name in PARTS:
            value = outputs.get(name)
            if value is not None:
                value = torch.as_tensor(value, dtype=torch.float32).detach()
                pair = torch.stack([value, torch.ones_like(value)])
                self.sums[name] = pair if name not in self.sums else self.sums[name] + pair

    def take(self, add_up: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """Means of all processes since the last time; what is counted begins anew.

        Args:
            add_up: adds a tensor up over the processes, each of which calls this.
        """
        sums = self.so_far(add_up)
        self.sums = {}
        return {name: total / count for name, (total, count) in sums.items() if count}

    def so_far(self, add_up: Callable[[Tensor], Tensor]) -> dict[str, list[float]]:
        """Sum and count of each part over all processes."""
        flat = torch.stack([self.sums.get(name, torch.zeros(2)).cpu() for name in PARTS])
        summed: list[list[float]] = add_up(flat).tolist()
        return {name: pair for name, pair in zip(PARTS, summed, strict=True) if pair[1]}

    def take_up(self, sums: Mapping[str, list[float]]) -> None:
        """Count on from what `so_far` has given."""
        self.sums = {name: torch.tensor(pair) for name, pair in sums.items()}
