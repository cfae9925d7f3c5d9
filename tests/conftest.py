import os
import sys
from typing import get_args

# Before torch and numpy are loaded, here and in all processes that tests start: each works on one core, so that as many
# workers as there are cores (pytest -n auto) do not wait for each other. Tiny models are fastest on one thread anyway.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

from tests.paths import ROOT
from tests.tiny import Backbone

torch.set_num_threads(1)

# A server and a model for all tests of the page, a data set for all that look at one.
SHARED = {ROOT / "tests" / "space_app", ROOT / "tests" / "fusargpt" / "triplets"}


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Groups for the workers of xdist: what `xdist_group` names, else a file or a folder whose tests share fixtures.

    Files with slow tests begin, so that none is left to one worker at the end.
    """
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            shared = item.path.parent if item.path.parent in SHARED else item.path
            item.add_marker(pytest.mark.xdist_group(str(shared.relative_to(ROOT))))
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def ray_cluster():
    """A Ray cluster of two cores, started here once for all tests on one, which are the group `ray` of one worker."""
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


@pytest.fixture(scope="module", params=get_args(Backbone))
def backbone(request: pytest.FixtureRequest) -> Backbone:
    """What a test of the model asks of one backbone, it asks of each."""
    return request.param
