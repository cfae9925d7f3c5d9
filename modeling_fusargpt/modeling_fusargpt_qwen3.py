"""FUSAR-GPT on Qwen3-VL: what differs from its backbone is what differs on Qwen2.5-VL."""

from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLForConditionalGeneration, Qwen3VLModel

from .configuration_fusargpt import FusarGptQwen3Config
from .modeling_fusargpt import ModulatedForConditionalGeneration, ModulatedModel


class FusarGptQwen3Model(ModulatedModel, Qwen3VLModel):
    """Qwen3-VL without its language head, with a TLM behind the vision tower."""

    config: FusarGptQwen3Config


class FusarGptQwen3ForConditionalGeneration(ModulatedForConditionalGeneration, Qwen3VLForConditionalGeneration):
    """FUSAR-GPT on Qwen3-VL: SAR images, their geospatial prior and a question in, an answer out."""

    config: FusarGptQwen3Config
    model: FusarGptQwen3Model
    inner_class = FusarGptQwen3Model


__all__ = ["FusarGptQwen3ForConditionalGeneration", "FusarGptQwen3Model"]
