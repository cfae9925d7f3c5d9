"""What a question leaves unsaid to a model that was not trained on it: the form in which its answer is read."""

from collections.abc import Iterable, Sequence

from fusargpt.errors import InputError
from fusargpt.evaluation.items import KnownItem
from fusargpt.tasks.answers import parse_boxes
from fusargpt.tasks.grammar import FORMED_TASKS, AnswerForm
from fusargpt.tasks.prompts import NONE_ANSWER
from fusargpt.tasks.target_names import TARGETS

_FORMS = {
    "describe": "Answer with the description alone, in plain sentences.",
    "count": "Answer with the number alone, in digits.",
    "localize": (
        "The cells are numbered from 1 to 9, row by row from the top left. Answer with the numbers of the cells alone, "
        f"ascending and separated by commas, or {NONE_ANSWER}."
    ),
    "classify": f"Answer with the name of one class alone: {{classes}}; or {NONE_ANSWER}.",
    "detect": (
        'Answer with a JSON list alone, as [{{"bbox_2d": [x1, y1, x2, y2], "label": "{example}"}}], with corners in '
        f"{{unit}}, or {NONE_ANSWER}."
    ),
}


def classes(items: Iterable[KnownItem]) -> str:
    """The class names among the references of `classify`, as a list in a sentence; ours where all of them are None."""
    return ", ".join(_names(items, "classify"))


def example(items: Iterable[KnownItem]) -> str:
    """A label among the references of `detect`: a ship where there are some, else the first."""
    names = _names(items, "detect")
    return TARGETS[0] if TARGETS[0] in names else names[0]


def grammars(items: Sequence[KnownItem]) -> dict[str, AnswerForm]:
    """The form of each task's answers, with the names among its references; ours where all of them are None.

    Raises InputError for a reference whose name cannot stand in an answer.
    """
    try:
        return {task: AnswerForm(task, _names(items, task)) for task in FORMED_TASKS}
    except ValueError as error:
        raise InputError(f"constrained: {error}") from error


def _names(items: Iterable[KnownItem], task: str) -> tuple[str, ...]:
    names: set[str] = set()
    for item in items:
        if item.task == task == "classify":
            names.add(item.reference.strip())
        elif item.task == task == "detect":
            names |= {label for _, label in parse_boxes(item.reference).value}
    return tuple(sorted(names - {NONE_ANSWER} or TARGETS))


def with_form(item: KnownItem, seen: tuple[int, int], class_names: str, label: str, in_thousandths: bool) -> str:
    """The question of `item` and the form of its answer.

    Args:
        item: what is asked.
        seen: width and height of the image in the unit of boxes.
        class_names: as `classes` returns them.
        label: as `example` returns it.
        in_thousandths: whether that unit is a thousandth of the image instead of a pixel.
    """
    unit = f"pixels of the image, which is {seen[0]} x {seen[1]}"
    if in_thousandths:
        unit = "thousandths of the image's width and height"
    return f"{item.question} {_FORMS[item.task].format(classes=class_names, example=label, unit=unit)}"
