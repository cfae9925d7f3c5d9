"""Model, processor and rows of a recipe of FUSAR-KLIP, in a trainer that is ready to run."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from datasets import Dataset
from datasets import config as datasets_config
from transformers import TrainingArguments, set_seed

from fusargpt.files import watching_disk
from modeling_fusarklip.processing_fusarklip import FusarKlipProcessor
from trl_recipes.data.feature_cache import FeatureCache
from trl_recipes.data.row_checks import LeftOut, keep_rows, used_rows
from trl_recipes.klip.arguments import KlipArguments
from trl_recipes.klip.checkpoint import load_classifier, load_model, load_processor
from trl_recipes.klip.classifier_arguments import ClassifierArguments
from trl_recipes.klip.classifier_rows import balanced_weights, find_labelled_problems, load_labelled
from trl_recipes.klip.classifier_trainer import ClassifierTrainer
from trl_recipes.klip.collator import ClassCollator, ImageCollator, KlipCollator
from trl_recipes.klip.epoch_trainer import EpochTrainer
from trl_recipes.klip.image_states import cache_image_states
from trl_recipes.klip.parameters import AnyFusarKlip, freeze
from trl_recipes.klip.row_checks import find_problems
from trl_recipes.klip.rows import Parts, load_parts, text_columns
from trl_recipes.klip.texts import TextEncoder
from trl_recipes.klip.trainer import KlipTrainer

AnyRecipe = KlipArguments | ClassifierArguments


def make_trainer(recipe: AnyRecipe, config: TrainingArguments) -> EpochTrainer:
    """Model, processor and data of a phase, or of a classifier, in a trainer that is ready to run."""
    set_seed(config.seed)
    processor = load_processor(recipe)
    names = [recipe.dataset_train_split, *([recipe.dataset_test_split] if config.eval_strategy != "no" else [])]
    if isinstance(recipe, KlipArguments):
        return _phase(recipe, config, processor, names)
    return _classifier(recipe, config, processor, names)


def _phase(
    recipe: KlipArguments, config: TrainingArguments, processor: FusarKlipProcessor, names: list[str]
) -> KlipTrainer:
    model = load_model(recipe, processor)
    freeze(model, recipe)
    encoder = TextEncoder(processor.tokenizer, model.config.max_text_tokens)
    with _reading_rows(config):
        parts = [load_parts(recipe, split) for split in names]
        columns = tuple(text_columns(recipe))
        read = _readable(
            recipe, names, parts, lambda name, rows: find_problems(rows, processor, encoder, columns, name)
        )
    states, splits = _states(recipe, config, model, processor, [rows for rows, _ in read])
    collators = [
        KlipCollator(recipe, processor, encoder, rows, states, _seed(config), training=place == 0)
        for place, rows in enumerate(splits)
    ]
    return KlipTrainer(**_given(recipe, config, model, processor, names, parts, read, collators))


def _classifier(
    recipe: ClassifierArguments, config: TrainingArguments, processor: FusarKlipProcessor, names: list[str]
) -> ClassifierTrainer:
    column = recipe.label_column
    with _reading_rows(config):
        classes, parts = load_labelled(recipe, names)
        read = _readable(recipe, names, parts, lambda name, rows: find_labelled_problems(rows, processor, column, name))
    weights = balanced_weights(read[0][0], column, len(classes)) if recipe.class_weights == "balanced" else None
    set_seed(config.seed)  # the head's, whatever reading the rows has drawn
    model = load_classifier(recipe, processor, classes)
    freeze(model, recipe)
    states, splits = _states(recipe, config, model, processor, [rows for rows, _ in read])
    collators = [
        ClassCollator(recipe, processor, column, rows, states, _seed(config), training=place == 0)
        for place, rows in enumerate(splits)
    ]
    given = _given(recipe, config, model, processor, names, parts, read, collators)
    return ClassifierTrainer(names=classes, class_weights=weights, **given)


@contextmanager
def _reading_rows(config: TrainingArguments) -> Generator[None]:
    cache = Path(datasets_config.HF_DATASETS_CACHE)
    remedy = "free some space, or set HF_DATASETS_CACHE to another folder"
    with (
        config.main_process_first(desc="checking rows"),
        watching_disk(cache, "datasets: the rows as datasets keeps them", None, remedy),
    ):
        yield


def _readable(
    recipe: AnyRecipe, names: list[str], parts: list[Parts], find: Callable[[str, Dataset], dict[int, str]]
) -> list[tuple[Dataset, list[LeftOut]]]:
    """The readable rows of each split, and what was left out of it."""
    return [
        keep_rows(some, split, find, recipe.unreadable, recipe.unreadable_share)
        for some, split in zip(parts, names, strict=True)
    ]


def _states(
    recipe: AnyRecipe,
    config: TrainingArguments,
    model: AnyFusarKlip,
    processor: FusarKlipProcessor,
    splits: list[Dataset],
) -> tuple[FeatureCache | None, list[Dataset]]:
    """Of the frozen layers, where they are kept, and the splits that name them instead of images."""
    if recipe.feature_cache is None:
        return None, splits
    limit = int(recipe.feature_cache_gib * 2**30)
    return cache_image_states(model, processor, Path(recipe.feature_cache), limit, config, splits)


def _seed(config: TrainingArguments) -> int:
    return config.seed if config.data_seed is None else config.data_seed


def _given(
    recipe: AnyRecipe,
    config: TrainingArguments,
    model: AnyFusarKlip,
    processor: FusarKlipProcessor,
    names: list[str],
    parts: list[Parts],
    read: list[tuple[Dataset, list[LeftOut]]],
    collators: Sequence[ImageCollator],
) -> dict[str, Any]:
    """What every trainer is given."""
    return {
        "recipe": recipe,
        "left_out": [some for _, left_out in read for some in left_out],
        "used": used_rows(names, parts, [left_out for _, left_out in read]),
        "model": model,
        "args": config,
        "collator": collators[0],
        "eval_collator": collators[1] if len(collators) == 2 else None,
        "processing_class": processor,
    }
