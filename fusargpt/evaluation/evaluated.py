"""What a benchmark found: questions, answers, scores and comparisons."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from datasets import Dataset

from fusargpt.evaluation.entries import Entry
from fusargpt.evaluation.items import KnownItem
from fusargpt.evaluation.score_tables import Scores, by_metric
from fusargpt.evaluation.scoring import Answers, differences, tallies
from fusargpt.evaluation.trust import curves
from fusargpt.inference.questions import Failure
from fusargpt.metrics.tally import Tally
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
        return {
            task: by_metric(
                {label: {name: tally.score() for name, tally in found.items()} for label, found in of.items()}
            )
            for task, of in self._tallies.items()
        }

    @cached_property
    def curves(self) -> dict[str, dict[str, dict[str, object]]]:
        """By task and entry what `fusargpt.evaluation.trust.curves` gives, and whether confidences are calibrated;
        without those of which there is nothing."""
        return {
            task: {
                label: {"calibrated": self._is_calibrated(task, label), **drawn}
                for label, found in of.items()
                if (drawn := curves(found))
            }
            for task, of in self._tallies.items()
        }

    def _is_calibrated(self, task: str, label: str) -> bool:
        answers = self.answers[label]
        return any(answers[item.id].calibrated for item in self.of_task(task) if item.id in answers)

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

    @cached_property
    def _tallies(self) -> dict[str, dict[str, dict[str, Tally]]]:
        """By task and entry, of the items that it answered; empty where it answered none."""
        found: dict[str, dict[str, dict[str, Tally]]] = {}
        for task in self.tasks:
            found[task] = {}
            for entry in self.entries:
                answers = self.answers[entry.label]
                answered = [item for item in self.of_task(task) if item.id in answers]
                found[task][entry.label] = tallies(task, answered, answers) if answered else {}
        return found
