"""Which models embed, read from a folder or the Hub and told apart by their content."""

import hashlib
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from PIL import Image
from transformers import AutoModelForZeroShotImageClassification, AutoProcessor, PreTrainedConfig

from fusargpt.checkpoints import KLIP_NANO
from fusargpt.embedding.klip_towers import KlipTowers
from fusargpt.embedding.towers import ClipTowers, Towers
from fusargpt.errors import InputError, one_line
from fusargpt.inference.backbones import ANSWERING_TYPES
from fusargpt.inference.loading import check_name
from modeling_fusarklip import FusarKlipConfig, FusarKlipModel, FusarKlipProcessor

CLIP_LIKE = ("align", "altclip", "chinese_clip", "clip", "metaclip_2", "siglip", "siglip2")
"""Types of transformers whose towers are used alike, without prior and matching head."""
_HASHED = ("*.safetensors", "config.json", "*processor_config.json", "tokenizer*.json", "vocab*")
_DIGITS = 16


def read_towers(name: str, device: str | None) -> Towers:
    """The model of a folder or of the Hub's `owner/name`.

    Args:
        name: of a model of the types above.
        device: as torch names it; None takes a GPU where there is one. Weights are float32 on the CPU, else bfloat16.

    Raises:
        InputError: no such model, one of another kind, or files that are missing or damaged.
    """
    check_model(name)
    device = _device(device)
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    with _telling(name):
        if _type_of(name, (FusarKlipConfig.model_type, *CLIP_LIKE)) == FusarKlipConfig.model_type:
            model, processor = _weights(name, FusarKlipModel, device, dtype), FusarKlipProcessor.from_pretrained(name)
            towers: Towers = KlipTowers(model, processor)
        else:
            model = _weights(name, AutoModelForZeroShotImageClassification, device, dtype)
            towers = ClipTowers(model, AutoProcessor.from_pretrained(name))
        _try_out(towers)
    return towers


def read_klip(name: str, device: str | None) -> tuple[FusarKlipModel, FusarKlipProcessor]:
    """A FUSAR-KLIP in float32, in evaluation mode, and its processor; otherwise as `read_towers`."""
    check_model(name)
    with _telling(name):
        _type_of(name, (FusarKlipConfig.model_type,))
        model = _weights(name, FusarKlipModel, _device(device), torch.float32)
        return model, FusarKlipProcessor.from_pretrained(name)


def check_model(name: str) -> None:
    """Raises InputError for a name that is neither a model folder nor a model on the Hub that can be read."""
    if name == str(KLIP_NANO) and not KLIP_NANO.is_dir():
        raise InputError(
            f"{KLIP_NANO.name} is not in this copy of the package; name a FUSAR-KLIP or CLIP model with model (--model)"
        )
    check_name(name)


def fingerprint(name: str) -> str:
    """16 hexadecimal digits that stand for the weights, the configuration and the vocabulary of a model."""
    folder = Path(name)
    if not folder.is_dir():
        # It has just been loaded.
        folder = Path(snapshot_download(name, local_files_only=True, allow_patterns=list(_HASHED)))
    files = sorted({path for pattern in _HASHED for path in folder.glob(pattern)})
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:_DIGITS]


def model_label(name: str) -> str:
    """As outputs name a model: the path of the one that comes with the package says nothing to others."""
    return KLIP_NANO.name if name == str(KLIP_NANO) else name


def model_of_label(label: str) -> str:
    """What `model_label` made the label of."""
    return str(KLIP_NANO) if label == KLIP_NANO.name else label


@torch.inference_mode()
def _try_out(towers: Towers) -> None:
    """What is wrong with a tokenizer or an image processor shows in use alone: now, and not after a scene's tiles."""
    image = towers.image_features([Image.new("RGB", (towers.side, towers.side))], [None], [None])
    texts = towers.text_features(["a ship", "a ship at sea"])
    if image.shape[1] != texts.shape[1]:
        raise InputError(f"its images have {image.shape[1]} numbers and its texts {texts.shape[1]}; expected as many")


def _device(named: str | None) -> str:
    return ("cuda" if torch.cuda.is_available() else "cpu") if named is None else named


@contextmanager
def _telling(name: str) -> Generator[None]:
    """What transformers, tokenizers and safetensors raise on files that are missing, damaged or do not fit."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # of any type
        raise InputError(f"{name}: the model cannot be loaded: {one_line(error)}") from error


def _weights(name: str, kind: type[Any], device: str, dtype: torch.dtype) -> Any:
    """The model in evaluation mode; InputError where weights are missing, which would be random."""
    model, report = kind.from_pretrained(name, dtype=dtype, use_safetensors=True, output_loading_info=True)
    if report["missing_keys"]:
        first = sorted(report["missing_keys"])[0]
        raise InputError(f"{name}: {len(report['missing_keys'])} weights are missing, {first} among them")
    return model.to(device).eval()


def _type_of(name: str, expected: Sequence[str]) -> str:
    found = str(PreTrainedConfig.get_config_dict(name)[0].get("model_type"))
    if found in expected:
        return found
    does = " (it answers questions: fusargpt ask, detect, ...)" if found in ANSWERING_TYPES else ""
    raise InputError(
        f"{name}: a model of type {found}{does}; expected one that embeds images and texts, of type "
        f"{', '.join(expected)}"
    )
