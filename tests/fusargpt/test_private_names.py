"""The private names that the code touches are those that `fusargpt.private_names` lists, and they are still there."""

import ast
import importlib
import importlib.util
import inspect
import pkgutil
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import rasterio

from fusargpt.private_names import ATTRIBUTES, CALLED, OVERRIDDEN
from tests.paths import ROOT

LISTED = (*CALLED, *OVERRIDDEN, *ATTRIBUTES)
PACKAGES = ("gradio", "peft", "rasterio", "transformers", "trl", "vllm")
# Folders with code; those of checkpoints hold copies of modeling_fusargpt.
FOLDERS = ("fusargpt", "modeling_fusargpt", "modeling_fusarklip", "trl_recipes", "space_app", "metrics")
SOURCES = {
    str(path.relative_to(ROOT)): ast.parse(path.read_text())
    for folder in FOLDERS
    for path in sorted((ROOT / folder).rglob("*.py"))
    if not path.is_relative_to(ROOT / "fusargpt" / "checkpoints")
}
# Submodules whose names are not at the top of their package, but in its documentation.
DOCUMENTED = re.compile(
    r"rasterio\.[a-z]\w*|gradio\.\w+|transformers\.("
    r"generation\.streamers|image_transforms|image_utils|integrations\.sdpa_attention|masking_utils|modeling_outputs|"
    r"trainer_utils|training_args|utils\.import_utils)"
)
UNDERSCORED_BUT_PUBLIC = {"_asdict", "_exit", "_fields", "_replace"}  # of the standard library


def found(name: str) -> Any:
    module, _, path = name.partition(":")
    package = module.partition(".")[0]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed here")
    place: Any = importlib.import_module(module)
    for part in path.split("."):
        place = getattr(place, part)
    return place


def parameters(function: Any) -> list[inspect.Parameter]:
    return list(inspect.signature(function).parameters.values())


@pytest.mark.parametrize("name", CALLED)
def test_what_is_called_takes_what_it_is_given(name: str) -> None:
    place, given = found(name), CALLED[name]
    if given is None:
        return
    positional, _, keywords = given.partition("*")
    passed, named = ([name for name in part.split(", ") if name] for part in (positional, keywords))
    assert [parameter.name for parameter in parameters(place)][: len(passed)] == passed
    inspect.signature(place).bind(*passed, **dict.fromkeys(named))


@pytest.mark.parametrize("name", OVERRIDDEN)
def test_what_is_overridden_is_called_as_before(name: str) -> None:
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    assert ", ".join(stars.get(one.kind, "") + one.name for one in parameters(found(name))) == OVERRIDDEN[name]


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_attributes_are_there(name: str) -> None:
    owner, _, attribute = name.rpartition(".")
    place = found(owner)
    assert attribute in dir(place) or re.search(rf"\b{attribute}\b", inspect.getsource(place))


def test_code_touches_no_private_name_that_is_not_listed() -> None:
    touched = {name.rpartition(".")[2] for name in LISTED} | OWN | UNDERSCORED_BUT_PUBLIC
    passed = set(re.findall(r"\b_\w+", " ".join(filter(None, CALLED.values())))) | OWN
    unknown = []
    for path, tree in SOURCES.items():
        unknown += [(path, name) for name in imported(tree) if name not in LISTED]
        for node in ast.walk(tree):
            match node:
                case ast.Attribute(attr=name) if private(name) and name not in touched:
                    unknown.append((path, name))
                case ast.keyword(arg=str(name)) if private(name) and name not in passed:
                    unknown.append((path, name))
                case _:
                    pass
    assert not unknown


def test_the_library_imports_private_names_in_one_place() -> None:
    elsewhere = ("fusargpt/private_names.py", "fusargpt/serving/vllm_", "modeling_fusargpt/", "modeling_fusarklip/")
    for path, tree in SOURCES.items():
        # A class is imported where another one is derived from it.
        names = [name for name in imported(tree) if not any(method.startswith(f"{name}.") for method in OVERRIDDEN)]
        assert not names or path.startswith(elsewhere), (path, names)


def test_what_is_overridden_is_listed() -> None:
    overridden = {name.rpartition(".")[2] for name in OVERRIDDEN} | {name.rpartition(".")[2] for name in ATTRIBUTES}
    for own in own_classes():
        theirs = {name for base in own.__mro__ if package_of(base) in PACKAGES for name in vars(base)}
        ours = {name for base in own.__mro__ if package_of(base) in FOLDERS for name in vars(base)} & OWN
        assert ours & theirs <= overridden, own


def test_gdal_knows_the_settings_that_it_is_given() -> None:
    libraries = list((Path(rasterio.__file__).parent.parent / "rasterio.libs").glob("libgdal*"))
    if not libraries:
        pytest.skip("rasterio is not one of the wheels that bring GDAL")
    known = libraries[0].read_bytes()
    nodes = [node for tree in SOURCES.values() for node in ast.walk(tree)]
    words = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    words += [node.arg for node in nodes if isinstance(node, ast.keyword) and node.arg]
    settings = {word for word in words if re.fullmatch(r"(CPL|GDAL|VSI)_[A-Z_]+", word)}
    assert settings and not {name for name in settings if name.encode() not in known}


def own_classes() -> list[type]:
    """Those of the library, the remote code and the recipes that can be imported here."""
    for package in ("fusargpt", "modeling_fusargpt", "modeling_fusarklip", "trl_recipes"):
        for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            try:
                importlib.import_module(module.name)
            except ModuleNotFoundError as error:
                assert error.name and error.name.partition(".")[0] not in FOLDERS  # an extra that is not installed
    modules = [module for name, module in sys.modules.items() if name.partition(".")[0] in FOLDERS]
    return [own for module in modules for own in vars(module).values() if inspect.isclass(own)]


def package_of(kind: type) -> str:
    return kind.__module__.partition(".")[0]


def imported(tree: ast.AST) -> Iterator[str]:
    """Private names that are imported, as the lists have them."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or (node.module or "").partition(".")[0] not in PACKAGES:
            continue
        package, _, rest = str(node.module).partition(".")
        is_hidden = any(map(private, rest.split("."))) or bool(rest and not DOCUMENTED.fullmatch(str(node.module)))
        for name in node.names:
            if private(name.name) or (is_hidden and not offers(package, name.name)):
                yield f"{node.module}:{name.name}"


def offers(package: str, name: str) -> bool:
    return importlib.util.find_spec(package) is not None and hasattr(importlib.import_module(package), name)


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name != "_"


def defined(tree: ast.AST) -> Iterator[str]:
    """Names with an underscore that a file of ours gives to something, or to an attribute."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.arg(arg=name):
                yield name
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name
            case _:
                pass


LISTED_ATTRIBUTES = {name.rpartition(".")[2] for name in ATTRIBUTES}
OWN = {name for tree in SOURCES.values() for name in defined(tree) if private(name)} - LISTED_ATTRIBUTES
