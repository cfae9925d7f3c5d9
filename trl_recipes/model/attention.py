"""Attention in float32 under bfloat16 autocast, for training on a CPU: ``attn_implementation: sdpa_float32``.

Torch's fused CPU attention goes backward four times slower in bfloat16 than in float32 (measured with torch 2.13 on a
CPU with bfloat16 matrix units), which made it 40 % of a training step of nano. Everything else stays in bfloat16.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from modeling_fusargpt.windows import in_batches

SDPA_FLOAT32 = "sdpa_float32"
WINDOWS_FLOAT32 = "windows_together_flash_float32"
"""The same for the vision tower, whose windows it takes in one call; see `modeling_fusargpt.windows`."""


def sdpa_float32(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """As transformers' ``sdpa``, computed in float32 whatever autocast says; the output has the type of ``query``."""
    with torch.autocast(query.device.type, enabled=False):
        output, weights = sdpa_attention_forward(
            module, query.float(), key.float(), value.float(), attention_mask, **options
        )
    return output.to(query.dtype), weights


def windows_float32(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: None,
    *,
    cu_seq_lens_q: Tensor,
    **options: Any,
) -> tuple[Tensor, None]:
    """As `modeling_fusargpt.windows.windows_together`, by `sdpa_float32`."""
    return in_batches(sdpa_float32, module, query, key, value, cu_seq_lens_q, options)


def register_sdpa_float32() -> None:
    """Make ``sdpa_float32`` known to transformers, with the masks of ``sdpa``, and its form for the vision tower."""
    AttentionInterface.register(SDPA_FLOAT32, sdpa_float32)
    AttentionInterface.register(WINDOWS_FLOAT32, windows_float32)
    AttentionMaskInterface.register(SDPA_FLOAT32, sdpa_mask)
