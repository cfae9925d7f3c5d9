"""What a user gets who installs the wheel, without a clone."""

import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from fusargpt.checkpoints import DEFAULT
from tests.fusargpt.scenes.scenes import write_scene
from tests.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
WHEEL = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
PACKAGES = [name for name in WHEEL["packages"] if (ROOT / name).is_dir()]
DATA_SUFFIXES = {".csv", ".yaml", ".parquet", ".safetensors", ".npz", ".json", ".jinja", ".md", ".txt", ".png"}


@pytest.fixture(scope="module")
def site_packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built as pip builds it and unpacked as pip unpacks it."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], cwd=ROOT, check=True)
    (wheel,) = folder.glob("fusargpt-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site-packages")
    return folder / "site-packages"


def files(root: Path) -> set[str]:
    return {
        str(path.relative_to(root))
        for package in PACKAGES
        for path in (root / package).rglob("*")
        if path.suffix in {".py", *DATA_SUFFIXES}
    }


@pytest.mark.slow
def test_code_recipes_data_and_checkpoint_travel_with_the_wheel(site_packages: Path):
    assert files(site_packages) == files(ROOT)
    assert "trl_recipes/stage1.yaml" in files(site_packages)


def test_the_clone_finds_its_own_checkpoint():
    assert DEFAULT.parent == ROOT / "fusargpt" / "checkpoints"


@pytest.mark.slow
def test_the_wheel_finds_the_checkpoint_and_the_command_in_itself(site_packages: Path):
    program = "from fusargpt.checkpoints import DEFAULT; from fusargpt.cli import main; print(DEFAULT, main.__file__)"
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=site_packages.parent,
        env={**os.environ, "PYTHONPATH": str(site_packages)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.split() == [
        str(site_packages / "fusargpt" / "checkpoints" / "fusargpt-mini"),
        str(site_packages / "fusargpt" / "cli" / "main.py"),
    ]


def test_inference_needs_neither_training_nor_demo_nor_torchvision():
    extras = PROJECT["project"]["optional-dependencies"]
    core = " ".join(PROJECT["project"]["dependencies"])
    for name in ("trl", "peft", "accelerate", "datasets", "gradio", "evaluate", "torchvision"):
        assert name not in core
    assert "torchvision" not in str(extras)


@pytest.mark.slow
def test_inference_imports_no_extra():
    program = """
import sys
for name in ("accelerate", "datasets", "evaluate", "gradio", "matplotlib", "pandas", "peft", "torchvision", "trl"):
    sys.modules[name] = None  # as if it were not installed
import fusargpt.inference.loading, fusargpt.cli.ask, fusargpt.cli.showcase
"""
    subprocess.run([sys.executable, "-c", program], check=True)


EVERYDAY_NAMES = ("metrics", "serving", "checkpoints", "scenes", "triplets", "evaluation", "simulator", "tasks")
SHADOWED = """
import sys
from importlib.metadata import entry_points
from fusargpt.cli.main import main

codes = [
    main(["train", "absent.yaml"]),
    main(["detect", "scene.tif", "--no-prior", "--model", "no/model/here", "--out", "ships.geojson"]),
    main(["batch", ".", "--task", "count", "--model", "no/model/here", "--out", "answers.jsonl"]),
    main(["evaluate", "no/model/here", "simulator"]),
]
(plugin,) = entry_points(group="vllm.general_plugins", name="fusargpt")
print(codes, plugin.load().__module__)
"""


@pytest.mark.slow
def test_files_of_everyday_names_in_the_working_directory_break_nothing(tmp_path: Path) -> None:
    for name in EVERYDAY_NAMES:
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('a file of the working directory was imported')\n")
    write_scene(tmp_path / "scene.tif", side=100)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    # As with `python -m` and in notebooks, the working directory comes first on the path.
    result = subprocess.run(
        [sys.executable, "-c", SHADOWED], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert "was imported" not in result.stderr
    assert "absent.yaml" in result.stderr, "the recipe is all that is wrong with the first command"
    assert result.stderr.count("no/model/here: no such model folder") == 3, "and the model with the others"
    assert result.stdout.splitlines()[-1] == "[2, 2, 2, 2] fusargpt.serving.vllm_plugin"


@pytest.mark.slow
def test_the_training_script_runs_beside_files_of_everyday_names(tmp_path: Path) -> None:
    for name in EVERYDAY_NAMES:
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('a file of the working directory was imported')\n")
    command = [sys.executable, "-m", "trl_recipes.sft", "absent.yaml"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.stderr.splitlines()[-1].startswith("trl_recipes.sft: error: ") and "absent.yaml" in result.stderr


@pytest.mark.slow
def test_the_wheel_installs_six_names(site_packages: Path) -> None:
    names = {path.name for path in site_packages.iterdir() if not path.name.endswith(".dist-info")}
    # The sample dataset is called by its name from any folder.
    assert names == {"dataset_card", "fusargpt", "modeling_fusargpt", "modeling_fusarklip", "trl_recipes", "space_app"}
    assert (site_packages / "fusargpt" / "py.typed").is_file()
