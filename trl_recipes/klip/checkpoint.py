"""What a run starts from and what it leaves: FUSAR-KLIP, whole or a classifier; or a BLIP for retrieval."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar, cast

import torch
from transformers import BlipConfig, PreTrainedTokenizerFast

from fusargpt.errors import InputError, one_line
from fusargpt.inference.faces import LoadingReport
from modeling_fusargpt.artefacts import HUB_ID
from modeling_fusarklip.configuration_fusarklip import FusarKlipConfig
from modeling_fusarklip.modeling_fusarklip import FusarKlipForImageClassification, FusarKlipModel
from modeling_fusarklip.processing_fusarklip import FusarKlipProcessor
from trl_recipes.klip.arguments import KlipArguments
from trl_recipes.klip.classifier_arguments import ClassifierArguments
from trl_recipes.klip.image_arguments import ImageArguments
from trl_recipes.klip.parameters import AnyFusarKlip

Model = TypeVar("Model", FusarKlipModel, FusarKlipForImageClassification)
CLASSIFIER = FusarKlipForImageClassification.__name__

MAX_TEXT_TOKENS = 256  # of a base: eight parts are up to 190 tokens
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


def load_model(recipe: KlipArguments, processor: FusarKlipProcessor) -> FusarKlipModel:
    """The model of ``model_name_or_path`` in float32, with the recipe's losses.

    Args:
        recipe: of the phase.
        processor: beside the model; one of BLIP learns here how long a text may be.

    Raises:
        InputError: for no model, one of another kind, or weights that do not fit.
    """
    config = _read_config(recipe, processor)
    if CLASSIFIER in (config.architectures or ()):
        raise InputError(
            f"model_name_or_path: {recipe.model_name_or_path}: found a classifier, expected a FUSAR-KLIP with its texts"
        )
    shares = ("match_share", "hard_negatives", "word_share")
    for loss in ("itc", "itm", "mlm", "lm", "mim", "contrastive", *shares):
        setattr(config.losses, loss, vars(recipe)[loss])
    return _load(FusarKlipModel, recipe, config, NEW_PARTS)


def load_classifier(
    recipe: ClassifierArguments, processor: FusarKlipProcessor, names: Sequence[str]
) -> FusarKlipForImageClassification:
    """The image tower of ``model_name_or_path`` in float32, with a new head or the one that tells these classes apart.

    Args:
        recipe: of the run.
        processor: as of `load_model`.
        names: of the classes, by their numbers.

    Raises:
        InputError: as `load_model`, and for a classifier of other classes.
    """
    config = _read_config(recipe, processor)
    new = NEW_PARTS
    if CLASSIFIER in (config.architectures or ()):
        found = [name for _, name in sorted((config.id2label or {}).items())]
        if found != list(names):
            raise InputError(
                f"model_name_or_path: {recipe.model_name_or_path}: found a classifier of {', '.join(found)}; expected "
                f"the classes of the data, {', '.join(names)}, or a FUSAR-KLIP, whose head begins anew"
            )
    else:
        new += ("classifier.",)
    config.classifier_inputs = [
        *(["prior"] if recipe.prior == "true" else []),
        *(["acquisition"] if recipe.acquisition else []),
    ]
    config.id2label = dict(enumerate(names))
    config.label2id = {name: number for number, name in enumerate(names)}
    return _load(FusarKlipForImageClassification, recipe, config, new)


def _load(kind: type[Model], recipe: ImageArguments, config: FusarKlipConfig, new_parts: tuple[str, ...]) -> Model:
    """With `new_parts` as they begin where the folder does not have them."""
    name = f"model_name_or_path: {recipe.model_name_or_path}"
    config.geography.drop_field = recipe.acquisition_field_dropout
    config.geography.drop_all = recipe.acquisition_dropout
    try:
        model, report = cast(
            tuple[Model, LoadingReport],
            kind.from_pretrained(
                recipe.model_name_or_path,
                config=config,
                revision=recipe.model_revision,
                dtype=torch.float32,
                use_safetensors=True,
                output_loading_info=True,
            ),
        )
    # No such folder or repository, no network, damaged files, sizes that differ: of every type.
    except Exception as error:
        raise InputError(f"{name}: the model cannot be loaded: {one_line(error)}") from error
    missing = sorted(key for key in report["missing_keys"] if not key.startswith(new_parts))
    unexpected = sorted(report["unexpected_keys"])
    if missing or unexpected:
        raise InputError(
            f"{name}: found no weights for {missing[:3]} ({len(missing)} in all), and weights that the model does not "
            f"have {unexpected[:3]} ({len(unexpected)} in all); expected those of FUSAR-KLIP or of BLIP for retrieval"
        )
    return model


def _read_config(recipe: ImageArguments, processor: FusarKlipProcessor) -> FusarKlipConfig:
    """Of the model. What BLIP does not say follows from its tokenizer and positions; InputError for none."""
    name, tokenizer = recipe.model_name_or_path, processor.tokenizer
    try:
        fields, _ = FusarKlipConfig.get_config_dict(name, revision=recipe.model_revision)
        if fields.get("model_type") == BlipConfig.model_type:
            positions = FusarKlipConfig.from_dict({**fields, "max_text_tokens": 3}).text.max_position_embeddings
            fields |= {"mask_token_id": tokenizer.mask_token_id, "max_text_tokens": min(MAX_TEXT_TOKENS, positions)}
        config = FusarKlipConfig.from_dict(fields)
        if config.mask_token_id != tokenizer.mask_token_id:
            raise InputError(
                f"mask_token_id: found {config.mask_token_id}, expected the tokenizer's, {tokenizer.mask_token_id}; "
                "mend config.json"
            )
    # No such folder or repository, no network, a damaged file, values that a field does not take: of every type.
    except Exception as error:
        raise InputError(f"model_name_or_path: {name}: the model cannot be loaded: {one_line(error)}") from error
    processor.max_text_tokens = config.max_text_tokens
    return config


def load_processor(recipe: ImageArguments) -> FusarKlipProcessor:
    """The processor of ``model_name_or_path``; InputError for none, or one whose tokenizer is not a fast one."""
    name = f"model_name_or_path: {recipe.model_name_or_path}"
    folder = Path(recipe.model_name_or_path)
    if not folder.exists() and not HUB_ID.fullmatch(recipe.model_name_or_path):
        raise InputError(
            f"{name}: there is no such folder, and it is no Hub id (owner/name); run the phase that makes it first"
        )
    if folder.is_dir() and not (folder / "config.json").is_file():
        found = ", ".join(sorted(path.name for path in folder.iterdir())) or "nothing"
        raise InputError(f"{name}: found {found}; expected config.json. Has the phase that makes it run to its end?")
    try:
        processor = FusarKlipProcessor.from_pretrained(recipe.model_name_or_path, revision=recipe.model_revision)
    # What transformers and tokenizers raise on files that are missing or damaged: of every type.
    except Exception as error:
        raise InputError(f"{name}: the processor cannot be loaded: {one_line(error)}") from error
    if not isinstance(processor.tokenizer, PreTrainedTokenizerFast):
        raise InputError(f"{name}: found {type(processor.tokenizer).__name__}, expected a fast tokenizer")
    return processor


def save_result(model: AnyFusarKlip, processor: FusarKlipProcessor, recipe: ImageArguments, folder: Path) -> None:
    """Write the model in the recipe's ``save_dtype``, and the processor."""
    model.config.use_cache = True  # which Trainer has switched off, and captions are written with
    model.to(getattr(torch, recipe.save_dtype)).save_pretrained(folder)
    processor.save_pretrained(folder)
