"""FUSAR-GPT for transformers. Importing it registers configuration, models and processor with the auto classes."""

# First: it refuses an older one.
from .transformers_release import MINIMUM_TRANSFORMERS  # noqa: F401  # pyright: ignore[reportUnusedImport]

# isort: split
from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText, AutoProcessor

from .configuration_fusargpt import FusarGptConfig, FusarGptQwen3Config, TlmConfig
from .modeling_fusargpt import FusarGptForConditionalGeneration, FusarGptModel
from .modeling_fusargpt_qwen3 import (
    AnyFusarGpt,
    AnyFusarGptConfig,
    FusarGptQwen3ForConditionalGeneration,
    FusarGptQwen3Model,
)
from .processing_fusargpt import FusarGptProcessor
from .tlm import TokenwiseLinearModulation

for config_class, inner_class, whole_class in (
    (FusarGptConfig, FusarGptModel, FusarGptForConditionalGeneration),
    (FusarGptQwen3Config, FusarGptQwen3Model, FusarGptQwen3ForConditionalGeneration),
):
    AutoConfig.register(config_class.model_type, config_class)
    AutoModel.register(config_class, inner_class)
    AutoModelForImageTextToText.register(config_class, whole_class)
    AutoProcessor.register(config_class, FusarGptProcessor)
    # What is saved then carries its code, and loads by `trust_remote_code=True` where this package is not installed.
    config_class.register_for_auto_class()
    inner_class.register_for_auto_class("AutoModel")
    whole_class.register_for_auto_class("AutoModelForImageTextToText")
FusarGptProcessor.register_for_auto_class()

__all__ = [
    "AnyFusarGpt",
    "AnyFusarGptConfig",
    "FusarGptConfig",
    "FusarGptForConditionalGeneration",
    "FusarGptModel",
    "FusarGptProcessor",
    "FusarGptQwen3Config",
    "FusarGptQwen3ForConditionalGeneration",
    "FusarGptQwen3Model",
    "TlmConfig",
    "TokenwiseLinearModulation",
]
