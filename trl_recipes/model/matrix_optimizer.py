"""Muon for the matrices of a transformer's layers, AdamW for all else, as one optimizer.

Muon's step is the momentum with its singular values made alike (Newton-Schulz iterations, `torch.optim.Muon`): what a
gradient says seldom moves a matrix as far as what it says always. Embeddings, heads and vectors have no use for that.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Muon, Optimizer

Betas = tuple[float, float]


class MatrixOptimizer(Optimizer):
    """Muon on the first group of parameters, AdamW on the others; what they keep is in one state.

    Args:
        matrices: each of two dimensions.
        others: groups for AdamW, each a dictionary with `params` and what differs in it.
        matrix_learning_rate: of Muon, in AdamW's measure: the root mean square of a step (`match_rms_adamw`).
        learning_rate: of AdamW.
        weight_decay: of matrices, and of groups that say nothing else.
        betas: of AdamW; Muon's momentum is its own.
    """

    def __init__(
        self,
        matrices: Iterable[Tensor],
        others: Iterable[dict[str, Any]],
        matrix_learning_rate: float,
        learning_rate: float,
        weight_decay: float,
        betas: Betas,
    ) -> None:
        muon = Muon([*matrices], lr=matrix_learning_rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
        adamw = AdamW([*others], lr=learning_rate, betas=betas, weight_decay=weight_decay)
        super().__init__([*muon.param_groups, *adamw.param_groups], {})
        self._parts: list[Optimizer] = [muon, adamw]

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step of both, with the learning rates that the groups have now."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        # Loading a state replaces both, so that they are handed over anew.
        for part, groups in zip(self._parts, (self.param_groups[:1], self.param_groups[1:]), strict=True):
            part.param_groups = groups
            part.state = self.state
            part.step()
        return loss


def matrix_optimizer(
    module: nn.Module,
    layers: Iterable[nn.Module],
    matrix_learning_rate: float,
    learning_rate: float,
    weight_decay: float,
    betas: Betas,
) -> MatrixOptimizer:
    """Muon for the matrices in `layers` of a module, AdamW for all else that is trained; vectors do not decay."""
    inside = {id(parameter) for layer in layers for parameter in layer.parameters() if parameter.ndim == 2}
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    outside = [parameter for parameter in trained if id(parameter) not in inside]
    others = [
        {"params": [parameter for parameter in outside if parameter.ndim >= 2]},
        {"params": [parameter for parameter in outside if parameter.ndim < 2], "weight_decay": 0.0},
    ]
    return MatrixOptimizer(
        [parameter for parameter in trained if id(parameter) in inside],
        others,
        matrix_learning_rate,
        learning_rate,
        weight_decay,
        betas,
    )
