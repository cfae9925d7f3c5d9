"""FUSAR-GPT for transformers. Importing it registers configuration, models and processor with the auto classes."""

from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText, AutoProcessor

from .configuration_fusargpt import FusarGptConfig, TlmConfig
from .modeling_fusargpt import FusarGptForConditionalGeneration, FusarGptModel
from .processing_fusargpt import FusarGptProcessor
from .tlm import TokenwiseLinearModulation

AutoConfig.register(FusarGptConfig.model_type, FusarGptConfig)
AutoModel.register(FusarGptConfig, FusarGptModel)
AutoModelForImageTextToText.register(FusarGptConfig, FusarGptForConditionalGeneration)
AutoProcessor.register(FusarGptConfig, FusarGptProcessor)

# What is saved then carries its code, and loads by `trust_remote_code=True` where this package is not installed.
FusarGptConfig.register_for_auto_class()
FusarGptModel.register_for_auto_class("AutoModel")
FusarGptForConditionalGeneration.register_for_auto_class("AutoModelForImageTextToText")
FusarGptProcessor.register_for_auto_class()

__all__ = [
    "FusarGptConfig",
    "FusarGptForConditionalGeneration",
    "FusarGptModel",
    "FusarGptProcessor",
    "TlmConfig",
    "TokenwiseLinearModulation",
]
