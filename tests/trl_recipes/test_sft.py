"""Both stages through the real SFTTrainer on a tiny model: what moves, what does not, what is left."""

import json
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
from trl.trainer.sft_config import SFTConfig

from fusargpt.conversion.model_card import sections_of
from fusargpt.errors import InputError
from modeling_fusargpt import AnyFusarGpt, FusarGptForConditionalGeneration, FusarGptModel, FusarGptProcessor
from tests.tiny import MERGE_SIZE, PATCH_SIZE, tiny_config, tiny_model, tiny_processor
from tests.trl_recipes.stages import arguments, write_base
from tests.trl_recipes.triplets import write_triplets
from trl_recipes.arguments import parse
from trl_recipes.model.checkpoint import load_model
from trl_recipes.model.parameters import part_of
from trl_recipes.sft import load_split, main, make_trainer, run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory):
    """A folder with a tiny model in base/, whose TLM is not the identity, and triplets in data/ and messages/."""
    folder = tmp_path_factory.mktemp("stages")
    write_base(folder)
    write_triplets(folder / "data")
    write_triplets(folder / "messages", kind="messages")
    return folder


def moved(before: AnyFusarGpt, after: AnyFusarGpt) -> set[str]:
    """The parts of the model in which any parameter is not bit-identical."""
    state = dict(before.named_parameters())
    return {part_of(name) for name, value in after.named_parameters() if not torch.equal(value, state[name])}


def load(path: Path) -> FusarGptForConditionalGeneration:
    return FusarGptForConditionalGeneration.from_pretrained(path, dtype="float32")


def inner(trainer: Any) -> FusarGptModel:
    plain = trainer.accelerator.unwrap_model(trainer.model)
    return cast(Any, plain.get_base_model() if isinstance(plain, PeftModel) else plain).model


def test_stage_1_moves_the_tlm_and_nothing_else(folder: Path, tmp_path: Path):
    main(arguments(folder, tmp_path / "out", train="tlm"))
    before, after = load(folder / "base"), load(tmp_path / "out")
    assert moved(before, after) == {"TLM"}
    for (name, old), new in zip(before.model.tlm.named_parameters(), after.model.tlm.parameters(), strict=True):
        assert not torch.equal(old, new), name


def test_one_process_does_not_spread_a_batch_over_gpus(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(SFTConfig, "n_gpu", 2)
    with pytest.raises(InputError, match="found one process with 2 GPUs, expected one GPU each; set CUDA_VISIBLE"):
        main(arguments(folder, tmp_path / "out", train="tlm"))


def test_stage_1_with_lora_moves_both_and_nothing_else(folder: Path, tmp_path: Path):
    trainer = make_trainer(*parse(arguments(folder, tmp_path / "out", train="tlm+lora")))
    before = {name: value.clone() for name, value in trainer.model.named_parameters()}
    trainer.train()
    changed = {name for name, value in trainer.model.named_parameters() if not torch.equal(value, before[name])}
    adapted = {name.split(".lora_")[0].split(".")[-1] for name in changed if "lora_B" in name}
    assert adapted == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert sum("lora_B" in name for name in changed) == sum("lora_B" in name for name in before)
    assert {part_of(name) for name in changed} == {"LoRA", "TLM"}
    assert all("language_model" in name for name in changed if "lora_" in name)
    assert not [name for name in changed if "original_module" in name]


def test_stage_2_moves_lora_and_nothing_else(folder: Path, tmp_path: Path):
    trainer = make_trainer(*parse(arguments(folder, tmp_path / "out", train="lora")))
    before = {name: value.clone() for name, value in trainer.model.named_parameters()}
    trainer.train()
    changed = {name for name, value in trainer.model.named_parameters() if not torch.equal(value, before[name])}
    assert changed and {part_of(name) for name in changed} == {"LoRA"}


@pytest.mark.parametrize(
    ("train", "expected"),
    [
        ("all", {"vision tower", "merger", "language model", "lm_head"}),
        ("language", {"language model", "lm_head"}),
    ],
)
def test_pre_training_moves_the_backbone_and_leaves_the_tlm(
    folder: Path, tmp_path: Path, train: str, expected: set[str]
):
    main(arguments(folder, tmp_path / "out", train=train, prior="none", dataset_name=folder / "messages"))
    before, after = load(folder / "base"), load(tmp_path / "out")
    assert moved(before, after) == expected


def test_a_run_shorter_than_its_logging_steps_has_a_curve(folder: Path, tmp_path: Path):
    main(arguments(folder, tmp_path / "out", train="tlm", max_steps=3, logging_steps=25))
    history = json.loads((tmp_path / "out" / "trainer_state.json").read_text())["log_history"]
    assert [entry["step"] for entry in history if "loss" in entry] == [1, 2, 3]
    assert (tmp_path / "out" / "curves.png").is_file()


def test_the_vision_tower_learns_at_its_own_rate(folder: Path, tmp_path: Path):
    fields = {"train": "all", "prior": "none", "vision_learning_rate_ratio": 0.25}
    trainer = make_trainer(*parse(arguments(folder, tmp_path / "out", **fields)))
    names = {parameter: name for name, parameter in trainer.model.named_parameters()}
    groups = trainer.create_optimizer().param_groups
    rates = {part_of(names[parameter]): group["lr"] for group in groups for parameter in group["params"]}
    assert rates["vision tower"] == pytest.approx(2.5e-3)
    assert rates["merger"] == rates["language model"] == pytest.approx(1e-2)
    assert sum(len(group["params"]) for group in groups) == sum(p.requires_grad for p in trainer.model.parameters())


def test_muon_moves_the_matrices_of_the_layers_alone(folder: Path, tmp_path: Path):
    fields = {"train": "language", "prior": "none", "matrix_learning_rate": 0.02}
    trainer = make_trainer(*parse(arguments(folder, tmp_path / "out", **fields)))
    names = {parameter: name for name, parameter in trainer.model.named_parameters()}
    muon, *adamw = trainer.create_optimizer().param_groups
    matrices = {name for name in names.values() if "language_model.layers" in name and name.endswith("proj.weight")}
    assert {names[parameter] for parameter in muon["params"]} == matrices
    assert (muon["lr"], {group["lr"] for group in adamw}) == (0.02, {1e-2})
    moved = sum(len(group["params"]) for group in (muon, *adamw))
    assert moved == sum(parameter.requires_grad for parameter in trainer.model.parameters())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"train": "tlm"}, "matrix_learning_rate: found 0.02 with train: tlm, expected more than 0, with train: lang"),
        ({"train": "language", "optim": "sgd"}, "optim: found sgd with matrix_learning_rate, expected adamw_torch"),
    ],
)
def test_muon_is_refused_where_it_would_do_nothing(folder: Path, tmp_path: Path, fields: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        make_trainer(
            *parse(arguments(folder, tmp_path / "out", matrix_learning_rate=0.02, **fields))
        ).create_optimizer()


def test_the_table_before_the_first_step_counts_what_is_trained(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    main(arguments(folder, tmp_path / "out", train="tlm"))
    rows = {line[:16].strip(): line[16:].split() for line in capsys.readouterr().out.splitlines() if line[32:].strip()}
    model = load(folder / "base")
    tlm = f"{sum(parameter.numel() for parameter in model.model.tlm.parameters()):,}"
    assert rows["TLM"] == [tlm, tlm]
    assert rows["vision tower"][1] == rows["language model"][1] == "frozen"
    assert rows["all"] == [f"{sum(parameter.numel() for parameter in model.parameters()):,}", tlm]


def test_the_prior_reaches_the_loss(folder: Path, tmp_path: Path):
    trainer = make_trainer(*parse(arguments(folder, tmp_path / "out", train="tlm")))
    batch = next(iter(trainer.get_train_dataloader()))
    with torch.no_grad():
        given = cast(torch.Tensor, trainer.compute_loss(trainer.model, dict(batch)))
        without = {name: value for name, value in batch.items() if not name.startswith("prior")}
        absent = cast(torch.Tensor, trainer.compute_loss(trainer.model, without))
    assert not torch.isclose(given, absent, rtol=1e-4)


def test_bfloat16_autocast_and_workers_train_on_the_cpu(folder: Path, tmp_path: Path):
    main(arguments(folder, tmp_path / "out", train="tlm", bf16=True, dataloader_num_workers=1))
    assert moved(load(folder / "base"), load(tmp_path / "out")) == {"TLM"}


@pytest.mark.slow
@pytest.mark.parametrize("train", ["tlm", "lora"])
def test_activation_checkpointing_trains_to_the_same_weights(folder: Path, tmp_path: Path, train: str):
    for checkpointing in (False, True):
        fields = {"train": train, "activation_checkpointing": checkpointing}
        main(arguments(folder, tmp_path / f"{checkpointing}", **fields))
    plain, checkpointed = load(tmp_path / "False"), load(tmp_path / "True")
    for (name, value), other in zip(plain.named_parameters(), checkpointed.parameters(), strict=True):
        torch.testing.assert_close(value, other, msg=name)


@pytest.mark.parametrize(("train", "backward"), [("tlm", False), ("lora", False), ("all", True)])
def test_gradients_go_through_a_tower_that_is_trained_and_no_other(
    folder: Path, tmp_path: Path, train: str, backward: bool
):
    fields = {"train": train, "prior": "none" if train == "all" else "true", "activation_checkpointing": True}
    trainer = make_trainer(*parse(arguments(folder, tmp_path / "out", **fields)))
    reached = []
    tower = inner(trainer).visual
    tower.register_forward_hook(lambda *call: reached.append(call[2].pooler_output.requires_grad))
    trainer.train()
    assert reached == [backward] * 2


def test_a_bfloat16_model_trains_in_float32_and_is_saved_as_it_was(folder: Path, tmp_path: Path):
    recipe, config = parse(arguments(folder, tmp_path / "out", train="tlm+lora", dtype="bfloat16", bf16=True))
    trainer = make_trainer(recipe, config)
    types = {parameter.requires_grad: parameter.dtype for parameter in trainer.model.parameters()}
    assert types == {True: torch.float32, False: torch.bfloat16}
    run(recipe, config)
    saved = load_file(tmp_path / "out" / "model.safetensors")
    assert {tensor.dtype for tensor in saved.values()} == {torch.bfloat16}


def test_evaluation_reads_the_test_split(folder: Path, tmp_path: Path):
    fields = {"train": "tlm", "eval_strategy": "steps", "eval_steps": 1, "dataset_test_split": "train[:3]"}
    main(arguments(folder, tmp_path / "out", **fields))
    history = json.loads((tmp_path / "out" / "trainer_state.json").read_text())["log_history"]
    assert len([entry for entry in history if "eval_loss" in entry]) == 2


def test_images_are_squeezed_in_training_and_by_what_the_stage_leaves(folder: Path, tmp_path: Path):
    side = 2 * PATCH_SIZE * MERGE_SIZE
    run(*parse(arguments(folder, tmp_path / "out", train="lora", save="trained", image_size=side)))
    assert FusarGptProcessor.from_pretrained(tmp_path / "out").image_size == side
    assert FusarGptProcessor.from_pretrained(folder / "base").image_size is None
    with pytest.raises(InputError, match="image_size: found 9, which the image processor would resize once more"):
        make_trainer(*parse(arguments(folder, tmp_path / "other", train="lora", image_size=9)))


def test_a_dataset_that_is_not_there_is_named_with_its_split(folder: Path, tmp_path: Path):
    with pytest.raises(InputError, match=r"dataset_name: .*nowhere, split train, cannot be loaded"):
        main(arguments(folder, tmp_path / "out", train="tlm", dataset_name=tmp_path / "nowhere"))


@pytest.mark.parametrize("column", ["prior_embeddings", "prior_positions", "image", "completion"])
def test_a_dataset_without_a_column_raises_and_names_it(folder: Path, tmp_path: Path, column: str):
    data = write_triplets(tmp_path / "data", rows=2, without=(column,))
    recipe, _ = parse(arguments(folder, tmp_path / "out", train="tlm", dataset_name=data))
    with pytest.raises(ValueError, match=f"has no column {column}"):
        load_split(recipe, "train")


def test_datasets_are_concatenated(folder: Path, tmp_path: Path):
    more = write_triplets(tmp_path / "more", rows=3)
    recipe, _ = parse(arguments(folder, tmp_path / "out", train="tlm", dataset_name=[str(folder / "data"), str(more)]))
    assert len(load_split(recipe, "train")) == 8 + 3


@pytest.mark.slow
@pytest.mark.parametrize("save", ["full", "trained"])
@pytest.mark.parametrize("first", ["tlm", "tlm+lora"])
def test_stages_chain_whatever_they_save(folder: Path, tmp_path: Path, first: str, save: str):
    main(arguments(folder, tmp_path / "one", train=first, save=save))
    main(arguments(folder, tmp_path / "two", train="lora", save=save, model_name_or_path=tmp_path / "one"))
    base, one, two = load(folder / "base"), load_model(str(tmp_path / "one")), load_model(str(tmp_path / "two"))
    assert moved(base, one) == {"TLM"} | ({"language model"} if first == "tlm+lora" else set())
    assert moved(one, two) == {"language model"}  # LoRA, merged


def test_saving_the_trained_part_alone_writes_no_backbone(folder: Path, tmp_path: Path):
    fields = {"train": "tlm", "save": "trained", "save_strategy": "steps", "save_steps": 1}
    main(arguments(folder, tmp_path / "out", **fields))
    weights = sorted(path.relative_to(tmp_path / "out").as_posix() for path in tmp_path.glob("out/**/*.safetensors"))
    assert weights == ["checkpoint-1/tlm.safetensors", "checkpoint-2/tlm.safetensors", "tlm.safetensors"]
    assert all(name.startswith("tlm.") for name in load_file(tmp_path / "out" / "tlm.safetensors"))
    assert json.loads((tmp_path / "out" / "config.json").read_text())["base_model_name_or_path"] == str(folder / "base")


@pytest.mark.slow
@pytest.mark.parametrize(
    "learning",
    [
        {"train": "tlm", "save": "full"},
        {"train": "tlm", "save": "trained"},
        {"train": "tlm+lora", "save": "trained"},
        {"train": "all", "save": "full"},
        {"train": "language", "save": "full"},
        {"train": "language", "save": "full", "prior": "none", "matrix_learning_rate": 2e-3},
    ],
    ids=lambda learning: "-".join(map(str, learning.values())),
)
def test_a_run_that_was_cut_resumes_to_the_same_weights(folder: Path, tmp_path: Path, learning: dict[str, Any]):
    fields = {**learning, "save_strategy": "steps", "save_steps": 1, "max_steps": 3, "resume": True, "logging_steps": 1}
    main(arguments(folder, tmp_path / "whole", **fields))
    main(arguments(folder, tmp_path / "cut", **fields))
    # Undo the end of the second run: its result, its last checkpoint, and half of the one before.
    for path in (tmp_path / "cut").glob("*"):
        if path.is_file():
            path.unlink()
    (tmp_path / "cut" / "checkpoint-2" / "trainer_state.json").unlink()
    (tmp_path / "cut" / "checkpoint-3" / "trainer_state.json").unlink()
    main(arguments(folder, tmp_path / "cut", **fields))
    steps = [entry["step"] for entry in json.loads((tmp_path / "cut/trainer_state.json").read_text())["log_history"]]
    assert steps == [1, 2, 3, 3]
    whole, resumed = load_model(str(tmp_path / "whole")), load_model(str(tmp_path / "cut"))
    assert moved(whole, resumed) == set()
    cards = [sections_of((tmp_path / name / "README.md").read_text()) for name in ("whole", "cut")]
    assert cards[0]["Training"] == cards[1]["Training"] and "3 steps" in cards[0]["Training"]
    assert not list(tmp_path.glob("*/checkpoint-*/README.md"))


def test_an_earlier_run_is_not_overwritten(folder: Path, tmp_path: Path):
    fields = {"train": "tlm", "save_strategy": "steps", "save_steps": 1}
    main(arguments(folder, tmp_path / "out", **fields))
    with pytest.raises(FileExistsError, match="holds a finished stage"):
        main(arguments(folder, tmp_path / "out", **fields))
    (tmp_path / "out" / "config.json").unlink()
    with pytest.raises(FileExistsError, match="resume: true"):
        main(arguments(folder, tmp_path / "out", **fields))


def test_a_stage_that_was_not_run_is_named(folder: Path, tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="run the stage that makes it first"):
        main(arguments(folder, tmp_path / "out", train="tlm", model_name_or_path=tmp_path / "missing"))
    with pytest.raises(FileNotFoundError, match="Has its stage run to the end"):
        main(arguments(folder, tmp_path / "out", train="tlm", model_name_or_path=folder))


def test_a_model_that_lacks_weights_is_refused(tmp_path: Path):
    tiny_model().save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    name = next(name for name in weights if "layers.1.mlp.up_proj" in name)
    save_file({key: value for key, value in weights.items() if key != name}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"found no weights for .*layers\.1\.mlp\.up_proj.*\(1 in all\)"):
        load_model(str(tmp_path))


def test_training_can_start_from_qwen2_5_vl(tmp_path: Path):
    fields = tiny_config().to_dict()
    for name in ("tlm_config", "model_type", "auto_map"):
        del fields[name]
    backbone = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(**fields))
    backbone.save_pretrained(tmp_path)
    model = load_model(str(tmp_path))
    before = dict(backbone.named_parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.named_parameters() if ".tlm." not in name)


def test_a_tlm_that_does_not_fit_its_base_is_refused(folder: Path, tmp_path: Path):
    main(arguments(folder, tmp_path / "out", train="tlm", save="trained"))
    weights = load_file(tmp_path / "out" / "tlm.safetensors")
    weights["tlm.output_bias"] = weights["tlm.output_bias"][:-1].clone()
    save_file(weights, tmp_path / "out" / "tlm.safetensors")
    with pytest.raises(ValueError, match=r"tlm.safetensors: found .*\(63,\).*expected .*\(64,\)"):
        load_model(str(tmp_path / "out"))


def test_lora_with_a_prior_that_has_no_effect_is_refused(folder: Path, tmp_path: Path):
    tiny_model().save_pretrained(tmp_path / "base")
    tiny_processor().save_pretrained(tmp_path / "base")
    fields = {"train": "lora", "model_name_or_path": tmp_path / "base"}
    with pytest.raises(ValueError, match="the TLM is still the identity"):
        main(arguments(folder, tmp_path / "out", **fields))
    main(arguments(folder, tmp_path / "out", **fields, prior="none"))
