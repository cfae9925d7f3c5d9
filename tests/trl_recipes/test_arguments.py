"""Recipes are read strictly: every YAML of the project parses, and what no field knows fails."""

import dataclasses
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import launch_command_parser
from transformers.integrations.deepspeed import unset_hf_deepspeed_config
from trl.trainer.sft_config import SFTConfig

from fusargpt.errors import InputError
from tests.paths import RECIPES
from trl_recipes.arguments import DECIDED_HERE, parse

ALL_SIZES = sorted([*RECIPES.glob("*.yaml"), *RECIPES.glob("nano/*.yaml"), *RECIPES.glob("mini/*.yaml")])
# Those of stage 3 have a parser of their own.
FILES = [path for path in ALL_SIZES if path.stem != "stage3"]
# Kind and processes of each config.
ACCELERATE = {
    "cpu": ("NO", 1),
    "one_gpu": ("NO", 1),
    "ddp": ("MULTI_GPU", 8),
    "zero2": ("DEEPSPEED", 8),
    "fsdp2": ("FSDP", 8),
}
# Recipes for a GPU parse on a machine that has none.
ON_CPU = ("--use_cpu", "true")


@pytest.fixture
def deepspeed_forgotten() -> Iterator[None]:
    """transformers keeps the configuration of arguments that failed, and would make later models by it."""
    yield
    unset_hf_deepspeed_config()


def recipe(tmp_path: Path, **fields: object) -> str:
    """Path of a minimal recipe with ``fields`` on top."""
    minimal = {
        "model_name_or_path": "model",
        "dataset_name": "data",
        "train": "tlm",
        "output_dir": str(tmp_path / "out"),
        "max_length": None,
        "remove_unused_columns": False,
        "use_cpu": True,
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(minimal | fields))
    return str(path)


def test_there_are_recipes_for_both_sizes():
    assert {path.relative_to(RECIPES).as_posix() for path in ALL_SIZES} == {
        "stage1.yaml",
        "stage2.yaml",
        "stage2_qlora.yaml",
        "stage3.yaml",
        "nano/pretrain.yaml",
        "nano/stage1.yaml",
        "nano/stage2.yaml",
        "nano/language.yaml",
        "nano/stage3.yaml",
        "nano/ssdd.yaml",
        "mini/pretrain.yaml",
        "mini/stage1.yaml",
        "mini/stage2.yaml",
        "mini/language.yaml",
        "mini/stage3.yaml",
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(RECIPES).as_posix())
def test_every_recipe_parses(path: Path):
    stage, config = parse([str(path), *ON_CPU])
    written = yaml.safe_load(path.read_text())
    assert stage.train == written["train"]
    assert config.learning_rate == written["learning_rate"]
    assert config.max_length is None and config.remove_unused_columns is False


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("stage1", "stage2"),
        ("stage1", "stage2_qlora"),
        ("nano/pretrain", "nano/stage1"),
        ("nano/stage1", "nano/stage2"),
        ("stage2", "stage3"),
        ("nano/stage2", "nano/language"),
        ("nano/language", "nano/stage3"),
        ("mini/stage1", "mini/stage2"),
        ("mini/stage2", "mini/language"),
        ("mini/language", "mini/stage3"),
    ],
)
def test_each_stage_starts_from_the_output_of_the_one_before(first: str, second: str):
    before, after = (yaml.safe_load((RECIPES / f"{name}.yaml").read_text()) for name in (first, second))
    assert after["model_name_or_path"] == before["output_dir"]


def test_the_paper_s_numbers_are_in_the_release_recipes():
    stage1, stage2 = (yaml.safe_load((RECIPES / f"stage{stage}.yaml").read_text()) for stage in (1, 2))
    assert (stage1["num_train_epochs"], stage1["learning_rate"], stage1["train"]) == (30, 1e-4, "tlm")
    assert (stage2["num_train_epochs"], stage2["learning_rate"], stage2["train"]) == (5, 1e-5, "lora")
    for stage in (stage1, stage2):
        assert (stage["lora_r"], stage["lora_alpha"], stage["warmup_steps"]) == (8, 32, 0.05)
        assert stage["bf16"] is True and stage["attn_implementation"] == "flash_attention_2"


@pytest.mark.parametrize("path", sorted(RECIPES.glob("accelerate/*.yaml")), ids=lambda path: path.name)
def test_every_accelerate_config_is_one(path: Path):
    config: Any = load_config_from_file(str(path))  # raises for unknown keys
    assert config.mixed_precision == "bf16" and config.num_machines == 1
    kind, processes = ACCELERATE[path.stem]
    assert (config.distributed_type, config.num_processes) == (kind, processes)
    # Read back by the launcher's own parser: every key of a plugin has to be an option of it.
    plugin = {**config.fsdp_config, **config.deepspeed_config}
    options = vars(launch_command_parser().parse_args(["script.py"]))
    assert set(plugin) <= set(options)


def test_there_is_an_accelerate_config_for_every_strategy():
    assert {path.stem for path in RECIPES.glob("accelerate/*.yaml")} == set(ACCELERATE)


def test_4_bits_change_the_hardware_and_not_what_is_learned():
    whole, quantized = (yaml.safe_load((RECIPES / f"stage2{name}.yaml").read_text()) for name in ("", "_qlora"))
    different = {name for name in whole | quantized if whole.get(name) != quantized.get(name)}
    assert different == {
        "output_dir",
        "quantization",
        "double_quantization",
        "attn_implementation",
    }


def test_an_unknown_key_in_yaml_fails_and_is_named(tmp_path: Path):
    with pytest.raises(ValueError, match="learning_rat'"):
        parse([recipe(tmp_path, learning_rat=1e-3)])


@pytest.mark.parametrize("unknown", ["--learning_rat", "--learnin", "--use_peft"])
def test_an_unknown_key_on_the_command_line_fails_and_is_named(tmp_path: Path, unknown: str):
    with pytest.raises(InputError, match=unknown):
        parse([recipe(tmp_path), unknown, "1"])


def test_the_command_line_overrides_the_recipe(tmp_path: Path):
    _, config = parse([recipe(tmp_path, learning_rate=1e-3), "--learning_rate", "2e-3"])
    assert config.learning_rate == 2e-3


def test_yaml_true_and_a_single_dataset_are_read_as_meant(tmp_path: Path):
    stage, _ = parse([recipe(tmp_path, prior=True)])
    assert stage.prior == "true" and stage.dataset_name == ["data"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_train_epochs": 10**400}, "num_train_epochs: found a number of 1,329 bits, expected one below 2"),
        ({"seed": -1}, "seed: found -1, expected a number between 0 and 4294967295"),
        ({"data_seed": 2**32}, "data_seed: found 4294967296, expected a number between 0 and 4294967295"),
        ({"output_dir": "caf\udce9"}, r"output_dir: found \\udce9 at character 4"),
        ({"output_dir": "a\x00b"}, r"output_dir: found 'a\\x00b', expected a text without the character 0"),
        ({"train": "everything"}, "train: found 'everything', expected one of tlm, tlm\\+lora, lora, all, language"),
        ({"prior": False}, "prior: found False, expected one of true, none"),
        ({"save": "half"}, "save: found 'half'"),
        ({"dtype": "float64"}, "dtype: found 'float64'"),
        ({"train": "tlm", "prior": "none"}, "never called"),
        ({"train": "all", "save": "trained"}, "set save: full"),
        ({"train": "lora", "vision_learning_rate_ratio": 0.3}, "freezes the vision tower"),
        ({"train": "all", "dtype": "bfloat16"}, "expected float32"),
        ({"quantization": "int8"}, "quantization: found 'int8', expected one of none, nf4"),
        ({"quantization": "nf4", "train": "language", "prior": "none"}, "stays as it is; set train: lora"),
        ({"quantization": "nf4", "train": "lora", "save": "full"}, "expected save: trained"),
        ({"max_length": 1024}, "max_length: found 1024, expected null"),
        ({"max_length": False}, "max_length: found False, expected null"),
        ({"truncation_mode": "keep_end"}, "truncation_mode: found 'keep_end', expected keep_start: nothing is cut"),
        (
            {"completion_only_loss": False},
            "completion_only_loss: found False, expected null: loss always falls on the a",
        ),
        ({"completion_only_loss": True}, "completion_only_loss: found True, expected null"),
        ({"assistant_only_loss": True}, "assistant_only_loss: found True, expected false"),
        ({"shuffle_dataset": True}, "shuffle_dataset: found True, expected false: rows are drawn anew in every epoch"),
        ({"eval_packing": True}, "eval_packing: found True, expected null: images are not packed"),
        ({"packing_strategy": "wrapped"}, "packing_strategy: found 'wrapped', expected bfd: images are not packed"),
        ({"dataset_text_field": "answer"}, "dataset_text_field: found 'answer', expected text"),
        ({"dataset_kwargs": False}, "dataset_kwargs: found False, expected null"),
        ({"trust_remote_code": True}, "trust_remote_code: found True, expected false"),
        ({"router_aux_loss_coef": 0.1}, "router_aux_loss_coef: found 0.1, expected null: the model has no experts"),
        ({"do_predict": True}, "do_predict: found True, expected false: .*`fusargpt evaluate`"),
        ({"hub_model_id": "me/model"}, "hub_model_id: found 'me/model', expected null: push output_dir when"),
        ({"do_eval": True}, "do_eval: found true without evaluations; set eval_strategy too"),
        ({"eval_answers": 8}, "eval_answers: found 8 without evaluations; set eval_strategy too"),
        ({"dataset_test_split": "test"}, "dataset_test_split: found 'test' without evaluations"),
        (
            {"lora_r": 16},
            "lora_r: found 16, which has no effect without train: lora or tlm\\+lora; set that too, or le",
        ),
        ({"lora_dropout": 0.1}, "lora_dropout: found 0.1, which has no effect"),
        (
            {"double_quantization": False},
            "double_quantization: found False, which has no effect without quantization: n",
        ),
        ({"feature_cache_gib": 1}, "feature_cache_gib: found 1, which has no effect without feature_cache"),
        ({"earlier_answers": "visible"}, "earlier_answers: found 'visible', which has no effect without pairs_per_seq"),
        ({"unreadable_share": 0.5}, "unreadable_share: found 0.5, which has no effect without unreadable: skip"),
        ({"remove_unused_columns": True}, "the prior columns would be dropped"),
        ({"resume_from_checkpoint": "out"}, "use resume: true"),
        ({"packing": True, "max_length": 512}, "max_length: found 512"),
        ({"packing": True}, "images are not packed"),
    ],
)
def test_a_value_that_a_field_does_not_allow_fails(tmp_path: Path, fields: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        parse([recipe(tmp_path, **fields)])


def test_every_field_that_is_decided_here_is_one_of_trl_and_has_its_default_among_the_values():
    defaults = {field.name: field for field in dataclasses.fields(SFTConfig)}
    for name, (allowed, instead) in DECIDED_HERE.items():
        assert name in defaults and instead
        # Those whose default is another one have to be written down in every recipe.
        if name not in ("max_length", "remove_unused_columns", "pad_to_multiple_of", "include_for_metrics"):
            assert defaults[name].default in allowed, name


def test_evaluations_take_the_fields_of_evaluations(tmp_path: Path):
    fields = {"eval_strategy": "steps", "do_eval": True, "eval_answers": 8, "dataset_test_split": "test"}
    stage, config = parse([recipe(tmp_path, **fields)])
    assert (stage.eval_answers, config.do_eval) == (8, True)


def test_a_required_field_that_is_missing_fails(tmp_path: Path):
    path = tmp_path / "recipe.yaml"
    path.write_text("train: tlm\ndataset_name: data\n")
    with pytest.raises(InputError, match="--model_name_or_path"):
        parse([str(path), *ON_CPU])


@pytest.mark.parametrize("arguments", [[], ["--config", "recipe.yaml"], ["--train", "tlm"]])
def test_the_recipe_comes_first(arguments: Any):
    with pytest.raises(InputError, match=r"no recipe: found .*, expected a YAML file first"):
        parse(arguments)


def test_help_names_the_recipe_and_every_field(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as raised:
        parse(["--help"])
    assert raised.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith("usage: trl_recipes.sft RECIPE.yaml")
    assert all(field in text for field in ("--train", "--pairs_per_sequence", "--learning_rate"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &a [1]\nb: *a\n", r"line 2: found the alias \*a; write the value itself"),
        ("a: " + "[" * 5000 + "]" * 5000, "line 1: more than 8 lists and mappings in each other"),
        ("train: tlm\nlearning_rate: 1.0e-4\ntrain: lora\n", "line 3: train stands there twice; keep one of them"),
        ("- train\n", "found list; expected fields and their values"),
        ("", "found NoneType; expected fields and their values"),
        ("5: tlm\n", "found 5 as the name of a field"),
        ("output_dir: 2024-06-30\n", "output_dir: found 2024-06-30, a date; put it in quotes"),
        ("lr_scheduler_kwargs: {last: 2024-06-30 05:40:12}\n", "lr_scheduler_kwargs: found 2024-06-30 05:40:12, a dat"),
        ("model_name_or_path: null\n", "model_name_or_path: found nothing; expected text"),
        ("dataset_name: [null]\n", r"dataset_name: found \[None\]; expected a list"),
        ("model_name_or_path: 7\n", "model_name_or_path: found 7; expected text"),
        ("max_steps: [1]\n", r"max_steps: found \[1\]; expected a whole number"),
        ("max_steps: 1.5\n", "max_steps: found 1.5; expected a whole number"),
        ("seed: null\n", "seed: found nothing; expected a whole number"),
        ("learning_rate: true\n", "learning_rate: found True; expected a number"),
        ("bf16: 2\n", "bf16: found 2; expected true or false, or null"),
        ("train: [tlm]\n", r"train: found \['tlm'\]; expected tlm or tlm\+lora or"),
        ("!!python/object/apply:os.system [ls]\n", "the recipe is not YAML: could not determine a constructor"),
        ("a: b: c\n", "the recipe is not YAML: mapping values are not allowed here"),
    ],
)
def test_values_that_no_field_takes_are_named(tmp_path: Path, text: str, message: str):
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        parse([str(path)])
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_aliases_cannot_unfold(tmp_path: Path):
    """A kilobyte of YAML that would be a billion values."""
    levels = [f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]" for before, name in pairwise("abcdefghij")]
    path = tmp_path / "recipe.yaml"
    path.write_text("\n".join(["a: &a [x, x]", *levels]))
    with pytest.raises(InputError, match=r"line 2: found the alias \*a"):
        parse([str(path)])


def test_a_recipe_is_a_small_text_in_utf_8(tmp_path: Path):
    path = tmp_path / "recipe.yaml"
    path.write_bytes(b"# " + bytes(2**20))
    with pytest.raises(InputError, match="1,048,578 bytes; a recipe has at most 1,048,576"):
        parse([str(path)])
    path.write_bytes("train: Häfen".encode("latin-1"))
    with pytest.raises(InputError, match=r"not UTF-8 text .* at byte 8"):
        parse([str(path)])


@pytest.mark.skipif(find_spec("deepspeed") is not None, reason="DeepSpeed is installed")
@pytest.mark.usefixtures("deepspeed_forgotten")
def test_a_package_that_a_field_needs_is_named(tmp_path: Path):
    (tmp_path / "ds.json").write_text("{}")
    with pytest.raises(InputError, match=r"a field needs a package that is not installed: .*deepspeed") as caught:
        parse([recipe(tmp_path, deepspeed=str(tmp_path / "ds.json"))])
    assert "\n" not in str(caught.value)
