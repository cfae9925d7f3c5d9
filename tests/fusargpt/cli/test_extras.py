"""A package that is missing is said with the extra that brings it."""

import tomllib

import pytest
from packaging.requirements import Requirement

from fusargpt.cli.extras import PACKAGES, needs
from fusargpt.errors import InputError
from tests.paths import ROOT

IMPORTED_AS = {
    "open-clip-torch": "open_clip",
    "pyyaml": "yaml",
    "rouge-score": "rouge_score",
    "scikit-learn": "sklearn",
}


def declared(extra: str, extras: dict[str, list[str]]) -> set[str]:
    """What pyproject.toml brings with an extra, by the names of imports."""
    found: set[str] = set()
    for requirement in map(Requirement, extras[extra]):
        if requirement.name == "fusargpt":
            found = found.union(*(declared(name, extras) for name in requirement.extras))
        else:
            found.add(IMPORTED_AS.get(requirement.name, requirement.name))
    return found


@pytest.mark.parametrize("extra", PACKAGES)
def test_an_extra_brings_what_the_table_says(extra: str) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert declared(extra, extras) == PACKAGES[extra]


def missing(name: str) -> ModuleNotFoundError:
    return ModuleNotFoundError(f"No module named {name!r}", name=name)


@pytest.mark.parametrize(
    ("name", "extra"), [("yaml", "data"), ("pyarrow.parquet", "data"), ("ray.data", "ray"), ("rouge_score", "metrics")]
)
def test_the_first_extra_that_brings_it_is_named(name: str, extra: str) -> None:
    command = rf"\S*python\S* -m pip install --editable '.*\[{extra}\]'"
    line = rf"^rows need {name.partition('.')[0]}; this brings it: {command}$"
    with pytest.raises(InputError, match=line), needs("rows need", "data", "ray", "metrics"):
        raise missing(name)


def test_the_inner_of_two_needs_speaks_for_its_own_packages_only() -> None:
    for name, line in (("llguidance", "it needs llguidance; "), ("shapely", "scenes need shapely; ")):
        with pytest.raises(InputError, match=line), needs("scenes need", "scenes"), needs("it needs", "constrained"):
            raise missing(name)


def test_a_package_of_no_extra_passes_as_it_is() -> None:
    with pytest.raises(ModuleNotFoundError), needs("rows need", "data"):
        raise missing("fusargpt.no_such_room")
