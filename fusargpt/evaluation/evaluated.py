"""What a benchmark found: questions, answers, scores and comparisons."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from datasets import Dataset

from fusargpt.evaluation.entries import Entry
from fusargpt.evaluation.items import KnownItem
from fusargpt.evaluation.score_tables import Scores, by_metric
from fusargpt.evaluation.scoring import Answers, differences, scores
from fusargpt.inference.questions import Failure
from fusargpt.tasks.prompts import TASKS


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What was asked and answered, and what it is worth.

    Attributes:
        settings: all that the questions depend on, as plain JSON.
        versions: of the packages.
        device: that models ran on.
        entries: the first is the one that the others are compared with.
        rows: the dataset, for images.
        items: what was asked.
        answers: by the label of the entry.
        failures: what could not be asked or answered.
    """

    settings: Mapping[str, object]
    versions: Mapping[str, str]
    device: str
    entries: Sequence[Entry]
    rows: Dataset
    items: Sequence[KnownItem]
    answers: Mapping[str, Answers]
    failures: Sequence[Failure]

    @cached_property
    def tasks(self) -> list[str]:
        """Those that are asked, in the order of `fusargpt.tasks.prompts.TASKS`."""
        present = {item.task for item in self.items}
        return [task for task in TASKS if task in present]

    def of_task(self, task: str) -> list[KnownItem]:
        return [item for item in self.items if item.task == task]

    @cached_property
    def scores(self) -> Scores:
        """Every score of every entry that answered anything of the task."""
        by_entry = {
            task: {entry.label: scores(task, self.of_task(task), self.answers[entry.label]) for entry in self.entries}
            for task in self.tasks
        }
        return {task: by_metric(found) for task, found in by_entry.items()}

    @cached_property
    def differences(self) -> Scores:
        """The first entry's scores minus those of each other one."""
        first, *others = self.entries
        by_entry = {
            task: {
                entry.label: differences(task, self.of_task(task), self.answers[first.label], self.answers[entry.label])
                for entry in others
            }
            for task in self.tasks
        }
        return {task: by_metric(found) for task, found in by_entry.items()}
