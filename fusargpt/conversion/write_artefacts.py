"""Writes what `artefacts` reads: a TLM alone, and what a LoRA adapter needs beside peft's files, naming their base."""

import copy
import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from fusargpt.checkpoints import shipped_name
from fusargpt.inference.backbones import model_class
from fusargpt.private_names import save_code
from modeling_fusargpt import AnyFusarGptConfig
from modeling_fusargpt.artefacts import ADAPTER_CONFIG_FILE, TLM_FILE
from modeling_fusargpt.configuration_fusargpt import Weights


def write_tlm(
    folder: Path,
    config: AnyFusarGptConfig,
    weights: Mapping[str, Tensor],
    base: str,
    revision: str = "main",
    *,
    dtype: torch.dtype | None = None,
    place: Path | None = None,
) -> None:
    """Write a TLM alone: `tlm.safetensors` (keys `tlm.*`), `config.json` that names the base, and the model's code.

    Args:
        folder: made if it does not exist.
        config: of the model that the TLM belongs to, whole.
        weights: the TLM's state.
        base: Hub id, or folder; a relative one is found from the folder in which the program runs.
        revision: branch, tag or commit of a base on the Hub.
        dtype: to write the weights in; None for their own.
        place: where `folder` will be when it is complete; None where it is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"tlm.{name}": tensor.detach().to("cpu", dtype).contiguous() for name, tensor in weights.items()}
    save_file(tensors, folder / TLM_FILE, metadata={"format": "pt"})
    _write_config(folder, config, "tlm", name_base(base, place or folder), revision)


def complete_adapter(
    folder: Path, config: AnyFusarGptConfig, base: str, revision: str = "main", *, place: Path | None = None
) -> None:
    """Put beside an adapter of peft's what it takes to load it as a model; arguments as in `write_tlm`."""
    path = folder / ADAPTER_CONFIG_FILE
    settings = json.loads(path.read_text())
    settings["base_model_name_or_path"] = name_base(base, place or folder)
    settings["revision"] = None if revision == "main" else revision
    path.write_text(json.dumps(settings, indent=2) + "\n")
    _write_config(folder, config, "adapter", None, None)


def name_base(base: str, place: Path) -> str:
    """How an artefact in the folder `place` names `base`, so that both can be moved together.

    A Hub id stays as it is. A model that comes with the package is named by its name there. Another folder that was
    named by a relative path, or one that lies beside or in `place`, is named by its path from `place`; any other by its
    absolute path.
    """
    if not os.path.isdir(base):
        return base
    found, place = Path(base).resolve(), place.resolve()
    name = shipped_name(found)
    if name is not None and found.parent != place.parent:
        return name
    if Path(base).is_absolute() and found.parent != place.parent and place not in found.parents:
        return str(found)
    path = os.path.relpath(found, place).replace(os.sep, "/")
    return path if path.startswith(".") else f"./{path}"


def _write_config(
    folder: Path, config: AnyFusarGptConfig, weights: Weights, base: str | None, revision: str | None
) -> None:
    config = copy.deepcopy(config)
    config.weights, config.base_model_name_or_path, config.base_model_revision = weights, base, revision
    config.architectures = [model_class(config).__name__]
    # The model's code first: what reads config.json then finds all of it.
    save_code(model_class(config), folder)
    config.save_pretrained(folder)


__all__ = ["complete_adapter", "name_base", "write_tlm"]
