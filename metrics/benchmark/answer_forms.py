"""What a question leaves unsaid to a model that was not trained on it: the form in which its answer is read."""

from collections.abc import Iterable

from metrics.benchmark.items import Item
from modeling_fusargpt.tasks import NONE_ANSWER, TARGETS

_FORMS = {
    "describe": "Answer with the description alone, in plain sentences.",
    "count": "Answer with the number alone, in digits.",
    "localize": (
        "The cells are numbered from 1 to 9, row by row from the top left. Answer with the numbers of the cells alone, "
        f"ascending and separated by commas, or {NONE_ANSWER}."
    ),
    "classify": f"Answer with the name of one class alone: {{classes}}; or {NONE_ANSWER}.",
    "detect": (
        'Answer with a JSON list alone, as [{{"bbox_2d": [x1, y1, x2, y2], "label": "ship"}}], with corners in pixels '
        f"of the image, which is {{width}} x {{height}}, or {NONE_ANSWER}."
    ),
}


def classes(items: Iterable[Item]) -> str:
    """The class names among the references of `classify`, as a list in a sentence; ours where all of them are None."""
    names = {item.reference.strip() for item in items if item.task == "classify"} - {NONE_ANSWER}
    return ", ".join(sorted(names or TARGETS))


def with_form(item: Item, seen: tuple[int, int], class_names: str) -> str:
    """The question of `item` and the form of its answer. `seen`: width and height of the image for the model."""
    form = _FORMS[item.task].format(classes=class_names, width=seen[0], height=seen[1])
    return f"{item.question} {form}"
