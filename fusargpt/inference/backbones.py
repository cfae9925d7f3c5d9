"""What reads a checkpoint: the classes of its `model_type`, FUSAR-GPT on Qwen2.5-VL or Qwen3-VL, and its processor."""

from transformers import PreTrainedConfig

from fusargpt.errors import InputError, one_line
from modeling_fusargpt import (
    AnyFusarGpt,
    AnyFusarGptConfig,
    FusarGptConfig,
    FusarGptForConditionalGeneration,
    FusarGptProcessor,
    FusarGptQwen3Config,
    FusarGptQwen3ForConditionalGeneration,
)
from modeling_fusargpt.artefacts import described_by, read_chain

PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json")

_MODELS: dict[type[AnyFusarGptConfig], type[AnyFusarGpt]] = {
    FusarGptConfig: FusarGptForConditionalGeneration,
    FusarGptQwen3Config: FusarGptQwen3ForConditionalGeneration,
}
# Our own types, and those of published backbones, which load with a TLM that does nothing yet.
_CONFIGS = {name: config for config in _MODELS for name in (config.model_type, config.backbone_type)}
ANSWERING_TYPES = tuple(_CONFIGS)
"""`model_type` of what can be loaded here."""
_EMBEDDING_TYPE = "fusarklip"


def read_config(name_or_path: str, revision: str = "main") -> tuple[AnyFusarGptConfig, bool]:
    """The configuration of a model folder or Hub model, and whether it is a backbone's, whose weights lack the TLM.

    An adapter as peft writes it, without a config.json, is described by its base.

    Raises:
        InputError: for a model of another type.
        ArtefactError: for a name with neither config.json nor adapter_config.json, or a base that cannot be read.
        OSError: for files that cannot be read.
        ValueError: for a configuration that is not valid, a `StrictDataclassError` among them.
    """
    described = described_by(read_chain(name_or_path, {"revision": revision}))
    name, revision = described.name, described.download["revision"]
    found = PreTrainedConfig.get_config_dict(name, revision=revision)[0].get("model_type")
    if found not in _CONFIGS:
        does = " (it embeds: fusargpt embed, search, classify --labels)" if found == _EMBEDDING_TYPE else ""
        raise InputError(f"{name}: a model of type {found}{does}; expected {', '.join(_CONFIGS)}")
    config_class = _CONFIGS[found]
    return config_class.from_pretrained(name, revision=revision), found == config_class.backbone_type


def read_processor(name_or_path: str, revision: str = "main") -> FusarGptProcessor:
    """The processor of a model folder or Hub model; of an adapter that peft has saved without one, that of its base.

    The confidences of an adapter are not its base's, whose calibration is left out.

    Raises:
        ArtefactError, OSError, ValueError: as `read_config`.
    """
    chain = read_chain(name_or_path, {"revision": revision})
    found = next((one for one in chain if any(one.find(name) for name in PROCESSOR_FILES)), chain[0])
    processor = FusarGptProcessor.from_pretrained(found.name, revision=found.download["revision"])
    if found is not chain[0]:
        processor.calibration = None
    return processor


def known_targets(name_or_path: str) -> tuple[str, ...] | None:
    """The classes that a model was trained to find, by its processor; None where that does not say.

    Raises:
        InputError: a processor that cannot be read.
    """
    try:
        found = read_processor(name_or_path).targets
    # What transformers and tokenizers raise on files that are missing or damaged: of every type.
    except Exception as error:
        raise InputError(f"{name_or_path}: the processor cannot be loaded: {one_line(error)}") from error
    return None if found is None else tuple(found)


def model_class(config: AnyFusarGptConfig) -> type[AnyFusarGpt]:
    """The class, with language head, of the model that `config` describes."""
    return _MODELS[type(config)]
