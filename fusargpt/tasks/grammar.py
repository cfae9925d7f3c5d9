"""The form of an answer as a grammar, in the Lark dialect of llguidance. Neither torch nor llguidance here.

A grammar's language is what `tasks` writes and `answers` reads: every string of it is read without a problem, and
writing what was read gives the string again. It is smaller than what `answers` forgives, and holds no text that would
have to be mended.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from fusargpt.tasks.answers import class_name
from fusargpt.tasks.prompts import GRID_SIDE, NONE_ANSWER
from fusargpt.tasks.target_names import TARGETS

FORMED_TASKS = ("count", "localize", "classify", "detect")
"""A description is free text."""

# Forced bytes would be cut into tokens by the tokenizer's longest match, where a model may have learnt another cut:
# fusargpt-nano writes ", " as one token.
_OPTIONS = '%llguidance {"no_forcing": true}\n'
_DIGITS = 9  # of a count, as `answers` reads it


@dataclass(frozen=True)
class AnswerForm:
    """The form that an answer must have.

    Args:
        task: "count": digits; "localize": ascending cells as "1, 5"; "classify": one of `names`; "detect": a JSON list
            of boxes with whole numbers within the image as the model sees it. All but "count" may be "None".
        names: the classes of "classify" and the labels of "detect".

    Raises:
        ValueError: another task, no name, or a name that cannot stand in an answer: one that is blank, longer than 400
            characters, "None", or with braces, quotation marks, backslashes, or characters around it that a parser
            takes for decoration.
    """

    task: str
    names: tuple[str, ...] = TARGETS

    def __post_init__(self) -> None:
        if self.task not in FORMED_TASKS:
            raise ValueError(f"task: found {self.task!r}, expected one of {', '.join(FORMED_TASKS)}")
        if not self.names:
            raise ValueError("names: found none, expected at least one")
        for name in self.names:
            readable = class_name(name) == name.casefold() and name.isprintable() and len(name) <= 400
            if not readable or not name or set(name) & set('{}"\\') or class_name(name) == NONE_ANSWER.casefold():
                raise ValueError(f"names: found {name!r}, expected a plain class name")


def grammar(form: AnswerForm, size: tuple[int, int], boxes: int | None = None) -> str:
    """The grammar of `form`.

    Args:
        form: of the answer.
        size: (width, height) in pixels of the image as the model sees it.
        boxes: of "detect": with how many boxes a list ends, at least 1; None leaves it open.
    """
    if form.task == "count":
        return f"{_OPTIONS}start: /0|[1-9][0-9]{{0,{_DIGITS - 1}}}/\n"
    none = json.dumps(NONE_ANSWER)
    if form.task == "classify":
        return f"{_OPTIONS}start: {_either(form.names)} | {none}\n"
    if form.task == "localize":
        return f"{_OPTIONS}start: {none} | {_cells(1)}\n{_cell_rules()}"
    width, height = size
    # A repetition of zero times is not in the dialect.
    further = "" if boxes == 1 else '(", " box)*' if boxes is None else f'(", " box){{{boxes - 1}}}'
    labels = _either([json.dumps(name, ensure_ascii=False) for name in form.names])
    return (
        f'{_OPTIONS}start: {none} | "[" box {further} "]"\n'
        r'box: "{\"bbox_2d\": [" x ", " y ", " x ", " y "], \"label\": " '
        f'({labels}) "}}"\n'
        f'x: %json {{"type": "integer", "minimum": 0, "maximum": {width}}}\n'
        f'y: %json {{"type": "integer", "minimum": 0, "maximum": {height}}}\n'
    )


def longest_answer(form: AnswerForm, size: tuple[int, int]) -> int:
    """Bytes of the longest answer that `form` may need: of "detect", of a list with one box."""
    if form.task == "count":
        return _DIGITS
    if form.task == "localize":
        return len(", ".join(map(str, range(1, GRID_SIDE**2 + 1))))
    longest_name = max(len(name.encode()) for name in form.names)
    if form.task == "classify":
        return max(longest_name, len(NONE_ANSWER))
    corners = ", ".join(str(side) for side in (*size, *size))
    return len(f'[{{"bbox_2d": [{corners}], "label": ""}}]') + longest_name


def boxes_begun(text: str) -> int:
    """How many boxes the beginning `text` of a "detect" answer has begun; with a comma behind a box, the next one."""
    closed = text.count("}")
    return closed + bool(text.rpartition("}")[2])


def _either(texts: Sequence[str]) -> str:
    return " | ".join(json.dumps(text, ensure_ascii=False) for text in texts)


def _cells(first: int) -> str:
    return " | ".join(f"cell_{cell}" for cell in range(first, GRID_SIDE**2 + 1))


def _cell_rules() -> str:
    """One rule a cell: itself, and perhaps a list that begins with a later one."""
    last = GRID_SIDE**2
    rules = [f'cell_{cell}: "{cell}" (", " ({_cells(cell + 1)}))?\n' for cell in range(1, last)]
    return "".join(rules) + f'cell_{last}: "{last}"\n'
