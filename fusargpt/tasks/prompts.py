"""The five tasks: how each is asked and how its answer is written; `answers` reads them. Nothing heavy is imported
here, so that a command explains itself at once.

Detection's published training prompt belongs to the authors' checkpoints and is passed as a free question there; the
templates below are ours, and fusargpt-nano is trained on them.
"""

import json
from collections.abc import Sequence

from fusargpt.errors import InputError, check_characters
from fusargpt.tasks.target_names import TARGETS, check_target, plural

TASKS = ("describe", "count", "localize", "classify", "detect")
TARGET_TASKS = ("count", "localize", "detect")
"""Those that ask about one class."""
NONE_ANSWER = "None"
CANNOT_TELL = "cannot tell"
"""Instead of an answer whose confidence is too low."""
GRID_SIDE = 3
MAX_NEW_TOKENS = 512
"""Where an answer is cut that does not end by itself: some twenty boxes in JSON."""

# Several wordings of each question, so that a model learns the task and not one sentence; the first is the default.
PROMPTS: dict[str, tuple[str, ...]] = {
    "describe": (
        "Describe this image.",
        "What does this image show?",
        "Describe the land cover and the targets in this image.",
    ),
    "count": (
        "How many {targets} are there in this image?",
        "Count the {targets} in this image.",
    ),
    "localize": (
        "Which cells of the 3x3 grid contain {targets}?",
        "Name the cells of the 3x3 grid in which there are {targets}.",
    ),
    "classify": (
        "Which class of target is in this image?",
        "What is the class of the targets in this image?",
    ),
    "detect": (
        "Detect all {targets} in this image. Answer in JSON.",
        "Find every one of the {targets} and give the boxes in JSON.",
    ),
}


def prompt(task: str, target: str = TARGETS[0], wording: int = 0) -> str:
    """The question of `task` about `target`, the name of a class; `wording` chooses among the task's templates.

    Raises ValueError for an unknown task, or a target that is no name of a class.
    """
    if task not in PROMPTS:
        raise ValueError(f"task: found {task!r}, expected one of {', '.join(TASKS)}")
    check_target(target)
    wordings = PROMPTS[task]
    return wordings[wording % len(wordings)].format(targets=plural(target))


def check_question(question: str, name: str = "question") -> None:
    """Raises InputError for what cannot be asked: nothing, or what is no text."""
    if not question.strip():
        raise InputError(f"{name}: found an empty text; ask something, for example 'Describe this image.'")
    check_characters(question, name)


def cell_of(box: Sequence[float], width: int, height: int) -> int:
    """Number (1..9, row-major) of the 3x3 grid cell that holds the centre of `box` [x1, y1, x2, y2] in pixels."""
    column = int((box[0] + box[2]) / 2 * GRID_SIDE / width)
    row = int((box[1] + box[3]) / 2 * GRID_SIDE / height)
    last = GRID_SIDE - 1
    return min(max(row, 0), last) * GRID_SIDE + min(max(column, 0), last) + 1


def format_cells(cells: Sequence[int]) -> str:
    """Ascending cell numbers, comma-separated; "None" when there are none."""
    return ", ".join(str(cell) for cell in sorted(set(cells))) or NONE_ANSWER


def format_boxes(boxes: Sequence[Sequence[float]], labels: Sequence[str]) -> str:
    """Detection's answer: a JSON list in the order given; "None" when it is empty."""
    if not boxes:
        return NONE_ANSWER
    return json.dumps([{"bbox_2d": list(box), "label": label} for box, label in zip(boxes, labels, strict=True)])
