import json
import subprocess
import sys
from pathlib import Path

import pytest

from fusargpt.checkpoints import NANO
from fusargpt.cli.main import main
from fusargpt.cli.plan import GPUS
from tests.paths import RECIPES, ROOT

STAGE = RECIPES / "stage1.yaml"


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main(["plan", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def check_refused(capsys: pytest.CaptureFixture[str], *arguments: object, message: str) -> None:
    assert main(["plan", *map(str, arguments)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("fusargpt plan: error: ")
    assert message in error
    assert error.count("\n") == 1


def test_a_plan_is_printed_as_tables(capsys: pytest.CaptureFixture[str]):
    output = run(capsys, STAGE, "--gpus", 4, "--gpu", "a100-80g")
    heading, flops, memory, scales = output.split("\n\n")
    assert "Qwen/Qwen2.5-VL-7B-Instruct: 8,395,866,112 parameters" in heading
    assert "4 x a100-80g at 35% (modelled) of the peak" in heading
    assert "\nlanguage model  " in flops
    assert [line.split()[0] for line in memory.splitlines()[1:]] == ["ddp", "zero2", "fsdp2", "qlora"] * 2
    assert memory.count("(recipe)") == 4
    assert "\nGPU-hours  " in scales and scales.splitlines()[0].split() == ["triplets", "10,000", "1,000,000"]
    assert all(len(line) <= 140 for line in output.splitlines())


def test_json_holds_the_same_numbers(capsys: pytest.CaptureFixture[str]):
    plan = json.loads(run(capsys, STAGE, "--gpus", 2, "--triplets", "500", "--json"))
    assert (plan["gpus"], plan["parameters"], plan["trained"]) == (2, 8_395_866_112, 103_699_456)
    (scale,) = plan["scales"]
    assert scale["triplets"] == 500
    assert scale["flops"] == 500 * 30 * plan["flops"]["sequence"]["total"]


def test_options_and_fields_of_the_recipe_change_the_plan(capsys: pytest.CaptureFixture[str]):
    model = ("--model_name_or_path", NANO)
    plain = json.loads(run(capsys, STAGE, *model, "--json"))
    changed = json.loads(
        run(capsys, STAGE, *model, "--json", "--image-size", 336, "--anchors", 9, "--train", "lora", "--lora_r", 4)
    )
    assert (plain["image_size"], changed["image_size"]) == (168, 336)
    assert changed["anchors"] == 9
    assert changed["train"] == "lora" and changed["trained"] == 175_104 // 2


def test_no_such_recipe_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    check_refused(capsys, tmp_path / "absent.yaml", message="absent.yaml: no such recipe")


def test_an_unknown_gpu_is_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]):
    check_refused(capsys, STAGE, "--gpu", "tpu", message="--gpu: found tpu; expected one of a10, a100-40g, a100-80g")


def test_triplets_that_are_no_numbers_are_refused_in_one_line(capsys: pytest.CaptureFixture[str]):
    check_refused(capsys, STAGE, "--triplets", "many", message="--triplets: found many; expected numbers")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning_rate: 1", "recipe.yaml: the following arguments are required: --model_name_or_path"),
        ("- a list", "found list; expected fields and their values"),
        ("{", "recipe.yaml: the recipe is not YAML"),
    ],
)
def test_a_recipe_that_is_none_is_refused_in_one_line(
    text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(text)
    check_refused(capsys, recipe, message=message)


def test_a_field_that_no_recipe_has_is_refused_in_one_line(capsys: pytest.CaptureFixture[str]):
    check_refused(capsys, STAGE, "--learning_rat", "1", message="--learning_rat")


def test_the_help_lists_the_gpus_that_are_known():
    from trl_recipes.planning import plan

    assert tuple(plan.GPUS) == GPUS


def test_without_the_training_extra_the_user_learns_what_to_install():
    program = f"""
import sys
sys.modules["trl"] = None  # as if it were not installed
from fusargpt.cli.main import main
sys.exit(main(["plan", {str(STAGE)!r}]))
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 2
    command = f"{sys.executable} -m pip install --editable '{ROOT}[train]'"
    assert result.stderr == f"fusargpt plan: error: planning needs trl; this brings it: {command}\n"
