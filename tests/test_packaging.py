"""What a user gets who installs the wheel, without a clone."""

import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from fusargpt.checkpoints import NANO
from tests.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
WHEEL = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
PACKAGES = [name for name in WHEEL["packages"] if (ROOT / name).is_dir()]
DATA_SUFFIXES = {".yaml", ".parquet", ".safetensors", ".npz", ".json", ".jinja", ".md", ".txt", ".png"}


@pytest.fixture(scope="module")
def site_packages(tmp_path_factory) -> Path:
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
def test_code_recipes_data_and_checkpoint_travel_with_the_wheel(site_packages):
    assert files(site_packages) == files(ROOT)
    assert "trl_recipes/stage1.yaml" in files(site_packages)


def test_the_clone_finds_its_own_checkpoint():
    assert NANO.parent == ROOT / "fusargpt" / "checkpoints"


@pytest.mark.slow
def test_the_wheel_finds_the_checkpoint_and_the_command_in_itself(site_packages):
    program = "from fusargpt import checkpoints; from fusargpt.cli import main; print(checkpoints.NANO, main.__file__)"
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=site_packages.parent,
        env={**os.environ, "PYTHONPATH": str(site_packages)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.split() == [
        str(site_packages / "fusargpt" / "checkpoints" / "fusargpt-nano"),
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
import fusargpt.inference.predict, fusargpt.cli.ask, fusargpt.cli.showcase
"""
    subprocess.run([sys.executable, "-c", program], check=True)
