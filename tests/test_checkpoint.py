"""The checkpoint that travels with the package."""

from pathlib import Path

import pytest

import modeling_fusargpt
from checkpoints import NANO
from modeling_fusargpt.predict import load

CODE = Path(modeling_fusargpt.__file__).parent
MODULES = ["artefacts.py", "configuration_fusargpt.py", "modeling_fusargpt.py", "processing_fusargpt.py", "tlm.py"]


@pytest.mark.parametrize("name", MODULES)
def test_its_code_is_the_packages(name: str) -> None:
    assert (NANO / name).read_text() == (CODE / name).read_text(), (
        f"{NANO / name} differs from modeling_fusargpt/{name}; copy the latter over it"
    )


def test_it_brings_no_other_code_and_stays_small() -> None:
    assert sorted(path.name for path in NANO.glob("*.py")) == MODULES
    assert sum(path.stat().st_size for path in NANO.iterdir() if path.suffix in (".safetensors", ".json")) < 20e6


def test_its_tlm_has_been_trained() -> None:
    assert load(NANO).model.model.tlm.output_projection.weight.any()
