"""A fitted FUSAR-KLIP as judge: how well texts fit images, how likely phrases are, and what it would say itself."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedTokenizerFast

from fusargpt.embedding.model_folder import fingerprint, read_klip
from fusargpt.embedding.towers import as_written
from fusargpt.errors import InputError
from fusargpt.geo.prior import Prior
from modeling_fusarklip import FusarKlipModel, FusarKlipProcessor

LONGEST_FILL = 24
"""Tokens of a phrase that is filled at most: each takes a pass."""


class Seen(NamedTuple):
    """Images as the judge sees them: `tokens` [B, 1 + T, C], `vectors` [B, D] of length 1."""

    tokens: Tensor
    vectors: Tensor


class Judge:
    """A model and its processor, ready to judge.

    Args:
        model: that was trained to match and to fill masks.
        processor: its own, with a fast tokenizer.
        fingerprint: stands for the model's content.

    Raises:
        InputError: a model without one of the losses, or a tokenizer that does not tell where its tokens stand.
    """

    def __init__(self, model: FusarKlipModel, processor: FusarKlipProcessor, fingerprint: str) -> None:
        losses = model.config.losses
        if missing := [name for name in ("itc", "itm", "mlm") if not vars(losses)[name] > 0]:
            raise InputError(
                f"judge: found a model that was trained without {', '.join(missing)}; expected one of contrast, "
                "matching and reconstruction (itc, itm, mlm), as the recipes of phase 1 leave it"
            )
        tokenizer = cast(Any, processor).tokenizer
        if not isinstance(tokenizer, PreTrainedTokenizerFast):
            raise InputError(f"judge: found {type(tokenizer).__name__}, expected a fast tokenizer")
        self._model, self._processor, self._tokenizer = model, processor, tokenizer
        self._backend = tokenizer.backend_tokenizer
        self._backend.no_truncation()
        self._backend.no_padding()
        self.fingerprint = fingerprint

    @staticmethod
    def load(folder: Path, device: str | None = None) -> "Judge":
        """The model of a folder; raises InputError for none, or one that cannot judge."""
        name = str(folder)
        model, processor = read_klip(name, device)
        return Judge(model, processor, fingerprint(name))

    @torch.inference_mode()
    def see(self, pictures: Sequence[Image.Image], priors: Sequence[Prior | None], told: Sequence[object]) -> Seen:
        """Images with priors and acquisitions; `told` are rows with what they have of these columns."""
        rows = [
            {**cast(Mapping[str, Any], row), "image": picture, **({} if prior is None else prior.columns())}
            for picture, prior, row in zip(pictures, priors, told, strict=True)
        ]
        inputs = {name: value.to(self._model.device) for name, value in self._processor.from_rows(rows).items()}
        tokens = self._model.image_tokens(**inputs)
        return Seen(tokens, self._model.image_embeddings(tokens))

    @torch.inference_mode()
    def fits(self, seen: Seen, texts: Sequence[str], images: Sequence[int]) -> NDArray[np.float64]:
        """[N, 2] of texts, each with the place of its image: cosine, and log-odds that it is true of the image."""
        ids, mask = self._encode(texts)
        places = torch.tensor(images, device=ids.device)
        cosines = (self._vectors(ids, mask) * seen.vectors[places]).sum(-1)
        beside = self._model.itm_head(self._model.read_many(ids, mask, seen.tokens, places)[:, 0])
        return torch.stack([cosines, beside[:, 1] - beside[:, 0]], 1).double().cpu().numpy()

    @torch.inference_mode()
    def surprise(
        self, seen: Seen, texts: Sequence[str], spans: Sequence[tuple[int, int]], images: Sequence[int]
    ) -> NDArray[np.float64]:
        """[N]: mean of -log p, in nats a token, of the characters `spans` of texts, when they are masked."""
        ids, mask, hidden = self._masked(texts, spans)
        places = torch.tensor(images, device=ids.device)
        masked = ids.masked_fill(hidden, self._model.config.mask_token_id)
        states = self._model.read_many(masked, mask, seen.tokens, places)
        # What stands before a word says it, as `FusarKlipModel.masked_words` has it; the first token is no word.
        said = self._model.word_head(states[:, :-1][hidden[:, 1:]]).float()
        losses = functional.cross_entropy(said, ids[hidden], reduction="none")
        of_text = hidden.nonzero()[:, 0]
        sums = torch.zeros(len(texts), device=ids.device).index_add_(0, of_text, losses)
        return (sums / hidden.sum(1).clamp(min=1)).double().cpu().numpy()

    def fill(
        self, seen: Seen, texts: Sequence[str], spans: Sequence[tuple[int, int]], images: Sequence[int]
    ) -> list[str | None]:
        """What the model puts in the place of the characters `spans`, in as many tokens; None for what is no phrase."""
        ids, mask, hidden = self._masked(texts, spans)
        short = (hidden.sum(1) <= LONGEST_FILL).nonzero()[:, 0]
        found: list[str | None] = [None] * len(texts)
        if not len(short):
            return found
        masked = ids.masked_fill(hidden, self._model.config.mask_token_id)[short]
        places = torch.tensor(images, device=ids.device)[short]
        filled = self._model.fill(masked, mask[short], places, seen.tokens).input_ids
        for row, tokens in zip(short.tolist(), filled, strict=True):
            said: list[int] = tokens[hidden[row]].tolist()
            phrase = as_written(cast(str, self._tokenizer.decode(said)))
            # A phrase that would be read otherwise than it was meant is none.
            if phrase and self._backend.encode(phrase, add_special_tokens=False).ids == said:
                found[row] = phrase
        return found

    @torch.inference_mode()
    def text_vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """[N, D] of length 1."""
        return self._vectors(*self._encode(texts)).float().cpu().numpy()

    def _vectors(self, ids: Tensor, mask: Tensor) -> Tensor:
        return functional.normalize(self._model.text_proj(self._model.read_many(ids, mask)[:, 0]), dim=-1)

    def _masked(self, texts: Sequence[str], spans: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor, Tensor]:
        ids, mask = self._encode(texts)
        hidden = torch.zeros(ids.shape, dtype=torch.bool)
        for row, (encoding, (start, end)) in enumerate(
            zip(self._backend.encode_batch(list(texts)), spans, strict=True)
        ):
            offsets = torch.tensor(encoding.offsets)
            hidden[row, : len(offsets)] = (
                (offsets[:, 0] < end) & (offsets[:, 1] > start) & (offsets[:, 1] > offsets[:, 0])
            )
        return ids, mask, hidden.to(ids.device)

    def _encode(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        encodings = self._backend.encode_batch(list(texts))
        longest = max(map(len, encodings))
        if longest > self._model.config.max_text_tokens:
            text = next(text for text, encoding in zip(texts, encodings, strict=True) if len(encoding) == longest)
            raise InputError(
                f"parts: found a text of {longest} tokens, expected at most {self._model.config.max_text_tokens}; "
                f"judge fewer parts together: {text[:60]!r}..."
            )
        ids = torch.full((len(texts), longest), cast(int, self._tokenizer.pad_token_id))
        mask = torch.zeros_like(ids)
        for row, encoding in enumerate(encodings):
            ids[row, : len(encoding)] = torch.tensor(encoding.ids)
            mask[row, : len(encoding)] = 1
        return ids.to(self._model.device), mask.to(self._model.device)
