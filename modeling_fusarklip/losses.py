"""Losses of pre-training. Two things are a true pair where the text says nothing that is false of the image.

What a text says is its facts: an integer for each dimension, 0 where it says nothing. `[B, F]` facts of images and
`[M, F]` facts of texts give the truth matrix P `[B, M]`.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


class _Gathered(torch.autograd.Function):
    """Rows of all processes, one after the other. The gradient of a process's rows is the sum of all processes'."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.count = len(rows)
        parts = [torch.empty_like(rows) for _ in range(torch.distributed.get_world_size())]
        torch.distributed.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Tensor:
        summed = grad_outputs[0].contiguous().clone()
        torch.distributed.all_reduce(summed)
        first = torch.distributed.get_rank() * ctx.count
        return summed[first : first + ctx.count]


def gather_rows(rows: Tensor) -> Tensor:
    """Rows of all processes in their order, with gradient; of one process alone the rows as they are.

    A loss of the gathered rows, computed in every process and averaged over them as DDP averages, has the gradient of
    the same loss in one process. All processes have to have the same number of rows.
    """
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1):
        return rows
    gathered: Tensor = _Gathered.apply(rows)  # pyright: ignore[reportAssignmentType]
    return gathered


def truth_matrix(image_facts: Tensor, text_facts: Tensor) -> Tensor:
    """P, bool `[B, M]`: whether all that text j says is so in image i.

    Args:
        image_facts: int64 `[B, F]`.
        text_facts: int64 `[M, F]`, 0 where a text says nothing.
    """
    agree = text_facts[None] == image_facts[:, None]
    return (agree | (text_facts == 0)[None]).all(-1)


def wording_facts(input_ids: Tensor, attention_mask: Tensor, dimensions: int) -> Tensor:
    """Facts int64 `[M, dimensions]` for texts of which none are known: equal texts say the same, others do not.

    The first is a hash of a text's tokens, whatever its padding; the others are 0.
    """
    places = torch.arange(1, input_ids.shape[1] + 1, device=input_ids.device)
    # Products of odd numbers wrap around without loss; two multipliers for what is in a place and for the place.
    mixed = (input_ids + 1) * 6364136223846793005 ^ places * 1442695040888963407
    mixed = (mixed ^ (mixed >> 31)) * 7046029254386353131
    keys = (mixed * attention_mask.bool()).sum(1)
    facts = torch.zeros(len(input_ids), dimensions, dtype=torch.int64, device=input_ids.device)
    facts[:, 0] = torch.where(keys == 0, 1, keys)
    return facts


def softmax_contrast(logits: Tensor, truth: Tensor, soft_targets: Tensor | None = None, alpha: float = 0.0) -> Tensor:
    """Mean cross-entropy of `[N, K]` logits against what is true, in equal shares (UniCL, arXiv 2204.03610, eq. 2).

    Args:
        logits: Similarities over the temperature.
        truth: bool `[N, K]`, at least one in each row.
        soft_targets: `[N, K]`, rows sum to 1; take the share `alpha` of the targets.
        alpha: From 0 to 1.
    """
    targets = truth / truth.sum(1, keepdim=True)
    if soft_targets is not None:
        targets = (1 - alpha) * targets + alpha * soft_targets
    return -(targets * functional.log_softmax(logits.float(), 1)).sum(1).mean()


def sigmoid_contrast(logits: Tensor, truth: Tensor) -> Tensor:
    """Sum over the pairs of the cross-entropy of each, over the rows (SigLIP, arXiv 2303.15343, eq. 1)."""
    signs = truth.to(torch.float32) * 2 - 1
    return -functional.logsigmoid(signs * logits.float()).sum() / len(logits)


class Negatives(NamedTuple):
    """Attributes: rows that have a negative, bool `[N]`, and the negative of each, int64 `[N]` (of others any)."""

    present: Tensor
    chosen: Tensor


@torch.no_grad()
def sample_negatives(logits: Tensor, truth: Tensor, hard: float = 1.0) -> Negatives:
    """For each row of `[N, K]` logits one column that is not true of it, the likelier the more alike (BLIP, ALBEF).

    Args:
        logits: Similarities over the temperature.
        truth: bool `[N, K]`.
        hard: Share of the rows that draw so; the others draw any column that is not true, all alike.
    """
    candidates = ~truth
    present = candidates.any(1)
    if hard < 1:
        logits = logits * (torch.rand(len(logits), 1, device=logits.device) < hard)
    weights = logits.float().masked_fill(~candidates, -math.inf).softmax(1)
    # A row without a candidate is NaN; a candidate may be too unlikely for float32.
    weights = weights.nan_to_num(0) + 1e-9 * candidates + (~present)[:, None]
    return Negatives(present, torch.multinomial(weights, 1)[:, 0])


def base_rate(labels: Tensor) -> float:
    """Entropy in nats of the shares of the classes: the loss of who knows them and looks at nothing."""
    shares = labels.bincount(minlength=2).double() / max(len(labels), 1)
    return float(-(shares * shares.clamp(min=1e-12).log()).sum())


class Masked(NamedTuple):
    """Attributes: token ids with masks, int64 `[B, L]`, and where they are, bool `[B, L]`."""

    input_ids: Tensor
    chosen: Tensor


@torch.no_grad()
def mask_texts(
    input_ids: Tensor, part_ids: Tensor, weights: Tensor, mask_words: float, mask_part: float, mask_token_id: int
) -> Masked:
    """Hides words of a text's parts or, in other texts, one whole part, which then has to be read from the image.

    Args:
        input_ids: int64 `[B, L]`.
        part_ids: int64 `[B, L]`: 1 + dimension of the part that a token belongs to, 0 for none.
        weights: `[B, L]` of the tokens; where 0, a token is never hidden.
        mask_words: Probability of each token of a part.
        mask_part: Probability that a text has one whole part hidden instead; every part alike.
        mask_token_id: Stands for what is hidden.
    """
    maskable = (part_ids > 0) & (weights > 0)
    words = (torch.rand(input_ids.shape, device=input_ids.device) < mask_words) & maskable
    present = torch.zeros(len(input_ids), int(part_ids.max()) + 1, device=input_ids.device)
    present.scatter_(1, part_ids * maskable, 1.0)
    present[:, 0] = 0
    whole = (torch.rand(len(input_ids), device=input_ids.device) < mask_part) & present.any(1)
    present[:, 0] = ~whole
    part = torch.multinomial(present, 1)
    chosen = torch.where(whole[:, None], (part_ids == part) & maskable, words)
    return Masked(input_ids.masked_fill(chosen, mask_token_id), chosen)


def weighted_cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Mean over `[N, V]` logits of -log p(target), weighted; 0 (with a gradient of 0) where nothing weighs."""
    if not len(targets):
        return logits.float().sum()
    losses = functional.cross_entropy(logits.float(), targets, reduction="none")
    return (losses * weights).sum() / weights.sum().clamp(min=1e-6)


def smoothed_targets(pixel_values: Tensor, patch_size: int) -> Tensor:
    """Targets of masked image modelling `[B, T, 3 patch_size**2]`: grey values after a 3 x 3 mean, and their slopes.

    Speckle cannot be predicted, its mean can; grey is linear in dB. (SARATR-X, arXiv 2405.09365, predicts gradients
    for the same reason.)

    Args:
        pixel_values: `[B, 3, H, W]`, normalised.
        patch_size: Side of a patch in pixels; H and W are multiples.
    """
    grey = pixel_values.float().mean(1, keepdim=True)
    grey = functional.avg_pool2d(functional.pad(grey, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    padded = functional.pad(grey, (1, 1, 1, 1), mode="replicate")
    down = (padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]) / 2
    right = (padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]) / 2
    return functional.unfold(torch.cat([grey, down, right], 1), patch_size, stride=patch_size).transpose(1, 2)
