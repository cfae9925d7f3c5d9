"""Which classes read a checkpoint, by the `model_type` of its config.json: FUSAR-GPT on Qwen2.5-VL or on Qwen3-VL."""

from transformers import PreTrainedConfig

from fusargpt.errors import InputError
from modeling_fusargpt import (
    AnyFusarGpt,
    AnyFusarGptConfig,
    FusarGptConfig,
    FusarGptForConditionalGeneration,
    FusarGptQwen3Config,
    FusarGptQwen3ForConditionalGeneration,
)

_MODELS: dict[type[AnyFusarGptConfig], type[AnyFusarGpt]] = {
    FusarGptConfig: FusarGptForConditionalGeneration,
    FusarGptQwen3Config: FusarGptQwen3ForConditionalGeneration,
}
# Our own types, and those of published backbones, which load with a TLM that does nothing yet.
_CONFIGS = {name: config for config in _MODELS for name in (config.model_type, config.backbone_type)}


def read_config(name_or_path: str, revision: str = "main") -> tuple[AnyFusarGptConfig, bool]:
    """The configuration of a model folder or Hub model, and whether it is a backbone's, whose weights lack the TLM.

    Raises:
        InputError: for a model of another type.
        OSError: for a name without a config.json that can be read.
        ValueError: for a configuration that is not valid, a `StrictDataclassError` among them.
    """
    found = PreTrainedConfig.get_config_dict(name_or_path, revision=revision)[0].get("model_type")
    if found not in _CONFIGS:
        raise InputError(f"{name_or_path}: a model of type {found}; expected {', '.join(_CONFIGS)}")
    config_class = _CONFIGS[found]
    return config_class.from_pretrained(name_or_path, revision=revision), found == config_class.backbone_type


def model_class(config: AnyFusarGptConfig) -> type[AnyFusarGpt]:
    """The class, with language head, of the model that `config` describes."""
    return _MODELS[type(config)]
