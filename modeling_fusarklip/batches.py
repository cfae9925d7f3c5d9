"""What a batch of pairs gives the losses to read: its facts and parts, pairs to match, texts with masks."""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from .configuration_fusarklip import DIMENSIONS, FusarKlipConfig
from .losses import mask_texts, sample_negatives, truth_matrix, wording_facts


class TrainingBatch(NamedTuple):
    """What the losses read of B images and their texts, as `FusarKlipModel.forward` takes it, nothing left out.

    Attributes:
        input_ids, attention_mask: `[B, L]`.
        image_tokens: `[B, 1 + T, C]`.
        image_facts, text_facts: int64 `[B, 16]`; of texts of which none are known a hash of the wording.
        part_ids: int64 `[B, L]`; without parts 1 for words and 0 for special tokens.
        token_weights: `[B, L]`, that of a token's part; 1 outside of all parts.
        has_parts: Whether parts were given.
    """

    input_ids: Tensor
    attention_mask: Tensor
    image_tokens: Tensor
    image_facts: Tensor
    text_facts: Tensor
    part_ids: Tensor
    token_weights: Tensor
    has_parts: bool


class Fused(NamedTuple):
    """Texts `[N, L]` to be read beside images, and the place of each one's image in the batch."""

    input_ids: Tensor
    attention_mask: Tensor
    images: Tensor


class PairsToMatch(NamedTuple):
    """Texts beside images, and whether each is true of its own: int64 `[N]`, 1 for true, 0 for false."""

    texts: Fused
    labels: Tensor


class MaskedTexts(NamedTuple):
    """Texts with masks, where those are `[N, L]`, and what is under each mask with its weight `[m]`."""

    texts: Fused
    chosen: Tensor
    targets: Tensor
    weights: Tensor


def training_batch(
    config: FusarKlipConfig,
    input_ids: Tensor,
    attention_mask: Tensor | None,
    image_tokens: Tensor,
    image_facts: Tensor | None,
    text_facts: Tensor | None,
    part_ids: Tensor | None,
    part_weights: Tensor | None,
) -> TrainingBatch:
    """Arguments of `FusarKlipModel.forward`, checked, with what was not given filled in.

    Raises:
        ValueError: If an argument has a wrong shape, dtype or value.
    """
    count = len(input_ids)
    if len(image_tokens) != count:
        raise ValueError(f"input_ids: found {count} texts for {len(image_tokens)} images, expected one for each.")
    given = {"image_facts": image_facts, "text_facts": text_facts, "part_weights": part_weights}
    for name, value in given.items():
        if value is not None and tuple(value.shape) != (count, DIMENSIONS):
            raise ValueError(f"{name}: found shape {list(value.shape)}, expected {[count, DIMENSIONS]}.")
    if (image_facts is None) != (text_facts is None):
        raise ValueError("image_facts, text_facts: found one of them, expected both or none.")
    if part_weights is not None and not bool((part_weights.isfinite() & (part_weights >= 0)).all()):
        raise ValueError("part_weights: found NaN, infinity or a negative number, expected weights from 0.")
    mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
    facts = wording_facts(input_ids, mask, DIMENSIONS)
    if part_ids is None:
        text = config.text
        special = [token for token in (text.bos_token_id, text.sep_token_id, text.pad_token_id) if token is not None]
        words = mask.bool() & ~torch.isin(input_ids, torch.tensor(special, device=input_ids.device))
        words[:, 0] = False
        parts, weights = words.long(), torch.ones(input_ids.shape, device=input_ids.device)
    else:
        if part_ids.shape != input_ids.shape or not bool(((part_ids >= 0) & (part_ids <= DIMENSIONS)).all()):
            raise ValueError(
                f"part_ids: found shape {list(part_ids.shape)} with values from {int(part_ids.min())} to "
                f"{int(part_ids.max())}, expected shape {list(input_ids.shape)} with values from 0 to {DIMENSIONS}."
            )
        parts = part_ids * mask.bool()
        of_parts = torch.ones(count, DIMENSIONS, device=parts.device) if part_weights is None else part_weights
        # Tokens outside of all parts, such as "and", are as good as any.
        weights = functional.pad(of_parts.float(), (1, 0), value=1.0).gather(1, parts)
    return TrainingBatch(
        input_ids,
        mask,
        image_tokens,
        facts if image_facts is None else image_facts,
        facts if text_facts is None else text_facts,
        parts,
        weights,
        part_ids is not None,
    )


def pairs_to_match(
    config: FusarKlipConfig, batch: TrainingBatch, logits: Tensor, other_ids: Tensor | None, other_mask: Tensor | None
) -> PairsToMatch | None:
    """True pairs and false ones that look alike; a pair of which nothing in the batch is false is left out.

    Of the first `match_share` of the batch; what is false of those is looked for in all of it.
    """
    if not config.losses.itm > 0:
        return None
    count, device = len(logits), logits.device
    truth = truth_matrix(batch.image_facts, batch.text_facts) | torch.eye(count, dtype=torch.bool, device=device)
    hard = config.losses.hard_negatives
    of_images, of_texts = sample_negatives(logits, truth, hard), sample_negatives(logits.t(), truth.t(), hard)
    places = torch.arange(count, device=device)
    matched = places < math.ceil(config.losses.match_share * count)
    has_text, has_image = of_images.present & matched, of_texts.present & matched
    has_negative, has_other = has_text | has_image, torch.zeros_like(matched)
    if other_ids is not None:
        other_mask = torch.ones_like(other_ids) if other_mask is None else other_mask
        if len(other_ids) != count:
            raise ValueError(f"counterfactual_input_ids: found {len(other_ids)} rows, expected {count}.")
        has_other = other_mask.any(1) & matched
        has_negative = has_negative | has_other
    # Pairs of texts and images by their places: true, false text, false image.
    texts = torch.cat([places[has_negative], of_images.chosen[has_text], places[has_image]])
    images = torch.cat([places[has_negative], places[has_text], of_texts.chosen[has_image]])
    pairs = [Fused(batch.input_ids[texts], batch.attention_mask[texts], images)]
    if other_ids is not None and other_mask is not None:
        pairs.append(Fused(other_ids[has_other], other_mask[has_other], places[has_other]))
    joined = join(pairs, config.text.pad_token_id)
    labels = (torch.arange(len(joined.images), device=device) < has_negative.sum()).long()
    return PairsToMatch(joined, labels)


def masked_texts(config: FusarKlipConfig, batch: TrainingBatch) -> MaskedTexts | None:
    """Texts of the first `word_share` of the batch with words or parts hidden; those of which nothing is are left out.

    None without the loss.
    """
    losses = config.losses
    if not losses.mlm > 0:
        return None
    whole = losses.mask_part if batch.has_parts else 0.0
    first = first_rows(losses.word_share, batch)
    masked_ids, chosen = mask_texts(
        batch.input_ids[first],
        batch.part_ids[first],
        batch.token_weights[first],
        losses.mask_words,
        whole,
        config.mask_token_id,
    )
    rows = chosen.any(1).nonzero()[:, 0]
    chosen = chosen[rows]
    return MaskedTexts(
        Fused(masked_ids[rows], batch.attention_mask[rows], rows),
        chosen,
        batch.input_ids[rows][chosen],
        batch.token_weights[rows][chosen],
    )


def first_rows(share: float, batch: TrainingBatch) -> slice:
    """The first `share` of a batch, rounded up."""
    return slice(math.ceil(share * len(batch.input_ids)))


def join(parts: list[Fused], pad_token_id: int | None) -> Fused:
    """Parts one after the other, padded to the longest."""
    length = max(part.input_ids.shape[1] for part in parts)
    return Fused(
        torch.cat([_pad(part.input_ids, length, pad_token_id or 0) for part in parts]),
        torch.cat([_pad(part.attention_mask, length, 0) for part in parts]),
        torch.cat([part.images for part in parts]),
    )


def _pad(rows: Tensor, length: int, value: int) -> Tensor:
    return functional.pad(rows, (0, length - rows.shape[1]), value=value)
