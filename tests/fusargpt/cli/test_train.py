import subprocess
import sys
from pathlib import Path

import pytest

from fusargpt.cli.main import main
from tests.paths import RECIPES, ROOT

STAGE = RECIPES / "nano" / "stage1.yaml"


def check_refused(capsys: pytest.CaptureFixture[str], *arguments: object, message: str) -> None:
    assert main(["train", *map(str, arguments)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("fusargpt train: error: ")
    assert message in error
    assert error.count("\n") == 1


def test_no_recipe_is_refused_in_one_line(capsys: pytest.CaptureFixture[str]):
    check_refused(capsys, message="no recipe: found no arguments, expected a YAML file first")


def test_help_comes_without_torch():
    program = """
import sys
from fusargpt.cli.main import main
assert main(["train", "--help"]) == 0
assert "torch" not in sys.modules
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("usage: fusargpt train RECIPE.yaml [--key value ...]")


def test_an_absent_recipe_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    check_refused(capsys, tmp_path / "absent.yaml", message="absent.yaml")


def test_a_recipe_with_an_unknown_key_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(STAGE.read_text() + "\nlearning_rat: 1\n")
    check_refused(capsys, recipe, message="learning_rat")


def test_a_recipe_that_is_not_yaml_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("train: [tlm\nprior: true\n")
    check_refused(capsys, recipe, message=f'in "{recipe}", line 2')


def test_a_finished_stage_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "config.json").write_text("{}")
    check_refused(capsys, STAGE, "--output_dir", tmp_path, message="holds a finished stage")


def test_a_model_that_is_not_there_is_named_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    arguments = (STAGE, "--output_dir", tmp_path, "--model_name_or_path", tmp_path / "absent")
    check_refused(capsys, *arguments, message=f"{tmp_path / 'absent'}")


def test_without_the_training_extra_the_user_learns_what_to_install():
    program = """
import sys
sys.modules["trl"] = None  # as if it were not installed
from fusargpt.cli.main import main
sys.exit(main(["train", "stage1.yaml"]))
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 2
    command = f"{sys.executable} -m pip install --editable '{ROOT}[train]'"
    assert result.stderr == f"fusargpt train: error: training needs trl; this brings it: {command}\n"
