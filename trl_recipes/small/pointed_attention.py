"""Some heads of the language model's attention, taught where to look while a coordinate is said.

An answer that names a box has to find the visual token in which that object is. The loss of the answer alone says so
late: until a head looks there, no coordinate gains by it.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface, PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from trl_recipes.model.attention import sdpa_float32

HEADS = 2
NAME = "pointed_sdpa_float32"


class PointedAttention:
    """Attention as `sdpa_float32`, which keeps queries and keys of the first `HEADS` heads of `layers`.

    Args:
        model: the language model, whose attention this becomes.
        layers: numbers of its layers.
    """

    def __init__(self, model: PreTrainedModel, layers: tuple[int, ...]) -> None:
        self.layers = layers
        self._kept: dict[int, tuple[Tensor, Tensor]] = {}
        AttentionInterface.register(NAME, self)
        AttentionMaskInterface.register(NAME, sdpa_mask)
        model.set_attn_implementation(NAME)

    def __call__(
        self,
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        **options: Any,
    ) -> tuple[Tensor, None]:
        layer = module.layer_idx
        assert isinstance(layer, int)
        if layer in self.layers:
            self._kept[layer] = (query[:, :HEADS], key[:, :HEADS])
        return sdpa_float32(module, query, key, value, attention_mask, **options)

    def loss(self, rows: Tensor, positions: Tensor, looked_at: Tensor) -> Tensor:
        """Mean -log of the attention that the kept heads pay, in the last forward pass, to where they should look.

        Args:
            rows: int64 [N], of the batch.
            positions: int64 [N], in the sequence, that attend.
            looked_at: int64 [N], positions that should be attended to, not after `positions`.
        """
        losses: list[Tensor] = []
        for query, key in self._kept.values():
            asked, held = query[rows, :, positions].float(), key[rows].float()
            scores = torch.einsum("nhd,nhkd->nhk", asked, held) * asked.shape[-1] ** -0.5
            later = torch.arange(held.shape[2], device=rows.device) > positions[:, None]
            scores = scores.masked_fill(later[:, None], -torch.inf)
            losses.append(functional.cross_entropy(scores.flatten(0, 1), looked_at.repeat_interleave(HEADS)))
        self._kept.clear()
        return torch.stack(losses).mean()
