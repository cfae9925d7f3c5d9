"""Phases of FUSAR-KLIP from a recipe to a result: what moves, what is logged, what resumes, what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from fusargpt.errors import InputError
from tests.trl_recipes.klip.phases import klip_arguments, logged, weights, write_klip_base, write_klip_rows
from trl_recipes.klip import train
from trl_recipes.klip.arguments import parse
from trl_recipes.klip.parameters import part_of
from trl_recipes.klip.train import main, make_trainer

BELOW = ("vision_model.embeddings.", "vision_model.encoder.layers.0.")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("klip")
    write_klip_base(folder)
    write_klip_rows(folder / "data")
    return folder


def moved(folder: Path, output_dir: Path) -> set[str]:
    before, after = weights(folder / "base"), weights(output_dir)
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_a_contrast_moves_what_it_reads_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    main(klip_arguments(folder, tmp_path / "p0", frozen="below_geography", feature_cache=tmp_path / "states"))
    changed = moved(folder, tmp_path / "p0")
    assert {part_of(name) for name in changed} == {"TLM", "acquisition", "image tower", "text tower", "projections"}
    assert not [name for name in changed if name.startswith((*BELOW, "itm_head.", "word_head.")) or "cross" in name]
    assert [name for name in changed if name.startswith("vision_model.encoder.layers.1.")]
    assert set(logged(tmp_path / "p0")[0]) >= {"itc", "temperature", "images_per_second"}
    assert (tmp_path / "p0" / "curves.png").stat().st_size > 0


def test_matching_and_reconstruction_move_the_rest_and_are_logged(folder: Path, tmp_path: Path) -> None:
    fields = {"itm": 1.0, "mlm": 1.0, "match_share": 0.5, "frozen": "tower", "save_dtype": "bfloat16"}
    main(klip_arguments(folder, tmp_path / "p1", **fields))
    changed = {part_of(name) for name in moved(folder, tmp_path / "p1")}
    assert changed >= {"TLM", "text tower", "projections", "matching"}
    entry = logged(tmp_path / "p1")[0]
    assert entry["loss"] == pytest.approx(entry["itc"] + entry["itm"] + entry["mlm"], rel=1e-4)
    assert 0 < entry["itm_base_rate"] <= 0.6932 and 0 <= entry["itm_accuracy"] <= 1
    saved = json.loads((tmp_path / "p1" / "config.json").read_text())
    assert saved["dtype"] == "bfloat16" and saved["losses_config"]["match_share"] == 0.5


def test_a_frozen_tower_stands_still(folder: Path, tmp_path: Path) -> None:
    main(klip_arguments(folder, tmp_path / "out", frozen="tower", prior="none", acquisition=False))
    assert {part_of(name) for name in moved(folder, tmp_path / "out")} == {"text tower", "projections"}


def test_the_tower_may_be_slower_and_the_prior_faster(folder: Path, tmp_path: Path) -> None:
    fields = {"vision_learning_rate_ratio": 0.25, "prior_learning_rate_ratio": 10.0, "weight_decay": 0.1}
    trainer = make_trainer(*parse(klip_arguments(folder, tmp_path / "out", **fields)))
    optimizer = trainer.create_optimizer()
    rates: dict[str, float] = {}
    names = {parameter: name for name, parameter in trainer.model.named_parameters()}
    for group in optimizer.param_groups:
        rates |= {names[parameter]: group["lr"] for parameter in group["params"]}
        assert group["weight_decay"] == 0 or "temperature" not in {names[parameter] for parameter in group["params"]}
    assert rates["vision_model.encoder.layers.1.mlp.fc1.weight"] == 0.25e-2
    assert rates["vision_model.tlm.input_projection.weight"] == rates["vision_model.tlm.output_bias"] == 1e-1
    assert rates["vision_model.acquisition.sensor.weight"] == rates["text_proj.weight"] == 1e-2
    assert set(rates) == {name for name, parameter in trainer.model.named_parameters() if parameter.requires_grad}


def test_cached_states_train_as_images_do(folder: Path, tmp_path: Path) -> None:
    # Kept in bfloat16, so not to the last bit.
    fields = {"frozen": "below_geography", "max_steps": 4}
    main(klip_arguments(folder, tmp_path / "images", **fields))
    main(klip_arguments(folder, tmp_path / "states", **fields, feature_cache=tmp_path / "cache"))
    images, states = ([entry["loss"] for entry in logged(tmp_path / name)] for name in ("images", "states"))
    assert states == pytest.approx(images, rel=2e-2) and states != images


def test_a_short_run_learns_which_text_belongs_to_which_image(folder: Path, tmp_path: Path) -> None:
    main(klip_arguments(folder, tmp_path / "out", max_steps=40, learning_rate=3e-3, prior_dropout=0.0, warmup_steps=5))
    losses = [entry["itc"] for entry in logged(tmp_path / "out")]
    assert sum(losses[-5:]) / 5 < sum(losses[:5]) / 5 - 0.3


def test_a_logical_batch_is_one_batch_however_it_is_computed(folder: Path, tmp_path: Path) -> None:
    main(
        klip_arguments(
            folder,
            tmp_path / "whole",
            per_device_train_batch_size=12,
            acquisition_dropout=0.0,
            acquisition_field_dropout=0.0,
        )
    )
    main(
        klip_arguments(
            folder,
            tmp_path / "passes",
            per_device_train_batch_size=4,
            logical_batch_size=12,
            acquisition_dropout=0.0,
            acquisition_field_dropout=0.0,
        )
    )
    whole, passes = (logged(tmp_path / name) for name in ("whole", "passes"))
    assert [entry["itc"] for entry in passes] == pytest.approx([entry["itc"] for entry in whole], rel=1e-4)
    assert passes[0]["grad_norm"] == pytest.approx(whole[0]["grad_norm"], rel=1e-4)


def test_evaluations_say_the_parts_too_and_change_nothing(folder: Path, tmp_path: Path) -> None:
    fields = {"itm": 1.0, "mlm": 1.0, "max_steps": 4}
    main(klip_arguments(folder, tmp_path / "without", **fields))
    main(
        klip_arguments(
            folder, tmp_path / "with", **fields, eval_strategy="steps", eval_steps=1, dataset_test_split="train[:6]"
        )
    )
    assert [entry["loss"] for entry in logged(tmp_path / "with")] == [
        entry["loss"] for entry in logged(tmp_path / "without")
    ]
    history = json.loads((tmp_path / "with" / "trainer_state.json").read_text())["log_history"]
    assert len([entry for entry in history if {"eval_loss", "eval_itc", "eval_itm", "eval_mlm"} <= set(entry)]) == 4


def test_plain_captions_train_too(folder: Path, tmp_path: Path) -> None:
    from datasets import Dataset, Features, Image, Value

    from tests.trl_recipes.klip.phases import klip_row

    rows = [
        {"image": klip_row(seed)["image"], "caption": f"{seed % 3 + 2} ships in the upper left"} for seed in range(8)
    ]
    features = Features({"image": Image(), "caption": Value("string")})
    (tmp_path / "captions").mkdir()
    Dataset.from_list(rows, features=features).to_parquet(tmp_path / "captions" / "train.parquet")
    fields = {"dataset_name": tmp_path / "captions", "texts": "caption", "prior": "none", "acquisition": False}
    main(klip_arguments(folder, tmp_path / "out", **fields, itm=1.0, mlm=1.0))
    assert {"itc", "itm", "mlm"} <= set(logged(tmp_path / "out")[0])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"learning_rat": 1.0}, "learning_rat"),
        ({"system": "fusar-gpt"}, "system: found 'fusar-gpt', expected one of fusar-klip"),
        ({"itc": 0.0}, "found 0 for each; expected one loss"),
        ({"itm": -1.0}, "itm: found -1.0, expected 0 or a positive weight"),
        ({"match_share": 0.5}, "match_share: found 0.5, which has no effect without itm above 0"),
        ({"itm": 1.0, "match_share": 0.0}, "match_share: found 0.0, expected a share above 0"),
        ({"word_share": 0.5}, "word_share: found 0.5, which has no effect without mlm or lm above 0"),
        ({"lm": 1.0, "word_share": 1.5}, "word_share: found 1.5, expected a share above 0"),
        ({"prior": "none", "prior_dropout": 0.1}, "prior_dropout: found 0.1, which has no effect without prior: true"),
        ({"prior_dropout": 1.5}, "prior_dropout: found 1.5, expected a share from 0 to 1"),
        ({"caption_column": "text"}, "caption_column: found 'text', which has no effect without texts: caption"),
        ({"feature_cache": "x"}, "feature_cache: found x with frozen: none"),
        ({"feature_cache": "x", "frozen": "tower", "mim": 1.0}, "mim: found 1.0 with feature_cache"),
        ({"frozen": "tower", "vision_learning_rate_ratio": 0.5}, "vision_learning_rate_ratio: found 0.5, which has no"),
        ({"vision_learning_rate_ratio": 0.0}, "vision_learning_rate_ratio: found 0.0, expected more than 0"),
        ({"prior_learning_rate_ratio": -1.0}, "prior_learning_rate_ratio: found -1.0, expected more than 0"),
        ({"prior": "none", "prior_learning_rate_ratio": 2.0}, "prior_learning_rate_ratio: found 2.0, which has no"),
        ({"logical_batch_size": 8}, "logical_batch_size: found 8, expected a multiple of per_device_train"),
        ({"gradient_accumulation_steps": 2}, "gradient_accumulation_steps: found 2, expected 1: a contrast knows no"),
        ({"dataset_test_split": "test"}, "dataset_test_split: found 'test' without evaluations"),
        ({"dataset_name": "/no/such/folder"}, "dataset_name: /no/such/folder, split train, cannot be loaded"),
        ({"model_name_or_path": "nowhere"}, "model_name_or_path: nowhere: there is no such folder"),
        ({"texts": "caption"}, "has no column caption"),
        ({"texts": "caption", "caption_column": "description"}, "column description: found {.*, expected texts"),
    ],
)  # fmt: skip
def test_what_a_recipe_cannot_mean_is_refused(
    folder: Path, tmp_path: Path, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        make_trainer(*parse(klip_arguments(folder, tmp_path / "out", **fields)))


BAD_ROWS: list[tuple[dict[str, Any], str]] = [
    ({"image": {"bytes": b"not an image", "path": None}}, "row 11: image: not a PNG, JPEG or TIFF image"),
    ({"prior_positions": None}, "row 11: prior_positions: found nothing beside the other prior column"),
    ({"prior_positions": [[0.5, 2.0]] * 4}, r"row 11: prior\['prior_positions'\]: found values from 0.5 to 2"),
    ({"description": None, "target_description": None}, "row 11: description: found nothing but roads"),
    ({"polarization": "upright"}, r"row 11: \['polarization'\]: found 'upright', expected None or one of HH"),
    ({"acquired": "in June"}, r"row 11: \['acquired'\]: found 'in June', expected a date"),
    ({"description": {"terrain": " "}}, "row 11: terrain: found an empty phrase"),
    (
        {"description": {"terrain": "water " * 300}},
        r"row 11: two parts of its texts have \d+ tokens, expected at most 192",
    ),
]


@pytest.mark.parametrize(("replaced", "message"), BAD_ROWS)
def test_bad_rows_are_named_or_left_out(folder: Path, tmp_path: Path, replaced: dict[str, Any], message: str) -> None:
    if "description" in replaced and replaced["description"] is not None:
        from tests.trl_recipes.klip.phases import scenes

        replaced = {"description": dict.fromkeys(scenes()[0][0]) | replaced["description"]}
    data = write_klip_rows(tmp_path / "data", **replaced)
    with pytest.raises(InputError, match=message):
        make_trainer(*parse(klip_arguments(folder, tmp_path / "out", dataset_name=data)))
    skip = {"unreadable": "skip", "unreadable_share": 0.1}
    trainer = make_trainer(*parse(klip_arguments(folder, tmp_path / "out", dataset_name=data, **skip)))
    assert len(trainer.sampler) == 11 and list(trainer.left_out[0].problems) == [11]


@pytest.mark.parametrize(
    "batch", [{"per_device_train_batch_size": 16}, {"per_device_train_batch_size": 4, "logical_batch_size": 16}]
)
def test_fewer_rows_than_a_batch_are_refused(folder: Path, tmp_path: Path, batch: dict[str, Any]) -> None:
    """transformers would warn, take no step, and leave the model as it was."""
    fields = {**batch, "dataloader_drop_last": True, "max_steps": 1}
    with pytest.raises(InputError, match="found 12 rows, expected at least a batch of all processes, 16"):
        main(klip_arguments(folder, tmp_path / "out", **fields))


def test_a_finished_phase_is_not_overwritten(folder: Path, tmp_path: Path) -> None:
    command = klip_arguments(folder, tmp_path / "out", max_steps=1)
    main(command)
    with pytest.raises(FileExistsError, match="holds a finished stage"):
        main(command)
    assert train.checkpoint_to_resume(tmp_path / "out", resume=False) is None
