import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any, get_args

# Before torch and numpy are loaded, here and in all processes that tests start: each works on one core, so that as many
# workers as there are cores (pytest -n auto) do not wait for each other. Tiny models are fastest on one thread anyway.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

from tests.tiny import Backbone

torch.set_num_threads(1)

# One worker runs the tests of a file, and those of all files that share what takes long to start: the server of the
# page; a data set and a Ray cluster.
TOGETHER = (("tests/space_app/",), ("tests/fusargpt/triplets/", "tests/fusargpt/serving/test_batch.py"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests begin, so that none is left to one worker at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """One worker a file. The marker `xdist_group` of xdist 3.8 has no effect from pytest 9.2 on."""
    from xdist.scheduler import LoadScopeScheduling

    class OneWorkerAFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.partition("::")[0]
            return next((group[0] for group in TOGETHER if path.startswith(group)), path)

    return OneWorkerAFile(config, log)


@pytest.fixture(scope="session")
def ray_cluster():
    """A Ray cluster of two cores, started here once for all tests on one."""
    ray = pytest.importorskip("ray", reason="ray is not installed; its extra brings it")
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


def _mounted(folder: Path, options: str) -> Generator[Path]:
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a disk takes the rights of root")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)  # torch may still have its file open


@pytest.fixture
def small_disk(tmp_path: Path) -> Generator[Path]:
    """A disk of 256 KiB."""
    yield from _mounted(tmp_path / "disk", "size=256k")


@pytest.fixture
def closed_folder(tmp_path: Path) -> Generator[Path]:
    """A folder in which root cannot write either."""
    yield from _mounted(tmp_path / "closed", "ro")


@pytest.fixture(scope="module", params=get_args(Backbone))
def backbone(request: pytest.FixtureRequest) -> Backbone:
    """What a test of the model asks of one backbone, it asks of each."""
    return request.param
