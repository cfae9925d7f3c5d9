"""An older transformers is named in one line, whichever module is entered first."""

import importlib.machinery
import importlib.util
import sys
from pathlib import Path

import pytest
import transformers

import modeling_fusarklip
from modeling_fusarklip.transformers_release import MINIMUM_TRANSFORMERS

CODE = Path(modeling_fusarklip.__file__).parent
ENTRIES = [
    "configuration_fusarklip",
    "vision_fusarklip",
    "towers_fusarklip",
    "modeling_fusarklip",
    "processing_fusarklip",
    "__init__",
]


def enter(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As transformers does with remote code: the module in a package of its own, which has imported nothing yet."""
    for name in [name for name in sys.modules if name.split(".")[0] == "elsewhere"]:
        monkeypatch.delitem(sys.modules, name)
    package = importlib.util.module_from_spec(importlib.machinery.ModuleSpec("elsewhere", None, is_package=True))
    package.__path__ = [str(CODE)]
    monkeypatch.setitem(sys.modules, "elsewhere", package)
    spec = importlib.util.spec_from_file_location(f"elsewhere.{module}", CODE / f"{module}.py")
    assert spec is not None and spec.loader is not None
    spec.loader.exec_module(importlib.util.module_from_spec(spec))


@pytest.mark.parametrize("module", ENTRIES)
@pytest.mark.parametrize("release", ["4.57.6", "5.21.0", "5.22.3"])
def test_an_older_release_is_refused_before_anything_is_taken_from_it(
    module: str, release: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transformers, "__version__", release)
    # What the newer one has and the older one may not.
    monkeypatch.setitem(sys.modules, "transformers.models.blip.modeling_blip", None)
    monkeypatch.setitem(sys.modules, "transformers.models.blip.configuration_blip", None)
    with pytest.raises(ImportError) as error:
        enter(module, monkeypatch)
    assert str(error.value) == (
        f"FUSAR-KLIP: found transformers {release}, expected 5.23 or newer; pip install --upgrade 'transformers>=5.23'"
    )


@pytest.mark.parametrize("release", ["5.23.0.dev0", "5.23.1", "5.24.0", "6.0.0"])
def test_newer_ones_are_taken(release: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transformers, "__version__", release)
    enter("transformers_release", monkeypatch)


def test_the_package_asks_for_the_same() -> None:
    requirements = (CODE.parent / "pyproject.toml").read_text()
    assert f'"transformers>={MINIMUM_TRANSFORMERS},' in requirements
