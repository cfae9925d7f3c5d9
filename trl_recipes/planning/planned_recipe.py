"""A recipe as a plan reads it: the stage's own fields and those of its trainer that cost something, without torch.

TRL's parser takes 9 seconds to import. Names are held against its fields all the same; values of fields that a plan
does not read are looked at when the stage is run.
"""

import argparse
import ast
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, dataclass, fields
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import UnionType
from typing import Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

import yaml

from fusargpt.errors import InputError
from trl_recipes.arguments import DECIDED_HERE, RecipeArguments
from trl_recipes.field_checks import check_decided, check_values
from trl_recipes.recipe_file import check_recipe, named_type, recipe_path

# Where TRL's SFTConfig, its parent and theirs stand.
_SOURCES = (
    ("trl", "trainer/sft_config.py"),
    ("trl", "trainer/base_config.py"),
    ("transformers", "training_args.py"),
)
_TRUE, _FALSE = ("yes", "true", "t", "y", "1"), ("no", "false", "f", "n", "0")


@dataclass(frozen=True)
class TrainerFields:
    """The fields of TRL's ``SFTConfig`` that a plan reads, with the defaults that they have there."""

    per_device_train_batch_size: int = 8
    gradient_accumulation_steps: int = 1
    num_train_epochs: float = 3.0
    max_steps: int = -1
    optim: str = "adamw_torch_fused"
    bf16: bool | None = None
    fp16: bool = False
    activation_checkpointing: bool | None = None
    gradient_checkpointing: bool | None = True

    @property
    def in_16_bits(self) -> bool:
        """Whether products are: in bfloat16 where nothing else is said."""
        return self.fp16 or self.bf16 is not False

    @property
    def checkpointing(self) -> bool:
        """Of activations, by its name, else by the older one."""
        new = self.activation_checkpointing
        return bool(self.gradient_checkpointing if new is None else new)


def read_recipe(arguments: Sequence[str]) -> tuple[RecipeArguments, TrainerFields]:
    """Read `recipe.yaml` and the ``--key value`` pairs after it, which override it.

    Raises:
        InputError: for a recipe that cannot be read or is not YAML, a key that no field has, or a value that a field
            that a plan reads does not allow.
        ModuleNotFoundError: TRL is not installed, by which names of fields are known.
    """
    path = recipe_path(arguments[0])
    own, trainers = get_type_hints(RecipeArguments), get_type_hints(TrainerFields)
    hints: dict[str, Any] = own | trainers
    names = set(trainer_field_names()) | set(own)
    try:
        check_recipe(path, {name: hint for name, hint in hints.items() if name not in DECIDED_HERE})
        written: dict[str, Any] = yaml.safe_load(Path(path).read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror}); expected a recipe") from error
    given = {name: value for name, value in written.items() if name != "env"}
    given |= _overrides(arguments[1:], names)
    if unknown := sorted(set(given) - names):
        raise InputError(f"no field of a recipe has the name {', '.join(unknown)}; see trl_recipes/README.md")
    values = {name: _typed(name, value, hints.get(name)) for name, value in given.items()}
    check_values(values)
    check_decided(values, DECIDED_HERE)
    needed = [field.name for field in fields(RecipeArguments) if field.default is MISSING]
    if missing := [f"--{name}" for name in needed if name not in values]:
        raise InputError(f"the following arguments are required: {', '.join(missing)}")
    try:
        recipe = RecipeArguments(**{name: value for name, value in values.items() if name in own})
    except InputError:
        raise
    except ValueError as error:
        raise InputError(" ".join(str(error).split())) from error
    config = TrainerFields(**{name: value for name, value in values.items() if name in trainers})
    for name in ("per_device_train_batch_size", "gradient_accumulation_steps", "num_train_epochs"):
        if vars(config)[name] <= 0:
            raise InputError(f"{name}: found {vars(config)[name]}, expected more than 0")
    return recipe, config


@cache
def trainer_field_names() -> frozenset[str]:
    """Of ``SFTConfig``, from its source: no import, and no list of ours that another release makes wrong."""
    return frozenset(name for package, file in _SOURCES for name in _fields_of(package, file))


def _fields_of(package: str, file: str) -> Iterator[str]:
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    source = Path(next(iter(spec.submodule_search_locations)), file).read_text(encoding="utf-8")
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.ClassDef) and any(
            "dataclass" in ast.unparse(one) for one in statement.decorator_list
        ):
            for line in statement.body:
                if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
                    yield line.target.id


class _Overrides(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(message)


def _overrides(arguments: Sequence[str], names: set[str]) -> dict[str, list[str]]:
    parser = _Overrides(allow_abbrev=False, add_help=False, argument_default=argparse.SUPPRESS)
    for name in sorted(names):
        parser.add_argument(*dict.fromkeys((f"--{name}", f"--{name.replace('_', '-')}")), dest=name, nargs="*")
    return vars(parser.parse_args(list(arguments)))


def _typed(name: str, value: Any, hint: Any) -> Any:
    """A value of a recipe, or the texts of the command line, as a field of the type `hint` holds it.

    Without a hint, of a field that a plan does not read, as YAML has it.
    """
    if isinstance(value, list) and hint is None:
        return _as_yaml(value[0] if value else "true") if len(value) < 2 else value
    if isinstance(value, list) and get_origin(hint) is not list:
        if len(value) > 1:
            raise InputError(f"{name}: found {len(value)} values; expected one")
        value = value[0] if value else "true"
    if hint is None or not isinstance(value, str):
        return float(value) if hint is float and isinstance(value, int) else value
    for member in get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,):
        read = _read(value, member)
        if read is not None:
            return read
    raise InputError(f"{name}: found {value!r}; expected {named_type(hint)}")


def _as_yaml(text: object) -> object:
    try:
        return yaml.safe_load(text) if isinstance(text, str) else text
    except yaml.YAMLError:
        return text


def _read(text: str, kind: Any) -> Any:
    """What a text says as a value of a type; None where it says none."""
    if kind is bool:
        return True if text.lower() in _TRUE else False if text.lower() in _FALSE else None
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            return None
    if get_origin(kind) is Literal:
        return text if text in get_args(kind) else None
    if get_origin(kind) is list:
        return [text]
    return text if kind is str else None
