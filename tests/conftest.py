import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
import torch

from tests.tiny import Backbone

# The machine may be small and shared; tiny models are fastest on one thread.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def ray_cluster():
    """A Ray cluster of two cores, started here once for all tests on one."""
    ray = pytest.importorskip("ray", reason="ray is not installed; pip install 'fusargpt[ray]' brings it")
    # Workers import the tests' neighbours of the package from where this process does.
    paths = {"env_vars": {"PYTHONPATH": ":".join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}}
    try:
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error", runtime_env=paths)
    except Exception as error:
        # Ray gives its own processes half a minute, which a machine that is busy with other things may need.
        if "timed out during startup" not in str(error):
            raise
        pytest.skip(f"ray does not start on this machine: {error}")
    yield
    ray.shutdown()


def _mounted(folder: Path, options: str) -> Iterator[Path]:
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a disk takes the rights of root")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)  # torch may still have its file open


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB."""
    yield from _mounted(tmp_path / "disk", "size=256k")


@pytest.fixture
def closed_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in which root cannot write either."""
    yield from _mounted(tmp_path / "closed", "ro")


@pytest.fixture(scope="module", params=get_args(Backbone))
def backbone(request: pytest.FixtureRequest) -> Backbone:
    """What a test of the model asks of one backbone, it asks of each."""
    return request.param
