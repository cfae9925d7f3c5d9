"""The metrics of the five tasks by their names."""

from collections.abc import Callable, Sequence

from fusargpt.metrics.captions import describe_tallies
from fusargpt.metrics.classification import classify_tallies
from fusargpt.metrics.counting import count_tallies
from fusargpt.metrics.detection import detect_tallies
from fusargpt.metrics.localization import localize_tallies
from fusargpt.metrics.tally import Score, Tally

TALLIES: dict[str, Callable[[Sequence[str], Sequence[str]], dict[str, Tally]]] = {
    "describe": describe_tallies,
    "count": count_tallies,
    "localize": localize_tallies,
    "classify": classify_tallies,
    "detect": detect_tallies,
}


def task_scores(task: str, answers: Sequence[str], references: Sequence[str]) -> dict[str, Score]:
    """The scores of one of `fusargpt.tasks.prompts.TASKS`, one answer and one reference an image.

    Raises:
        KeyError: another task.
        InputError: as the task's tallies.
    """
    return {name: tally.score() for name, tally in TALLIES[task](answers, references).items()}
