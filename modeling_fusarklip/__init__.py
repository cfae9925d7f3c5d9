"""FUSAR-KLIP for transformers. Importing it registers configuration, models and processor with the auto classes."""

# First: it refuses an older one.
from .transformers_release import MINIMUM_TRANSFORMERS  # noqa: F401  # pyright: ignore[reportUnusedImport]

# isort: split
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForImageClassification,
    AutoModelForImageTextToText,
    AutoModelForZeroShotImageClassification,
    AutoProcessor,
)

from .configuration_fusarklip import DIMENSIONS, FusarKlipConfig, GeographyConfig, LossesConfig, TlmConfig
from .modeling_fusarklip import (
    FusarKlipForConditionalGeneration,
    FusarKlipForImageClassification,
    FusarKlipModel,
    FusarKlipOutput,
)
from .processing_fusarklip import FusarKlipProcessor
from .towers_fusarklip import IMAGE_INPUTS
from .two_pass import two_pass_step
from .vision_fusarklip import FusarKlipVisionModel

AutoConfig.register(FusarKlipConfig.model_type, FusarKlipConfig)
AutoModel.register(FusarKlipConfig, FusarKlipModel)
AutoModelForZeroShotImageClassification.register(FusarKlipConfig, FusarKlipModel)
AutoModelForImageTextToText.register(FusarKlipConfig, FusarKlipForConditionalGeneration)
AutoModelForImageClassification.register(FusarKlipConfig, FusarKlipForImageClassification)
AutoProcessor.register(FusarKlipConfig, FusarKlipProcessor)
# What is saved then carries its code, and loads by `trust_remote_code=True` where this package is not installed.
FusarKlipConfig.register_for_auto_class()
FusarKlipModel.register_for_auto_class("AutoModel")
FusarKlipForConditionalGeneration.register_for_auto_class("AutoModelForImageTextToText")
FusarKlipForImageClassification.register_for_auto_class("AutoModelForImageClassification")
FusarKlipProcessor.register_for_auto_class()

__all__ = [
    "DIMENSIONS",
    "IMAGE_INPUTS",
    "FusarKlipConfig",
    "FusarKlipForConditionalGeneration",
    "FusarKlipForImageClassification",
    "FusarKlipModel",
    "FusarKlipOutput",
    "FusarKlipProcessor",
    "FusarKlipVisionModel",
    "GeographyConfig",
    "LossesConfig",
    "TlmConfig",
    "two_pass_step",
]
