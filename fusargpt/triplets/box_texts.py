"""Annotations of one image in lines of text, as YOLO and DOTA write them.

YOLO: a class's number, then the centre, width and height of a box, or the corners of a polygon (of a rotated box four),
as shares of the image's width and height. DOTA: eight coordinates of four corners in pixels, the class's name, and
whether it is difficult; lines before that say source and resolution (`imagesource:`, `gsd:`).

YOLO's numbers are named by a `classes.txt`, one name a line, or by `names` of a `data.yaml`, beside the file or in one
of the two folders above; without one the number is the label. An empty file says, in both, that there are no objects.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import yaml

from fusargpt.errors import InputError, one_line
from fusargpt.files import read_regular, reason
from fusargpt.triplets.annotation_checks import finite_number, naming_object

CLASSES = "classes.txt"
_CLASSES_YAML = ("data.yaml", "dataset.yaml")
_HEADER = re.compile(r"(?:imagesource|gsd|acquisition dates?)\s*:.*", re.IGNORECASE)
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_BEYOND = 0.5
"""By how many images a rotated box may reach over the edge; what lies farther is in pixels."""
_DOTA_COORDINATES = 8


def text_entries(path: str, width: int, height: int) -> list[dict[str, Any]]:
    """The objects of a file as inline entries, `bbox_2d` and `corners` in pixels.

    Args:
        path: of the .txt file.
        width: of the scene in pixels.
        height: likewise.

    Raises:
        InputError: a file that cannot be read, or a line that is in neither form, or in another than the first.
    """
    lines = [line.split() for line in _lines(path) if line.strip() and not _HEADER.fullmatch(line.strip())]
    if not lines:
        return []
    is_yolo = all(_NUMBER.fullmatch(word) for word in lines[0])
    where, names = _names(Path(path)) if is_yolo else ("", {})
    entries = []
    for number, words in enumerate(lines, start=1):
        with naming_object(path, number):
            entries.append(_yolo(words, where, names, width, height) if is_yolo else _dota(words))
    return entries


def _lines(path: str | Path) -> list[str]:
    try:
        return read_regular(path).decode("utf-8-sig").splitlines()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({reason(error)})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text; save it as UTF-8") from error


def _names(path: Path) -> tuple[str, Mapping[int, str]]:
    """The file that names the classes, and their names by number; "" and none where there is no such file."""
    for folder in path.absolute().parents[:3]:
        for name in (CLASSES, *_CLASSES_YAML):
            if (folder / name).is_file():
                return name, _names_in(folder / name, (folder / name).stat().st_mtime_ns)
    return "", {}


@lru_cache(maxsize=16)
def _names_in(path: Path, changed: int) -> Mapping[int, str]:
    """Read once for the many files that it belongs to; `changed` tells another version of it."""
    if path.name == CLASSES:
        return dict(enumerate(line.strip() for line in _lines(path)))
    try:
        content: object = yaml.safe_load("\n".join(_lines(path)))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not YAML ({one_line(error)})") from error
    found: Any = cast(Mapping[str, Any], content).get("names") if isinstance(content, dict) else None
    named: Any = dict(enumerate(cast(list[Any], found))) if isinstance(found, list) else found
    if not isinstance(named, dict) or not all(
        type(number) is int and isinstance(name, str) for number, name in cast(Mapping[Any, Any], named).items()
    ):
        # Not what it holds: a few letters of YAML can be endless.
        raise InputError(f"{path}: names: found a {type(found).__name__}; expected the classes, as a list or by number")
    return cast(Mapping[int, str], named)


def _yolo(words: list[str], where: str, names: Mapping[int, str], width: int, height: int) -> dict[str, Any]:
    if (
        not words[0].isascii()
        or not words[0].isdigit()
        or not (len(words) == 5 or (len(words) >= 7 and len(words) % 2))
    ):
        raise InputError(
            f"found {_shown(words)!r}; expected a YOLO line, as the first is: the class's number, then x y "
            "width height, or the corners as x y pairs"
        )
    shares = [finite_number(word) for word in words[1:]]
    if not all(-_BEYOND <= share <= 1 + _BEYOND for share in shares):
        raise InputError(f"found {_shown(words)!r}; expected shares of the image, 0 to 1, as YOLO has them")
    number = int(words[0])
    if names and not names.get(number):
        raise InputError(f"class {number}: {where} names {len(names)}")
    label = names.get(number, words[0])
    if len(shares) == 4:
        x, y, across, down = shares
        edges = [(x - across / 2) * width, (y - down / 2) * height, (x + across / 2) * width, (y + down / 2) * height]
        return {"label": label, "bbox_2d": edges}
    return {"label": label, **hull([(x * width, y * height) for x, y in _pairs(shares)])}


def _dota(words: list[str]) -> dict[str, Any]:
    coordinates, rest = words[:_DOTA_COORDINATES], words[_DOTA_COORDINATES:]
    if len(rest) not in (1, 2) or not all(_NUMBER.fullmatch(word) for word in coordinates):
        raise InputError(
            f"found {_shown(words)!r}; expected a DOTA line, as the first is none of YOLO: x1 y1 x2 y2 x3 "
            "y3 x4 y4 name difficult"
        )
    if len(rest) == 2 and rest[1] not in ("0", "1", "2"):
        raise InputError(f"difficult: found {rest[1]!r}; expected 0, 1 or 2")
    return {"label": rest[0], **hull(_pairs([finite_number(word) for word in coordinates]))}


def hull(corners: list[tuple[float, float]]) -> dict[str, Any]:
    """The upright box about corners in pixels, and the corners, as an inline entry has them."""
    x, y = zip(*corners, strict=True)
    return {"bbox_2d": [min(x), min(y), max(x), max(y)], "corners": [list(corner) for corner in corners]}


def _pairs(numbers: list[float]) -> list[tuple[float, float]]:
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _shown(words: list[str]) -> str:
    return " ".join(words)[:80]
