"""What is asked of transformers' models and processors, where their own annotations leave it open."""

from collections.abc import Sequence
from typing import Protocol, TypedDict

import torch
from torch import Tensor
from transformers import BatchFeature, GenerationConfig, PreTrainedConfig, PreTrainedTokenizerBase


class Generates(Protocol):
    """A model with a language head: what it takes to ask it. `generate` is typed by a protocol that no model meets."""

    config: PreTrainedConfig
    generation_config: GenerationConfig

    @property
    def device(self) -> torch.device: ...

    @property
    def dtype(self) -> torch.dtype: ...

    def generate(self, **inputs: object) -> Tensor:
        """[rows, tokens]: those of the questions, then those of the answers."""
        ...


class Processes(Protocol):
    """A processor of images and text, which `AutoProcessor` types as one without a tokenizer."""

    tokenizer: PreTrainedTokenizerBase

    def __call__(self, **inputs: object) -> BatchFeature: ...

    def apply_chat_template(self, conversation: Sequence[object], *, add_generation_prompt: bool) -> str: ...

    def batch_decode(self, tokens: object, *, skip_special_tokens: bool) -> list[str]: ...


class LoadingReport(TypedDict):
    """What `from_pretrained` says of a model's weights with `output_loading_info`; there is more of it."""

    missing_keys: set[str]
    unexpected_keys: set[str]
