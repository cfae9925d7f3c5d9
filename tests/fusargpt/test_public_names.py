"""What `import fusargpt` offers, and what it costs."""

import subprocess
import sys
from importlib.metadata import version

import pytest

import fusargpt


@pytest.mark.parametrize("name", fusargpt.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(fusargpt, name) is not None and name in dir(fusargpt)


def test_names_are_those_of_their_modules() -> None:
    from fusargpt.geo.sar_scene import SarScene
    from fusargpt.triplets.build import build

    assert fusargpt.SarScene is SarScene and fusargpt.build_triplets is build
    assert fusargpt.__version__ == version("fusargpt")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'fusargpt' has no attribute 'lode'"):
        _ = fusargpt.lode


def test_importing_it_loads_no_module_of_ours_and_takes_under_a_tenth_of_a_second() -> None:
    program = """
import sys, time
started = time.process_time()
import fusargpt
print(time.process_time() - started)
heavy = {"numpy", "torch", "rasterio", "transformers", "importlib.metadata"}
print([name for name in sys.modules if name in heavy or name.startswith("fusargpt.")])
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    seconds, loaded = result.stdout.splitlines()
    assert float(seconds) < 0.1
    assert loaded == "[]"
