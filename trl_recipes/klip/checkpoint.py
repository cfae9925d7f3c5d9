"""What a phase starts from and what it leaves: a whole FUSAR-KLIP, or a BLIP for retrieval to start from."""

from pathlib import Path
from typing import cast

import torch
from transformers import PreTrainedTokenizerFast

from fusargpt.errors import InputError, one_line
from fusargpt.inference.faces import LoadingReport
from modeling_fusarklip.configuration_fusarklip import FusarKlipConfig
from modeling_fusarklip.modeling_fusarklip import FusarKlipModel
from modeling_fusarklip.processing_fusarklip import FusarKlipProcessor
from trl_recipes.klip.arguments import KlipArguments

# What BLIP for retrieval does not have, and starts anew; of FUSAR-KLIP what a phase before did not use.
NEW_PARTS = (
    "vision_model.tlm.",
    "vision_model.acquisition.",
    "vision_model.mask_token",
    "word_head.",
    "mim_head.",
    "momentum_towers.",
    "queue.",
    "temperature",
    "bias",
)


def load_model(recipe: KlipArguments) -> FusarKlipModel:
    """The model of ``model_name_or_path`` in float32, with the recipe's losses.

    Raises:
        InputError: for no model, one of another kind, or weights that do not fit.
    """
    name = f"model_name_or_path: {recipe.model_name_or_path}"
    folder = Path(recipe.model_name_or_path)
    if folder.is_dir() and not (folder / "config.json").is_file():
        found = ", ".join(sorted(path.name for path in folder.iterdir())) or "nothing"
        raise InputError(f"{name}: found {found}; expected config.json. Has the phase that makes it run to its end?")
    try:
        config = FusarKlipConfig.from_pretrained(recipe.model_name_or_path, revision=recipe.model_revision)
        for loss in ("itc", "itm", "mlm", "lm", "mim", "contrastive"):
            setattr(config.losses, loss, vars(recipe)[loss])
        config.geography.drop_field = recipe.acquisition_field_dropout
        config.geography.drop_all = recipe.acquisition_dropout
        model, report = cast(
            tuple[FusarKlipModel, LoadingReport],
            FusarKlipModel.from_pretrained(
                recipe.model_name_or_path,
                config=config,
                revision=recipe.model_revision,
                dtype=torch.float32,
                attn_implementation=recipe.attn_implementation,
                use_safetensors=True,
                output_loading_info=True,
            ),
        )
    # No such folder or repository, no network, damaged files, sizes that differ: of every type.
    except Exception as error:
        raise InputError(f"{name}: the model cannot be loaded: {one_line(error)}") from error
    missing = sorted(key for key in report["missing_keys"] if not key.startswith(NEW_PARTS))
    unexpected = sorted(report["unexpected_keys"])
    if missing or unexpected:
        raise InputError(
            f"{name}: found no weights for {missing[:3]} ({len(missing)} in all), and weights that the model does not "
            f"have {unexpected[:3]} ({len(unexpected)} in all); expected those of FUSAR-KLIP or of BLIP for retrieval"
        )
    return model


def load_processor(recipe: KlipArguments) -> FusarKlipProcessor:
    """The processor of ``model_name_or_path``; InputError for none, or one whose tokenizer is not a fast one."""
    name = f"model_name_or_path: {recipe.model_name_or_path}"
    try:
        processor = FusarKlipProcessor.from_pretrained(recipe.model_name_or_path, revision=recipe.model_revision)
    # What transformers and tokenizers raise on files that are missing or damaged: of every type.
    except Exception as error:
        raise InputError(f"{name}: the processor cannot be loaded: {one_line(error)}") from error
    if not isinstance(processor.tokenizer, PreTrainedTokenizerFast):
        raise InputError(f"{name}: found {type(processor.tokenizer).__name__}, expected a fast tokenizer")
    return processor


def save_result(model: FusarKlipModel, processor: FusarKlipProcessor, recipe: KlipArguments, folder: Path) -> None:
    """Write the model in the recipe's ``save_dtype``, and the processor."""
    model.to(getattr(torch, recipe.save_dtype)).save_pretrained(folder)
    processor.save_pretrained(folder)
