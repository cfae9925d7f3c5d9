"""Questions about an image whose objects are known, and their true answers.

Which question is asked in which wording follows from the image's name, not from chance, so that the same image gets the
same questions wherever and whenever it is built.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fusargpt.tasks.answers import LabelledBox
from fusargpt.tasks.prompts import NONE_ANSWER, TARGET_TASKS, TASKS, cell_of, format_boxes, format_cells, prompt
from fusargpt.tasks.stable_random import share, whole_number

ABSENT_SHARE = 0.2
"""Of the images that hold objects: how many are asked about a class that they do not hold."""
_TOKEN_SIDE = 28


@dataclass(frozen=True)
class Question:
    """A question with its answer. `target` is the class it is about, "" for questions about no class in particular."""

    task: str
    target: str
    prompt: str
    answer: str


def turn(role: str, content: str) -> dict[str, str]:
    """One message of a conversation; `role` is "user" or "assistant"."""
    return {"role": role, "content": content}


def conversation(task: str, question: str, answer: str) -> dict[str, object]:
    """The columns of a record that hold its question and its answer, as TRL reads them."""
    return {"task": task, "prompt": [turn("user", question)], "completion": [turn("assistant", answer)]}


def box_order(box: Sequence[int]) -> tuple[int, int]:
    """Sort key: by rows of the 28 px token grid, then left to right: the order in which a decoder meets the tokens."""
    x1, y1, x2, y2 = box
    return (y1 + y2) // 2 // _TOKEN_SIDE, x1 + x2


def true_answer(task: str, target: str, objects: Sequence[LabelledBox], width: int, height: int) -> str:
    """The answer of `task` about the class `target` for an image of `width` x `height` pixels.

    Raises:
        ValueError: a task that is not answered from objects, or classification of an image with several classes.
    """
    boxes = [box for box, label in objects if label == target]
    if task == "count":
        return str(len(boxes))
    if task == "localize":
        return format_cells([cell_of(box, width, height) for box in boxes])
    if task == "detect":
        return format_boxes([list(box) for box in boxes], [target] * len(boxes))
    if task == "classify":
        labels = {label for _, label in objects}
        if len(labels) > 1:
            raise ValueError(f"classify: found {', '.join(sorted(labels))}, expected objects of one class")
        return next(iter(labels), NONE_ANSWER)
    raise ValueError(f"task: found {task!r}, expected one of {', '.join(TASKS[1:])}")


def questions_about(
    name: str, objects: Sequence[LabelledBox], cut: Sequence[str], targets: Sequence[str], width: int, height: int
) -> list[Question]:
    """All questions that an image is asked.

    Of each class that it holds, it is asked to count, localize and detect; of a class that it does not hold, in
    `ABSENT_SHARE` of the cases. An image without objects is asked each of these about one class. It is asked to
    classify where there is one class or none.

    Args:
        name: of the image, which decides on wordings and absent classes.
        objects: all that the image holds of `targets`.
        cut: classes of which it shows parts only; nothing is asked about them, and nothing to classify.
        targets: the classes that were annotated.
        width: of the image in pixels.
        height: of the image in pixels.
    """
    present = {label for _, label in objects}
    askable = [target for target in targets if target not in cut]
    asked: list[tuple[str, str]] = []
    for task in TARGET_TASKS:
        if present:
            chosen = [target for target in askable if target in present or share(name, task, target) < ABSENT_SHARE]
        else:
            chosen = [askable[whole_number(name, task) % len(askable)]] if askable else []
        asked += [(task, target) for target in chosen]
    if len(present) <= 1 and not cut:
        asked.append(("classify", ""))
    return [
        Question(
            task,
            target,
            prompt(task, target or targets[0], whole_number(name, task, target, "wording")),
            true_answer(task, target, objects, width, height),
        )
        for task, target in asked
    ]
