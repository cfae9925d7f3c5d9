"""What a model answered, read back: counts, cells, class names and boxes.

A model may write anything. Each function reads the form that its task asks for, and reports as problems what it could
not read: it never guesses, and no text makes it fail. Allowed around every form: white space, a Markdown code fence,
quotation marks, backticks or asterisks, and a full stop at the end.

Boxes are looked for anywhere in the answer: every `{...}` is one, and text around them is passed over. Inside, JSON may
have single quotes and trailing commas, but no comments. Of a list that breaks off, the complete boxes are kept.
"""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from string import whitespace
from textwrap import shorten
from typing import Generic, NamedTuple, TypeVar

from fusargpt.tasks.prompts import GRID_SIDE, NONE_ANSWER
from fusargpt.tasks.target_names import TARGETS, plural

Value = TypeVar("Value")


@dataclass(frozen=True)
class Parsed(Generic[Value]):
    """What was read, and a line for everything that was not; without problems the whole answer was understood."""

    value: Value
    problems: tuple[str, ...] = ()


class LabelledBox(NamedTuple):
    """[x1, y1, x2, y2] in pixels of an image, and the class of what is in it.

    Of an answer, the numbers are finite and in any order and place, in pixels of the image as the model sees it; of a
    known object, they are its edges.
    """

    box: Sequence[float]
    label: str


SCORED_DIGITS = 2
"""Behind the point, of the corners of true boxes in pixels of an image as a model sees it."""

_DECORATION = whitespace + "\"'`*"
_FENCE = re.compile(r"```(?:\w+(?=\s*\n))?")
_NOUNS = frozenset((*TARGETS, *map(plural, TARGETS)))
# No more digits than an image can have targets: int() refuses some thousand of them.
_COUNTED = r"(?: ([^\W\d_][^\d,;:]{0,60}?))?"
_COUNT = re.compile(rf"(?:there (?:are|is) )?([0-9]{{1,9}}){_COUNTED}(?: in (?:this|the) image)?", re.I)
_CELLS = re.compile(r"cells?\b:?", re.I)
_EMPTY_LIST = re.compile(r"\[\s*\]")
# Bounded and possessive, so that an answer of any length is read in a time that grows no faster than it does.
_DOUBLE_QUOTED = r'"(?:[^"\\]|\\.){0,400}+"'
_SINGLE_QUOTED = r"'(?:[^'\\]|\\.){0,400}+'"
_OBJECT = re.compile(rf"\{{(?:[^{{}}\"']|{_DOUBLE_QUOTED}|{_SINGLE_QUOTED}){{0,500}}+\}}", re.DOTALL)
_CORNERS = re.compile(r"""(["']bbox_2d["']\s*:\s*)\[([^\[\]{}]*)\]""")
_LABEL = re.compile(r"""["']label["']\s*:\s*["']([^"'\\]{1,400}+)["']""")
_WRITTEN_NUMBER = re.compile(r"[^\s,]+")
_MENDED = re.compile(rf"{_DOUBLE_QUOTED}|{_SINGLE_QUOTED}|,(?=\s*[\]}}])", re.DOTALL)


def parse_count(answer: str, question: str = "") -> Parsed[int | None]:
    """The whole number of up to nine digits that the answer is, as "3", "3 ships" or "There are 3 ships."

    A noun may stand behind it that the question asks about, or one of `TARGETS`. Anything else, number words and a
    second number among it, is a problem, and the value None.
    """
    match = _COUNT.fullmatch(_bare(answer))
    if match is None or not (match[2] is None or _is_asked(match[2].casefold(), question.casefold())):
        return Parsed(None, (f"no whole number: {_excerpt(answer)}",))
    return Parsed(int(match[1]))


def parse_cells(answer: str) -> Parsed[frozenset[int]]:
    """The cell numbers that the answer lists, as "1, 5", "[1, 5]" or "Cells 1 and 5."; "None" and "[]" name none.

    A number outside 1..9 is a problem, and left out. An answer that is more than a list is a problem, and names no
    cell: the numbers of a sentence may count or deny something.
    """
    text = _bare(answer)
    if _is_none(text) or _EMPTY_LIST.fullmatch(text):
        return Parsed(frozenset())
    words = re.split(r"[\s,;\[\]()]+", _CELLS.sub("", text, count=1) if _CELLS.match(text) else text)
    words = [word for word in words if word and word.lower() != "and"]
    if not words or not all(re.fullmatch(r"[0-9]{1,9}", word) for word in words):
        return Parsed(frozenset(), (f"no list of cells: {_excerpt(answer)}",))
    cells = [int(word) for word in words]
    outside = [cell for cell in cells if not 1 <= cell <= GRID_SIDE**2]
    problems = [f"no cell {cell}" for cell in outside]
    if text.count("[") > text.count("]"):
        problems.append("the answer breaks off inside a list")
    return Parsed(frozenset(cells).difference(outside), tuple(problems))


def parse_class(answer: str) -> Parsed[str | None]:
    """The class name that the answer is, in lower case with single spaces; "none" for "None".

    Only an empty answer is a problem, with the value None: which names are classes is known to who asked.
    """
    name = class_name(answer)
    return Parsed(name) if name else Parsed(None, ("the answer is empty",))


def class_name(text: str) -> str:
    """The form in which class names are compared: without decoration, in lower case, with single spaces."""
    return " ".join(_bare(text).casefold().split())


def parse_boxes(answer: str) -> Parsed[list[LabelledBox]]:
    """The boxes in the answer, in its order; "None" and "[]" are no boxes.

    A box is a JSON object with `bbox_2d`, four finite numbers, and `label`, a text that is not blank and no longer than
    400 characters; other keys are passed over, but not those that hold an object. An object that is something else, a
    list or object that breaks off, and an answer with neither a box nor "None" are problems. Boxes beside them stay.
    """
    boxes: list[LabelledBox] = []
    problems: list[str] = []
    around = ""  # what stands between the objects: prose, list brackets, an object around all, the beginning of one
    end = 0
    for number, match in enumerate(_OBJECT.finditer(answer), 1):
        around += answer[end : match.start()]
        end = match.end()
        try:
            boxes.append(_read_box(match[0]))
        except ValueError as error:
            problems.append(f"object {number}: {error}: {_excerpt(match[0])}")
    around += answer[end:]
    if around.count("{") > around.count("}"):
        problems.append("the answer breaks off inside an object")
    elif "bbox_2d" in around:
        problems.append("a box whose quotes do not match, or with an object inside it")
    elif not end:
        if not _is_none(_bare(answer)) and not _EMPTY_LIST.search(answer):
            problems.append(f"neither a box nor {NONE_ANSWER}: {_excerpt(answer)}")
    elif around.count("[") > around.count("]"):
        problems.append("the answer breaks off inside a list")
    return Parsed(boxes, tuple(problems))


def box_values(answer: str) -> list[list[tuple[int, int]]]:
    """Where in the answer the coordinates and the label of each box of `parse_boxes` stand: (start, end) of each.

    A box whose coordinates or label are written in another way than answers have them stands there as a whole.
    """
    found: list[list[tuple[int, int]]] = []
    for match in _OBJECT.finditer(answer):
        try:
            _read_box(match[0])
        except ValueError:
            continue
        corners, label = _CORNERS.search(match[0]), _LABEL.search(match[0])
        if corners is None or label is None:
            found.append([match.span()])
            continue
        inside = [number.span() for number in _WRITTEN_NUMBER.finditer(match[0], *corners.span(2))]
        inside.append(label.span(1))
        found.append([(match.start() + start, match.start() + end) for start, end in inside])
    return found


def scale_boxes(
    text: str, old: tuple[int, int], new: tuple[int, int], digits: int | None = None, *, strict: bool = True
) -> str:
    """A text whose boxes are in pixels of an image, with them in pixels of the same image resized; all else stays.

    Args:
        text: an answer, or anything else that holds boxes as answers do, `"bbox_2d": [x1, y1, x2, y2]`.
        old: width and height of the image.
        new: those to which it is resized.
        digits: behind the point; None for whole numbers, between which a box keeps a pixel at least.
        strict: False leaves a `bbox_2d` without numbers as it is: a question may speak of the form alone.

    Raises:
        ValueError: a `bbox_2d` without four finite numbers.
    """
    if old == new:
        return text
    if strict and len(_CORNERS.findall(text)) < text.count("bbox_2d"):
        raise ValueError(f'found a bbox_2d that is no list, expected "bbox_2d": [x1, y1, x2, y2]: {_excerpt(text)}')
    factors = [after / before for after, before in zip(new, old, strict=True)] * 2

    def scaled(match: re.Match[str]) -> str:
        try:
            corners = [float(value) for value in match[2].split(",") if value.strip()]
        except ValueError:
            corners = []
        if len(corners) != 4 or not all(map(math.isfinite, corners)):
            if not strict:
                return match[0]
            raise ValueError(f"found {_excerpt(match[0])}, expected four numbers")
        values = [value * factor for value, factor in zip(corners, factors, strict=True)]
        if digits is None:
            return f"{match[1]}{_whole(values)}"
        return f"{match[1]}{[round(value, digits) for value in values]}"

    return _CORNERS.sub(scaled, text)


def _whole(corners: Sequence[float]) -> list[int]:
    """The nearest whole numbers; outwards along an axis where they would be one."""
    whole = [round(value) for value in corners]
    for low, high in ((0, 2), (1, 3)):
        if whole[low] == whole[high] and corners[low] != corners[high]:
            low, high = (low, high) if corners[low] < corners[high] else (high, low)
            whole[low], whole[high] = math.floor(corners[low]), math.ceil(corners[high])
    return whole


def _read_box(text: str) -> LabelledBox:
    """Raises ValueError with the reason when the object `text` is not a box."""
    try:
        # Every number becomes a float: whole numbers may have more digits than a float has range.
        item: dict[str, object] = json.loads(_MENDED.sub(_mend, text), strict=False, parse_int=float)
    except (ValueError, RecursionError):
        raise ValueError("no JSON") from None
    corners, label = item.get("bbox_2d"), item.get("label")
    if not isinstance(corners, list) or len(corners) != 4:
        raise ValueError("no bbox_2d of four numbers")
    if not all(isinstance(value, float) and math.isfinite(value) for value in corners):
        raise ValueError("a corner that is no finite number")
    if not isinstance(label, str) or not label.strip():
        raise ValueError("no label")
    return LabelledBox(corners, label)


def _is_asked(noun: str, question: str) -> bool:
    """Whether a noun, or its plural, is what is counted."""
    forms = "|".join(re.escape(form) for form in (noun, plural(noun)))
    return noun in _NOUNS or re.search(rf"(?<!\w)(?:{forms})(?!\w)", question) is not None


def _mend(token: re.Match[str]) -> str:
    """JSON for a quoted text or a trailing comma."""
    text = token[0]
    if text == ",":
        return ""
    if text[0] == '"':
        return text
    inner = re.sub(r'\\.|"', lambda part: {r"\'": "'", '"': r"\""}.get(part[0], part[0]), text[1:-1], flags=re.DOTALL)
    return f'"{inner}"'


def _bare(answer: str) -> str:
    return _FENCE.sub("", answer).lstrip(_DECORATION).rstrip(_DECORATION + ".")


def _is_none(bare: str) -> bool:
    return bare.casefold() == NONE_ANSWER.casefold()


def _excerpt(text: str) -> str:
    return repr(shorten(text, width=60, placeholder=" ...")) if text.strip() else "an empty answer"
