"""What one stage leaves for the next: whole models, TLM weights alone, and peft adapters."""

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
from peft import PeftModel

from fusargpt.conversion.write_artefacts import complete_adapter, write_tlm
from fusargpt.errors import InputError, one_line
from fusargpt.inference.backbones import model_class, read_config
from fusargpt.inference.faces import LoadingReport
from modeling_fusargpt import AnyFusarGpt, AnyFusarGptConfig, FusarGptProcessor
from modeling_fusargpt.artefacts import ADAPTER_CONFIG_FILE, HUB_ID, ArtefactError
from trl_recipes.arguments import RecipeArguments

TLM_PREFIX = "model.tlm."


def load_model(
    name_or_path: str,
    revision: str = "main",
    dtype: torch.dtype = torch.float32,
    attn_implementation: str | None = None,
) -> AnyFusarGpt:
    """Load whatever a stage has left in its output folder, or a Hub model, as one plain model.

    Args:
        name_or_path: a Hub id, a full model folder, a folder with ``tlm.safetensors`` (the TLM alone) or with a peft
            adapter. The latter two name their base, which is loaded first and may itself be such a folder. LoRA is
            merged.
        revision: branch, tag or commit of a Hub model.
        dtype: type of the weights.
        attn_implementation: as in ``from_pretrained``.

    Raises:
        FileNotFoundError: for a folder that holds no model of any of these kinds.
        InputError: for a TLM or an adapter that does not fit its base, or whose base cannot be found.
        InputError: for weights that do not fit; only a TLM may be missing (it is then the identity).
    """
    folder = Path(name_or_path)
    if not folder.exists() and not HUB_ID.fullmatch(name_or_path):
        raise FileNotFoundError(
            f"there is no folder {name_or_path}, and it is not a Hub id (owner/name); run the stage that makes it first"
        )
    if folder.is_dir() and not any((folder / name).is_file() for name in ("config.json", ADAPTER_CONFIG_FILE)):
        found = ", ".join(sorted(path.name for path in folder.iterdir())) or "nothing"
        raise FileNotFoundError(
            f"{name_or_path} holds no model: found {found}; expected config.json (a model or a TLM) or "
            f"{ADAPTER_CONFIG_FILE} (an adapter). Has its stage run to the end?"
        )
    try:
        config, _ = read_config(name_or_path, revision)
        model, report = cast(
            tuple[AnyFusarGpt, LoadingReport],
            model_class(config).from_pretrained(
                name_or_path,
                revision=revision,
                dtype=dtype,
                attn_implementation=attn_implementation,
                merge_adapter=True,
                use_safetensors=True,
                output_loading_info=True,
            ),
        )
    except InputError:
        raise
    except ArtefactError as error:
        raise InputError(str(error)) from error
    # An attention that there is not, or one whose package is not installed.
    except (ValueError, ImportError) as error:
        raise InputError(
            f"model_name_or_path, attn_implementation: {name_or_path} cannot be loaded so: {one_line(error)}"
        ) from error
    # A TLM may be new; any other weight that is not there would silently be random.
    missing = sorted(name for name in report["missing_keys"] if not name.startswith(TLM_PREFIX))
    unexpected = sorted(report["unexpected_keys"])
    if missing or unexpected:
        raise InputError(
            f"{name_or_path}: found no weights for {missing[:3]} ({len(missing)} in all), and weights that the model "
            f"does not have {unexpected[:3]} ({len(unexpected)} in all); expected those of its backbone or of FUSAR-GPT"
        )
    return model


def save_stage(
    model: AnyFusarGpt | PeftModel,
    processor: FusarGptProcessor,
    recipe: RecipeArguments,
    output_dir: str,
    place: Path | None = None,
) -> None:
    """Write a stage's result into ``output_dir``, with the processor beside it; ``place`` is where it will be put.

    ``save: full`` writes a whole model that loads with ``trust_remote_code``: LoRA is merged, and its adapter kept in
    ``adapter/``. ``save: trained`` writes the TLM alone (``train: tlm``) or the peft adapter, each naming its base. All
    are written in the recipe's ``dtype``; what trains is float32 whatever that is.
    """
    folder, dtype = Path(output_dir), getattr(torch, recipe.dtype)
    place = place or folder
    # Of the weights before; `fusargpt calibrate` fits that of these.
    processor.calibration = None
    if isinstance(model, PeftModel):
        under = "adapter" if recipe.save == "full" else "."
        save_adapter(folder / under, model, recipe, dtype, place / under)
        processor.save_pretrained(folder / under)
    elif recipe.save == "trained":
        save_tlm(folder, model.model.tlm.state_dict(), model.config, recipe, dtype, place)
    if recipe.save == "full":
        whole = model.merge_and_unload() if isinstance(model, PeftModel) else model
        whole.to(dtype).save_pretrained(folder)
    processor.save_pretrained(folder)


def tlm_weights(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Those of the TLM, by their names in it, out of a whole model's."""
    return {name.removeprefix(TLM_PREFIX): tensor for name, tensor in state.items() if name.startswith(TLM_PREFIX)}


def save_tlm(
    folder: Path,
    weights: Mapping[str, torch.Tensor],
    config: AnyFusarGptConfig,
    recipe: RecipeArguments,
    dtype: torch.dtype | None = None,
    place: Path | None = None,
) -> None:
    """Write the TLM alone, in ``dtype`` or its own: ``tlm.safetensors``, and ``config.json``, which names the base."""
    write_tlm(folder, config, weights, recipe.model_name_or_path, recipe.model_revision, dtype=dtype, place=place)


def save_adapter(folder: Path, model: PeftModel, recipe: RecipeArguments, dtype: torch.dtype, place: Path) -> None:
    """Write the peft adapter in ``dtype``, naming its base, and what it takes to load it by the auto classes."""
    weights = {name: tensor.to(dtype) for name, tensor in model.state_dict().items() if tensor.is_floating_point()}
    # No stage trains embeddings; without this peft asks the base's folder or the Hub whether they have changed.
    model.save_pretrained(str(folder), state_dict=weights, save_embedding_layers=False)
    config = cast(AnyFusarGpt, model.get_base_model()).config
    complete_adapter(folder, config, recipe.model_name_or_path, recipe.model_revision, place=place)
