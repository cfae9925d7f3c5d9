"""FUSAR-GPT on Qwen3-VL: what differs from its backbone is what differs on Qwen2.5-VL."""

from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLForConditionalGeneration, Qwen3VLModel

from .configuration_fusargpt import FusarGptConfig, FusarGptQwen3Config
from .modeling_fusargpt import FusarGptForConditionalGeneration, ModulatedForConditionalGeneration, ModulatedModel


# As on Qwen2.5-VL: arguments are passed by keyword, and each class narrows the type of its `config`.
class FusarGptQwen3Model(ModulatedModel, Qwen3VLModel):  # pyright: ignore[reportIncompatibleMethodOverride]
    """Qwen3-VL without its language head, with a TLM behind the vision tower."""

    config: FusarGptQwen3Config  # pyright: ignore[reportIncompatibleVariableOverride]


class FusarGptQwen3ForConditionalGeneration(  # pyright: ignore[reportIncompatibleMethodOverride]
    ModulatedForConditionalGeneration, Qwen3VLForConditionalGeneration
):
    """FUSAR-GPT on Qwen3-VL: SAR images, their geospatial prior and a question in, an answer out."""

    config: FusarGptQwen3Config  # pyright: ignore[reportIncompatibleVariableOverride]
    model: FusarGptQwen3Model
    inner_class = FusarGptQwen3Model


AnyFusarGptConfig = FusarGptConfig | FusarGptQwen3Config
AnyFusarGpt = FusarGptForConditionalGeneration | FusarGptQwen3ForConditionalGeneration

__all__ = ["AnyFusarGpt", "AnyFusarGptConfig", "FusarGptQwen3ForConditionalGeneration", "FusarGptQwen3Model"]
