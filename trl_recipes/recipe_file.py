"""A recipe's YAML, looked at before anything is made of it: plain values that its fields can take, each said once."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import yaml

from fusargpt.errors import InputError

_FOLDER = Path(__file__).resolve().parent
_MAX_BYTES = 2**20
_MAX_DEPTH = 8  # of lists and mappings in each other; recipes have 2


def recipe_path(name: str) -> str:
    """Where a recipe is: a file, or one that comes with the package, as nano/stage2 or trl_recipes/nano/stage2.yaml.

    Raises:
        InputError: there is no such file.
    """
    if Path(name).is_file():
        return name
    own = _FOLDER / name.removeprefix(f"{_FOLDER.name}/").removesuffix(".yaml")
    path = own.with_name(f"{own.name}.yaml")
    if path.is_file() and _FOLDER in path.resolve().parents:
        return str(path)
    known = sorted(
        path.relative_to(_FOLDER).as_posix() for path in _FOLDER.rglob("*.yaml") if "accelerate" not in path.parts
    )
    close = get_close_matches(name, known, n=1)
    told = f"; did you mean {close[0]}?" if close else f", or of those that come with the package: {', '.join(known)}"
    raise InputError(f"{name}: no such recipe; expected a YAML file{told}")


def check_recipe(path: str, hints: Mapping[str, Any]) -> None:
    """Look at the file before TRL's parser does, which takes what YAML makes of it.

    Args:
        path: of the recipe.
        hints: the types of the fields, by name; unknown names are the parser's to refuse.

    Raises:
        InputError: a file that is no YAML, large or no mapping of names to values; an alias, by which a small file can
            unfold to any size; a key that stands there twice; dates and other values that no field has, or of another
            type than its field's.
        OSError: a file that cannot be read.
    """
    content = Path(path).read_bytes()
    if len(content) > _MAX_BYTES:
        raise InputError(f"{path}: {len(content):,} bytes; a recipe has at most {_MAX_BYTES:,}")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8") from error
    try:
        _check_events(path, text)
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split()).replace('"<unicode string>"', f'"{path}"')
        raise InputError(f"the recipe is not YAML: {reason}") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: found {type(values).__name__}; expected fields and their values, one a line")
    for name, value in values.items():
        if not isinstance(name, str):
            raise InputError(f"{path}: found {name!r} as the name of a field; expected a text")
        for part in _scalars(value):
            if not isinstance(part, str | int | float | None):
                raise InputError(f"{name}: found {part}, a {type(part).__name__}; put it in quotes if it is a text")
        if name in hints and not _fits(value, hints[name]):
            found = "nothing" if value is None else repr(value)
            raise InputError(f"{name}: found {found}; expected {named_type(hints[name])}")


def system_of(path: str) -> object:
    """What a recipe says that it is for, in its field `system`; None where it says nothing, or is not readable."""
    try:
        values = yaml.safe_load(Path(path).read_bytes()[:_MAX_BYTES])
    except (OSError, yaml.YAMLError, UnicodeDecodeError):
        return None  # the parser says what is wrong with it
    return values.get("system") if isinstance(values, dict) else None


def _check_events(path: str, text: str) -> None:
    depth, keys, is_key = 0, set[str](), True
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            raise InputError(f"{path}, line {line}: found the alias *{event.anchor}; write the value itself")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _MAX_DEPTH:
                raise InputError(f"{path}, line {line}: more than {_MAX_DEPTH} lists and mappings in each other")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth == 1 and isinstance(event, yaml.ScalarEvent | yaml.CollectionEndEvent):
            if is_key and isinstance(event, yaml.ScalarEvent):
                if event.value in keys:
                    raise InputError(f"{path}, line {line}: {event.value} stands there twice; keep one of them")
                keys.add(event.value)
            is_key = not is_key


def _scalars(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from _scalars(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _scalars(inner)
    else:
        yield value


def _fits(value: Any, hint: Any) -> bool:
    """Whether a field of the type `hint` can take what YAML gave; texts are converted, or refused, by the parser."""
    if get_origin(hint) in (Union, UnionType):
        return any(_fits(value, member) for member in get_args(hint))
    if value is None:
        return hint in (type(None), Any)
    if get_origin(hint) is list:
        members = get_args(hint) or (Any,)
        return isinstance(value, str) or (isinstance(value, list) and all(_fits(one, members[0]) for one in value))
    if hint is dict or get_origin(hint) is dict:
        return isinstance(value, dict | str)
    if get_origin(hint) is Literal:
        return isinstance(value, str | bool)
    if hint is int:
        return isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool))
    if hint is float:
        return isinstance(value, str | int | float) and not isinstance(value, bool)
    if hint is bool:
        return isinstance(value, str | bool)
    return hint is Any or isinstance(value, str)


def named_type(hint: Any) -> str:
    """A type as a message says it."""
    members = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    names = {str: "text", int: "a whole number", float: "a number", bool: "true or false", type(None): "null"}
    said: list[str] = []
    for member in members:
        name = names.get(member, "")
        if get_origin(member) is Literal:
            name = " or ".join(map(str, get_args(member)))
        elif member is dict or get_origin(member) is dict:
            name = "fields and values"
        elif get_origin(member) is list:
            name = "a list"
        said.append(name or "a name")
    return ", or ".join(dict.fromkeys(said))
