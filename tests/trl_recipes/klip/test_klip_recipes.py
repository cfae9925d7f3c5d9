"""Every recipe of FUSAR-KLIP parses, and takes steps on weights that are small."""

from pathlib import Path

import pytest
from transformers import BlipProcessor

from fusargpt.cli import train as command
from modeling_fusarklip import FusarKlipForImageClassification, FusarKlipModel
from tests.modeling_fusarklip.tiny_klip import plain_blip
from tests.paths import RECIPES
from tests.trl_recipes.klip.chips import NAMES, write_chips
from tests.trl_recipes.klip.phases import (
    klip_arguments,
    klip_processor,
    logged,
    tiny_klip_model,
    write_klip_base,
    write_klip_rows,
)
from trl_recipes.klip.classifier_arguments import ClassifierArguments
from trl_recipes.klip.train import parse_any

FILES = sorted(RECIPES.glob("klip/**/*.yaml"))
# A recipe for a GPU runs on what there is.
SMALL = {
    "use_cpu": "true",
    "bf16": "false",
    "max_steps": "1",
    "per_device_train_batch_size": "3",
    "dataloader_num_workers": "0",
    "warmup_steps": "0",
    "save_strategy": "no",
    "disable_tqdm": "true",
}


def given(**fields: object) -> list[str]:
    return [part for name, value in fields.items() for part in (f"--{name}", str(value))]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(RECIPES).as_posix())
def test_recipes_parse_and_say_why(path: Path) -> None:
    recipe, config = parse_any([str(path), "--use_cpu", "true", "--bf16", "false"])
    assert recipe.resume and config.learning_rate > 0
    if isinstance(recipe, ClassifierArguments):
        assert config.load_best_model_at_end and recipe.dataset_test_split == "validation"
        return
    assert recipe.itc == 1.0 and (recipe.itm > 0) == (recipe.mlm > 0) == (path.stem in ("p1", "p1_wide", "scio"))


@pytest.mark.parametrize("place", ["", "nano/"], ids=["base", "nano"])
def test_the_phases_of_a_size_follow_each_other(place: str, tmp_path: Path) -> None:
    # The base begins with a BLIP for retrieval, as it is published.
    model = tiny_klip_model()
    start = plain_blip(model) if not place else model
    start.save_pretrained(tmp_path / "start")
    processor = klip_processor()
    parent = BlipProcessor(processor.image_processor, processor.tokenizer) if not place else processor
    parent.save_pretrained(tmp_path / "start")
    write_klip_rows(tmp_path / "data")
    fields: dict[str, object] = {**SMALL, "dataset_name": tmp_path / "data", "dataset_config": "default"}
    fields |= {"logical_batch_size": 6} if not place else {"feature_cache": tmp_path / "states"}
    for phase, before in (("p0", "start"), ("p1", "p0")):
        folders = {"model_name_or_path": tmp_path / before, "output_dir": tmp_path / phase}
        command.main([str(RECIPES / "klip" / place / f"{phase}.yaml"), *given(**fields, **folders)])
        assert logged(tmp_path / phase) or (tmp_path / phase / "trainer_state.json").is_file()
    result = FusarKlipModel.from_pretrained(tmp_path / "p1")
    assert result.config.losses.itm == 1.0


def test_a_classifier_follows_by_the_same_command(tmp_path: Path) -> None:
    write_klip_base(tmp_path)
    write_chips(tmp_path / "chips")
    fields: dict[str, object] = {
        **SMALL,
        "save_strategy": "steps",
        "save_steps": "1",
        "eval_strategy": "steps",
        "eval_steps": "1",
        "feature_cache": tmp_path / "states",
        "dataset_name": tmp_path / "chips",
        "model_name_or_path": tmp_path / "base",
        "output_dir": tmp_path / "tuned",
    }
    command.main([str(RECIPES / "klip" / "nano" / "classify.yaml"), *given(**fields)])
    assert FusarKlipForImageClassification.from_pretrained(tmp_path / "tuned").config.num_labels == len(NAMES)


def test_a_recipe_of_another_system_is_refused(tmp_path: Path) -> None:
    path = klip_arguments(tmp_path, tmp_path / "out", system="clip")
    with pytest.raises(ValueError, match="system: found 'clip', expected one of fusar-klip"):
        command.main(path)
