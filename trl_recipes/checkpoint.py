"""What one stage leaves for the next: whole models, TLM weights alone, and peft adapters."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file

from modeling_fusargpt import AnyFusarGpt, FusarGptProcessor, TlmConfig
from modeling_fusargpt.backbones import model_class, read_config
from trl_recipes.arguments import RecipeArguments

TLM_PREFIX = "model.tlm."
TLM_WEIGHTS = "tlm.safetensors"
TLM_MANIFEST = "tlm.json"
ADAPTER_MANIFEST = "adapter_config.json"
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")
TLM_FIELDS = ("prior_size", "hidden_size", "sigma", "gaussian_grid", "fusion", "deepstack")
MANIFEST_KEYS = {"base_model_name_or_path", "base_model_revision", "tlm_config"}


def load_model(
    name_or_path: str,
    revision: str = "main",
    dtype: torch.dtype = torch.float32,
    attn_implementation: str | None = None,
    tlm_config: dict[str, Any] | None = None,
) -> AnyFusarGpt:
    """Load whatever a stage has left in its output folder, or a Hub model, as one plain model.

    Args:
        name_or_path: a Hub id, a full model folder, a folder with ``tlm.safetensors`` (the TLM alone) or with a peft
            adapter. The latter two name their base, which is loaded first and may itself be such a folder. LoRA is
            merged.
        revision: branch, tag or commit of a Hub model.
        dtype: type of the weights.
        attn_implementation: as in ``from_pretrained``.
        tlm_config: fields of ``TlmConfig`` that replace those of the model's config.

    Raises:
        FileNotFoundError: for a folder that holds no model of any of these kinds.
        ValueError: for a manifest or weights that do not fit; only a TLM may be missing (it is then the identity).
    """
    folder = Path(name_or_path)
    options: dict[str, Any] = {"dtype": dtype, "attn_implementation": attn_implementation}
    if (folder / TLM_MANIFEST).is_file():
        manifest = _read_manifest(folder / TLM_MANIFEST)
        model = load_model(
            manifest["base_model_name_or_path"],
            manifest["base_model_revision"],
            tlm_config=manifest["tlm_config"],
            **options,
        )
        load_tlm(model, folder)
        return model
    if (folder / ADAPTER_MANIFEST).is_file():
        adapter = json.loads((folder / ADAPTER_MANIFEST).read_text())
        base = load_model(
            adapter["base_model_name_or_path"], adapter["revision"] or "main", tlm_config=tlm_config, **options
        )
        return PeftModel.from_pretrained(base, folder).merge_and_unload()
    if not folder.exists() and not HUB_ID.fullmatch(name_or_path):
        raise FileNotFoundError(
            f"there is no folder {name_or_path}, and it is not a Hub id (owner/name); run the stage that makes it first"
        )
    if folder.is_dir() and not (folder / "config.json").is_file():
        found = ", ".join(sorted(path.name for path in folder.iterdir())) or "nothing"
        raise FileNotFoundError(
            f"{name_or_path} holds no model: found {found}; expected config.json (a model), {TLM_MANIFEST} (a TLM) or "
            f"{ADAPTER_MANIFEST} (an adapter). Has its stage run to the end?"
        )
    config, _ = read_config(name_or_path, revision)
    if tlm_config is not None:
        config.tlm_config = TlmConfig(**tlm_config)
    loaded: Any = model_class(config).from_pretrained(
        name_or_path, revision=revision, config=config, output_loading_info=True, **options
    )
    model, report = loaded
    # A TLM may be new; any other weight that is not there would silently be random.
    missing = sorted(name for name in report["missing_keys"] if not name.startswith("model.tlm."))
    unexpected = sorted(report["unexpected_keys"])
    if missing or unexpected:
        raise ValueError(
            f"{name_or_path}: found no weights for {missing[:3]} ({len(missing)} in all), and weights that the model "
            f"does not have {unexpected[:3]} ({len(unexpected)} in all); expected those of its backbone or of FUSAR-GPT"
        )
    return model


def save_stage(
    model: AnyFusarGpt | PeftModel,
    processor: FusarGptProcessor,
    recipe: RecipeArguments,
    output_dir: str,
) -> None:
    """Write a stage's result into ``output_dir``, with the processor beside it.

    ``save: full`` writes a whole model that loads with ``trust_remote_code``: LoRA is merged, and its adapter kept in
    ``adapter/``. ``save: trained`` writes the TLM alone (``train: tlm``) or the peft adapter.
    """
    folder = Path(output_dir)
    if isinstance(model, PeftModel):
        # No stage trains embeddings; without this peft asks the base's folder or the Hub whether they have changed.
        adapter_folder = folder / "adapter" if recipe.save == "full" else folder
        model.save_pretrained(str(adapter_folder), save_embedding_layers=False)
    elif recipe.save == "trained":
        save_tlm(folder, model.model.tlm.state_dict(), model.model.tlm.config, recipe)
    if recipe.save == "full":
        whole = model.merge_and_unload() if isinstance(model, PeftModel) else model
        # The TLM trains in float32 whatever the type of the model is.
        whole.to(getattr(torch, recipe.dtype)).save_pretrained(folder)
    processor.save_pretrained(folder)


def tlm_weights(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Those of the TLM, by their names in it, out of a whole model's."""
    return {name.removeprefix(TLM_PREFIX): tensor for name, tensor in state.items() if name.startswith(TLM_PREFIX)}


def save_tlm(folder: Path, weights: Mapping[str, torch.Tensor], tlm_config: TlmConfig, recipe: RecipeArguments) -> None:
    """Write the TLM alone: ``tlm.safetensors`` with keys ``tlm.*``, and ``tlm.json``, which names the base model."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"tlm.{name}": tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    save_file(tensors, folder / TLM_WEIGHTS, metadata={"format": "pt"})
    fields = tlm_config.to_dict()
    manifest = {
        "base_model_name_or_path": recipe.model_name_or_path,
        "base_model_revision": recipe.model_revision,
        "tlm_config": {name: fields[name] for name in TLM_FIELDS},
    }
    (folder / TLM_MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")


def load_tlm(model: AnyFusarGpt, folder: Path) -> None:
    """Copy ``tlm.safetensors`` of ``folder`` into the model. ValueError when its keys or shapes are not the model's."""
    weights = load_file(folder / TLM_WEIGHTS)
    expected = {f"tlm.{name}": tuple(tensor.shape) for name, tensor in model.model.tlm.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    if found != expected:
        raise ValueError(
            f"{folder / TLM_WEIGHTS}: found {found}, expected {expected}; is its base model the right one?"
        )
    model.model.tlm.load_state_dict({name.removeprefix("tlm."): tensor for name, tensor in weights.items()})


def _read_manifest(path: Path) -> dict[str, Any]:
    manifest = json.loads(path.read_text())
    if set(manifest) != MANIFEST_KEYS:
        raise ValueError(f"{path}: found keys {sorted(manifest)}, expected {sorted(MANIFEST_KEYS)}")
    return manifest
