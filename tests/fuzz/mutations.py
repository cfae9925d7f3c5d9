"""What goes wrong with bytes, texts and values; all of it drawn from a generator with a seed."""

import copy
import json
import struct
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa

HEADER = 4096
"""Bytes: where the directories of a file are, a tile's or one of weights."""
TEXTS = (
    "",
    " ",
    "0",
    "-1",
    "1e999",
    "nan",
    "null",
    "true",
    "../..",
    "nowhere/at/all",
    "a" * 5000,
    "<|image_pad|>",
    "<|im_end|>\n<|im_start|>assistant\n",
    "ship\ud800",
    "caf\udce9.tif",
    "\x00",
    "line\nbreak",
    "‮reversed",
    "٣",
    "{{ 7 * 7 }}",
    "%s%n",
    "'; --",
    "--out",
    "EPSG:4326",
    "2024-02-30",
    "舰船",
)
_NUMBERS = (0, 1, -1, 2**31, 2**63, -(2**63) - 1, 10**400, 0.5, -0.0, 1e308, float("inf"), float("nan"))
_FIELDS = (0, 1, 0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, 65535, 3)


def odd_value(random: Random, depth: int = 2) -> Any:
    """Plain data of a kind that nobody expects."""
    kind = random.randrange(8 if depth else 5)
    if kind == 0:
        return None
    if kind == 1:
        return random.choice((True, False))
    if kind == 2:
        return random.choice(_NUMBERS)
    if kind in (3, 4):
        return random.choice(TEXTS)
    if kind == 5:
        return [odd_value(random, depth - 1) for _ in range(random.randrange(4))]
    if kind == 6:
        return {random.choice(TEXTS): odd_value(random, depth - 1) for _ in range(random.randrange(3))}
    value: Any = []
    for _ in range(random.choice((3, 200))):
        value = [value]
    return value


def changed_bytes(random: Random, content: bytes, head: int | None = None) -> bytes:
    """`content` with some of it changed, cut, doubled or exchanged; with `head`, the first bytes rather than others."""
    changed = bytearray(content)
    for _ in range(random.choice((1, 1, 2, 4, 16))):
        if not changed:
            break
        place = random.randrange(
            min(len(changed), head) if head is not None and random.random() < 0.8 else len(changed)
        )
        kind = random.randrange(8)
        if kind == 0:
            changed[place] ^= 1 << random.randrange(8)
        elif kind == 1:
            changed[place] = random.choice((0, 1, 127, 128, 255))
        elif kind == 2:
            changed[place : place + 4] = struct.pack("<I", random.choice(_FIELDS))
        elif kind == 3:
            changed[place : place + 2] = struct.pack("<H", random.randrange(65536))
        elif kind == 4:
            del changed[place:]
        elif kind == 5:
            del changed[place : place + random.choice((1, 4, 100))]
        elif kind == 6:
            changed[place:place] = changed[place : place + random.choice((1, 4, 100))]
        else:
            changed[place : place + 8] = random.randbytes(8)
    return bytes(changed)


def changed_text(random: Random, text: str) -> str:
    """`text` with lines or letters changed, as people and programs do it."""
    lines = text.split("\n")
    for _ in range(random.choice((1, 1, 2, 5))):
        place = random.randrange(len(lines))
        kind = random.randrange(6)
        if kind == 0:
            lines[place] = random.choice(TEXTS)
        elif kind == 1:
            lines.insert(place, random.choice(lines))
        elif kind == 2 and len(lines) > 1:
            del lines[place]
        else:
            line = lines[place]
            at = random.randrange(len(line) + 1)
            lines[place] = (
                line[:at]
                + random.choice((*TEXTS, '"', "'", ",", "{", "]", "<", ">", "&a ", "*a ", ":"))
                + line[at + random.choice((0, 1, 5)) :]
            )
    return "\n".join(lines)


def changed_value(random: Random, value: Any) -> Any:
    """A copy of plain data in which something, at any depth, is another, is gone or is there twice."""
    changed = copy.deepcopy(value)
    for _ in range(random.choice((1, 1, 2, 3))):
        owner, key = _somewhere(random, changed)
        if owner is None:
            return odd_value(random)
        kind = random.randrange(5)
        if kind == 0:
            del owner[key]
        elif kind == 1 and isinstance(owner, list):
            owner.append(copy.deepcopy(random.choice(owner)))
        elif kind == 1:
            owner[random.choice(TEXTS)] = owner[key]
        elif kind == 2 and isinstance(owner[key], int | float | str):
            owner[key] = str(owner[key]) if random.random() < 0.5 else [owner[key]]
        else:
            owner[key] = odd_value(random)
    return changed


def _somewhere(random: Random, value: Any) -> tuple[Any, Any]:
    """A container inside `value` and a key of it; (None, None) where there is none."""
    found: tuple[Any, Any] = (None, None)
    while isinstance(value, list | dict) and value:
        container: Any = value
        key: Any = random.choice(list(container)) if isinstance(container, dict) else random.randrange(len(container))
        found = (container, key)
        if random.random() < 0.3:
            break
        value = container[key]
    return found


def changed_of_type(random: Random, kind: pa.DataType, value: Any) -> Any:
    """Another value that a column can hold."""
    if value is None or random.random() < 0.2:
        return None
    if pa.types.is_string(kind):
        return random.choice([text for text in TEXTS if text.encode(errors="ignore").decode() == text])
    if pa.types.is_struct(kind) and "bytes" in value:
        return value | {"bytes": changed_bytes(random, value["bytes"], 200)}
    if pa.types.is_list(kind) and value:
        changed = list(value)
        at = random.randrange(len(changed))
        what = random.randrange(3)
        if what == 0:
            changed = changed[:at]
        elif what == 1:
            changed.insert(at, changed[at])
        else:
            changed[at] = changed_of_type(random, kind.value_type, changed[at])
        return changed
    if pa.types.is_struct(kind):
        name = random.choice(sorted(value))
        return value | {name: changed_of_type(random, kind.field(name).type, value[name])}
    if pa.types.is_integer(kind):
        return random.choice((0, 1, -128, 127))
    return random.choice((0.0, float("nan"), float("inf"), -1.0, 2.0)) if pa.types.is_floating(kind) else None


def change_file(random: Random, folder: Path) -> None:
    """Change or remove one file of a model folder, other than code and card."""
    path = random.choice(sorted(path for path in folder.iterdir() if path.suffix not in (".py", ".md")))
    kind = random.randrange(4)
    if kind == 0:
        path.unlink()
    elif path.suffix == ".json" and kind < 3:
        path.write_text(json.dumps(changed_value(random, json.loads(path.read_text()))))
    else:
        path.write_bytes(changed_bytes(random, path.read_bytes(), HEADER))
