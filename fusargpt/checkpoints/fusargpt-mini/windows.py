"""The vision tower's windows in one call, as the tower attends where nobody has chosen another attention.

transformers calls an attention once for every window, unless its name holds "flash": then it hands over where each
window begins and ends. `windows_together` takes these. On a GPU it is torch's attention of packed sequences, which
needs no package; elsewhere windows of equal length are a batch of `sdpa`, each computed as it would be alone.
"""

# First: it refuses an older one.
from .transformers_release import MINIMUM_TRANSFORMERS  # noqa: F401  # pyright: ignore[reportUnusedImport]

# isort: split
from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

WINDOWS_TOGETHER = "windows_together_flash"
"""Its name in a configuration. No saved one has it: transformers does not write the attention down."""

_LARGEST_HEAD = 256  # of the kernel


def windows_together(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: None,
    *,
    cu_seq_lens_q: Tensor,
    max_length_q: int,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attention within windows, of the form that transformers' `AttentionInterface` asks for.

    Args:
        module: the tower's attention layer, of no causal order.
        query, key, value: [1, heads, tokens, width of a head].
        attention_mask: none.
        cu_seq_lens_q: int32 [windows + 1], where windows begin, and the last one's end; without gaps.
        max_length_q: tokens of the longest.
        options: as of `sdpa`.

    Returns:
        [1, tokens, heads, width of a head], and no weights.
    """
    if takes_packed(query.device, query.dtype, query.shape[-1]) and not options["dropout"]:
        # Not in every torch that transformers takes. Its scale is the tower's: one over the root of a head's width.
        from torch.nn.attention.varlen import varlen_attn

        queries, keys, values = (states[0].transpose(0, 1) for states in (query, key, value))
        attended: Any = varlen_attn(queries, keys, values, cu_seq_lens_q, cu_seq_lens_q, max_length_q, max_length_q)
        return attended[None], None
    return in_batches(sdpa_attention_forward, module, query, key, value, cu_seq_lens_q, options)


def takes_packed(device: torch.device, dtype: torch.dtype, head_size: int) -> bool:
    """Whether torch has its attention of packed sequences for this: an NVIDIA GPU from Ampere on, 16 bits."""
    return (
        device.type == "cuda"
        and torch.version.hip is None
        and find_spec("torch.nn.attention.varlen") is not None
        and dtype in (torch.float16, torch.bfloat16)
        and head_size % 8 == 0
        and head_size <= _LARGEST_HEAD
        and torch.cuda.get_device_capability(device) >= (8, 0)
    )


def in_batches(
    attention: Callable[..., tuple[Tensor, Any]],
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    boundaries: Tensor,
    options: dict[str, Any],
) -> tuple[Tensor, None]:
    """As `windows_together`, by calls of `attention`: one for each run of windows of one length, a row a window."""
    options = {name: option for name, option in options.items() if name in ("scaling", "dropout", "is_causal")}
    runs = [(length, len(list(run))) for length, run in groupby(boundaries.diff().tolist())]
    # Split, and not cut out: each cut would have a gradient of all tokens.
    sizes = [length * count for length, count in runs]
    parts = zip(*(states[0].split(sizes, 1) for states in (query, key, value)), strict=True)
    outputs: list[Tensor] = []
    for (length, count), part in zip(runs, parts, strict=True):
        windows = [states.unflatten(1, (count, length)).transpose(0, 1) for states in part]
        outputs.append(attention(module, *windows, None, **options)[0].flatten(0, 1))
    return torch.cat(outputs)[None], None


def equal_windows_together(grids: Tensor, side: int, merge: int) -> dict[str, Tensor | int]:
    """Arguments of Qwen2.5-VL's tower that put the windows of every image in the order of their size, largest first.

    Those that an edge has cut then stand together, and `in_batches` needs four calls for an image at most. The tower
    puts its tokens back into the order of the image, whatever that of its windows was.

    Args:
        grids: int [images, 3], patches along time, height and width.
        side: of a window in visual tokens.
        merge: patches to a visual token, along a side.
    """
    orders: list[np.ndarray] = []
    lengths: list[int] = []
    place = 0
    for frames, height, width in grids.tolist():
        order, of_frame = _window_order(height // merge, width // merge, side)
        for _ in range(frames):
            orders.append(order + place)
            lengths += of_frame
            place += len(order)
    ends = np.cumsum([0, *lengths]) * merge**2
    return {
        "window_index": torch.from_numpy(np.concatenate(orders)).to(grids.device),
        "cu_window_seqlens": torch.from_numpy(ends.astype(np.int32)).to(grids.device),
        "max_window_seqlen": max(lengths) * merge**2,
    }


# Numpy: a tensor that was made while inferring could not be kept for training.
@lru_cache(maxsize=256)
def _window_order(rows: int, columns: int, side: int) -> tuple[np.ndarray, tuple[int, ...]]:
    """Visual tokens of one image, window by window, and how many each window has."""
    tokens = np.arange(rows * columns).reshape(rows, columns)
    windows = [
        tokens[top : top + side, left : left + side].ravel()
        for top in range(0, rows, side)
        for left in range(0, columns, side)
    ]
    windows.sort(key=len, reverse=True)
    return np.concatenate(windows), tuple(len(window) for window in windows)


AttentionInterface.register(WINDOWS_TOGETHER, windows_together)

__all__ = ["WINDOWS_TOGETHER", "equal_windows_together", "in_batches", "takes_packed", "windows_together"]
