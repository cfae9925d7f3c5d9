"""Who answers: FUSAR-GPT models with a setting of the prior, other vision-language models, and the majority answer."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from transformers import AutoConfig, PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

from fusargpt.errors import InputError, one_line
from fusargpt.inference.loading import check_name
from fusargpt.private_names import commit_of
from modeling_fusargpt.artefacts import ArtefactError, described_by, read_chain
from modeling_fusargpt.configuration_fusargpt import FusarGptConfig, FusarGptQwen3Config, TlmConfig

MAJORITY = "majority"
"""The baseline that says what is most often true in the training split."""
OWN_TYPES = (FusarGptConfig.model_type, FusarGptQwen3Config.model_type)
"""Of models that take a prior, unless they were made without a fusion."""
# Qwen's own conventions for boxes: in thousandths of the image but for Qwen2.5-VL, whose are pixels.
_IN_THOUSANDTHS = ("qwen2_vl", "qwen3_vl", "qwen3_vl_moe")
# What decides about the answers of a model folder; its card does not.
_SUFFIXES = {".json", ".jinja", ".safetensors", ".bin", ".model", ".txt"}


@dataclass(frozen=True)
class Entry:
    """One column of the result: a model and the prior it gets.

    Attributes:
        model: folder, or name on the Hub; `MAJORITY` for the majority answer.
        label: what it is called in tables; no two entries share one.
        model_type: as its configuration says.
        revision: the Hub's commit, or a hash of the folder's files.
        prior: one of `fusargpt.evaluation.priors.SETTINGS`; "none" for models that take no prior.
        with_form: whether the form of the answer is added to the questions.
    """

    model: str
    label: str
    model_type: str
    revision: str
    prior: str
    with_form: bool

    @property
    def in_thousandths(self) -> bool:
        """Whether its boxes are in thousandths of the image's width and height instead of pixels."""
        return self.model_type in _IN_THOUSANDTHS


def enter(models: Sequence[str], priors: Sequence[str], answer_form: str) -> list[Entry]:
    """The entries of `models`: each FUSAR-GPT model once with each prior, one without a fusion (a baseline) once.

    Args:
        models: the first is the one that the others are compared with.
        priors: settings, the first of which is the one that the others are compared with.
        answer_form: "always", "never", or "auto" for models of other types than ours.

    Raises:
        InputError: a name that is no model, a model that does not answer about images, or one that is named twice.
    """
    entries = []
    for model in models:
        if models.count(model) > 1:
            raise InputError(f"{model}: found {models.count(model)} times; name every model once")
        title = _title(model, models)
        if model == MAJORITY:
            entries.append(Entry(model, title, MAJORITY, "", "none", False))
            continue
        config, revision = _identify(model)
        ours = isinstance(config, (FusarGptConfig, FusarGptQwen3Config))
        fused = ours and cast(TlmConfig, config.tlm_config).fusion != "none"
        with_form = answer_form == "always" or (answer_form == "auto" and not ours)
        for prior in priors if fused else ("none",):
            label = f"{title}, prior {prior}" if fused else title
            entries.append(Entry(model, label, config.model_type, revision, prior, with_form))
    return entries


def _title(model: str, models: Sequence[str]) -> str:
    """The last part of a name, or all of it where several end alike."""
    short = [Path(name).name for name in models]
    return Path(model).name if short.count(Path(model).name) == 1 and Path(model).name else model


def _identify(model: str) -> tuple[PreTrainedConfig, str]:
    check_name(model)
    try:
        # An adapter as peft writes it is described by its base.
        described = described_by(read_chain(model))
        config = AutoConfig.from_pretrained(described.name, trust_remote_code=False)
    except ArtefactError as error:
        raise InputError(str(error)) from error
    # What transformers raises on a configuration that is damaged or of a type that it does not know: of any type.
    except Exception as error:
        raise InputError(f"{model}: the model cannot be loaded: {one_line(error)}") from error
    if type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        raise InputError(
            f"{model}: a model of type {config.model_type}; expected one that answers about images, of a type that "
            "AutoModelForImageTextToText knows"
        )
    folder = Path(model)
    return config, _hash(folder) if folder.is_dir() else str(commit_of(config))


def _hash(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES):
        with path.open("rb") as file:
            digest.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]
