import os
import subprocess
import sys

import pytest

from fusargpt.waiting_threads import FEW_CORES, give_up_cores

SPINS = "GOMP_SPINCOUNT"


@pytest.mark.parametrize(
    ("cores", "given", "after"),
    [
        (2, {}, {SPINS: "1000"}),
        (FEW_CORES, {"PATH": "/bin"}, {"PATH": "/bin", SPINS: "1000"}),
        (FEW_CORES + 1, {}, {}),
        (2, {SPINS: "7"}, {SPINS: "7"}),
        (2, {"OMP_WAIT_POLICY": "active"}, {"OMP_WAIT_POLICY": "active"}),
    ],
)
def test_threads_give_up_their_core_where_there_are_few_and_nobody_said_otherwise(
    cores: int, given: dict[str, str], after: dict[str, str]
):
    give_up_cores(given, cores)
    assert given == after


def test_elsewhere_than_on_linux_nothing_is_set_or_counted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    given: dict[str, str] = {}
    give_up_cores(given)
    assert given == {}


@pytest.mark.parametrize(
    "start", ["from fusargpt.cli.main import main; main(['plan', 'absent.yaml'])", "import space_app.app"]
)
def test_command_and_page_say_so_before_torch_is_loaded(start: str):
    # The OpenMP of torch reads the environment once, when it is loaded.
    program = f"""
import os, sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch" and "{SPINS}" not in seen:
            seen["{SPINS}"] = os.environ.get("{SPINS}")
seen = {{}}
sys.meta_path.insert(0, Watch())
os.sched_getaffinity = lambda _: {{0, 1}}
{start}
import torch
print(seen["{SPINS}"])
"""
    environment = {name: value for name, value in os.environ.items() if name not in (SPINS, "OMP_WAIT_POLICY")}
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert result.stdout.splitlines()[-1] == "1000", result.stderr
