"""Texts of a batch: some parts of what is known of each scene, drawn anew in every epoch, as tokens with facts."""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Encoding
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from fusargpt.errors import InputError
from fusargpt.tasks.facts import fact_keys
from fusargpt.tasks.part_texts import FEWEST_PARTS, PartText, counterfactual, draw_part_text, part_text
from trl_recipes.data.rows import Batch

Phrases = Mapping[str, str]
"""What is known of a scene, by dimension."""


def draw_seed(*numbers: int) -> int:
    """A number in 0..2**63-1 for what is drawn of a row in an epoch, the same in every release."""
    digest = blake2b(" ".join(map(str, numbers)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


class TextEncoder:
    """Texts to tensors; a text longer than the model reads is never cut.

    Args:
        tokenizer: of the model, a fast one.
        max_tokens: that a text may have, special ones included.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, max_tokens: int) -> None:
        self.backend = tokenizer.backend_tokenizer
        self.pad_token_id = cast(int, tokenizer.pad_token_id)
        self.max_tokens = max_tokens
        self.backend.no_truncation()
        self.backend.no_padding()

    def encode(self, texts: Sequence[str]) -> list[Encoding]:
        """As the tokenizer encodes them, special tokens included."""
        return self.backend.encode_batch(list(texts))

    def captions(self, texts: Sequence[str]) -> Batch:
        """`input_ids` and `attention_mask` [B, L] of whole texts; InputError for one that is too long."""
        encodings = self.encode(texts)
        for text, encoding in zip(texts, encodings, strict=True):
            if len(encoding) > self.max_tokens:
                raise InputError(
                    f"caption: found {len(encoding)} tokens, expected at most {self.max_tokens}: {text[:60]!r}..."
                )
        return self.stack(encodings)

    def parts(self, texts: Sequence[PartText], phrases: Sequence[Phrases]) -> tuple[Batch, list[PartText]]:
        """`input_ids`, `attention_mask`, `part_ids` [B, L] and `text_facts` [B, 16] of part texts, and those texts.

        A text that is too long loses its last parts.

        Args:
            texts: as drawn.
            phrases: what each was drawn from.
        """
        said = list(texts)
        encodings = self.encode([text.text for text in said])
        for row, encoding in enumerate(encodings):
            while len(encoding) > self.max_tokens:
                said[row] = shorter(said[row], phrases[row])
                encoding = self.encode([said[row].text])[0]
            encodings[row] = encoding
        batch = self.stack(encodings)
        part_ids = np.zeros(batch["input_ids"].shape, np.int64)
        for row, (text, encoding) in enumerate(zip(said, encodings, strict=True)):
            part_ids[row, : len(encoding)] = part_of_tokens(text, encoding)
        facts = torch.from_numpy(np.stack([text.facts for text in said]))
        return {**batch, "part_ids": torch.from_numpy(part_ids), "text_facts": facts}, said

    def stack(self, encodings: Sequence[Encoding]) -> Batch:
        """`input_ids`, padded to the longest, and `attention_mask` [B, L]."""
        longest = max(map(len, encodings))
        ids = np.full((len(encodings), longest), self.pad_token_id, np.int64)
        mask = np.zeros((len(encodings), longest), np.int64)
        for row, encoding in enumerate(encodings):
            ids[row, : len(encoding)] = encoding.ids
            mask[row, : len(encoding)] = 1
        return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}


class TextDrawer:
    """Draws a text of parts for rows, the same for the same row, epoch and seed.

    Args:
        encoder: of the texts.
        seed: of the run.
        counterfactuals: whether each text comes with one that is false in one fact.
    """

    def __init__(self, encoder: TextEncoder, seed: int, counterfactuals: bool) -> None:
        self.encoder = encoder
        self.seed = seed
        self.counterfactuals = counterfactuals

    def __call__(self, rows: Sequence[int], epochs: Sequence[int], phrases: Sequence[Phrases]) -> Batch:
        """What `TextEncoder.parts` gives, and `image_facts` [B, 16].

        With counterfactuals also `counterfactual_input_ids` and `counterfactual_attention_mask` [B, L'], the latter 0
        where a text has none.
        """
        seeds = [draw_seed(self.seed, epoch, row) for row, epoch in zip(rows, epochs, strict=True)]
        drawn = [draw_part_text(known, seed) for known, seed in zip(phrases, seeds, strict=True)]
        batch, said = self.encoder.parts(drawn, phrases)
        batch["image_facts"] = torch.from_numpy(np.stack([fact_keys(known) for known in phrases]))
        if self.counterfactuals:
            batch |= self._false_texts(said, phrases, seeds)
        return batch

    def _false_texts(self, said: Sequence[PartText], phrases: Sequence[Phrases], seeds: Sequence[int]) -> Batch:
        found = [counterfactual(known, text, seed) for known, text, seed in zip(phrases, said, seeds, strict=True)]
        encodings = self.encoder.encode(["" if text is None else text.text for text in found])
        usable = [
            text is not None and len(encoding) <= self.encoder.max_tokens
            for text, encoding in zip(found, encodings, strict=True)
        ]
        empty = self.encoder.encode([""])[0]
        batch = self.encoder.stack(
            [encoding if use else empty for encoding, use in zip(encodings, usable, strict=True)]
        )
        mask: Tensor = batch["attention_mask"] * torch.tensor(usable)[:, None]
        return {"counterfactual_input_ids": batch["input_ids"], "counterfactual_attention_mask": mask}


def shorter(text: PartText, phrases: Phrases) -> PartText:
    """The text without its last part; InputError where no part would be left that may stand alone."""
    if len(text.spans) <= FEWEST_PARTS:
        raise InputError(f"a text of {len(text.spans)} parts is longer than the model reads: {text.text[:60]!r}...")
    return part_text(phrases, text.dimensions[:-1], text.wording)


def part_of_tokens(text: PartText, encoding: Encoding) -> NDArray[np.int64]:
    """For each token 1 + the index of the dimension whose part it belongs to, 0 for special ones: int64 [L]."""
    ends = np.array([end for _, _, end in text.spans])
    dimensions = np.array([dimension for dimension, _, _ in text.spans])
    offsets = np.array(encoding.offsets)
    parts = dimensions[np.searchsorted(ends, offsets[:, 0], side="right").clip(max=len(ends) - 1)] + 1
    return np.where(offsets[:, 1] > offsets[:, 0], parts, 0)
