"""What a report counts: confusions of counts and classes, errors of counts, cells that are found."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from fusargpt.evaluation.items import KnownItem
from fusargpt.evaluation.scoring import Answers
from fusargpt.tasks.answers import class_name, parse_cells, parse_count
from fusargpt.tasks.prompts import GRID_SIDE

UNREADABLE = "unreadable"
OTHER = "other"
_HIGHEST = 10  # count with a row of its own
_LARGEST_ERROR = 5


@dataclass(frozen=True)
class Confusion:
    """How often which truth (row) was answered how (column)."""

    true: Sequence[str]
    answered: Sequence[str]
    counts: Sequence[Sequence[int]]


@dataclass(frozen=True)
class Errors:
    """How often counts were off by how much; the last bins hold what lies beyond, `unreadable` is in none."""

    labels: Sequence[str]
    counts: Sequence[int]
    unreadable: int


def count_confusion(items: Sequence[KnownItem], answers: Answers) -> Confusion:
    """Counts from 0 to 10 and what is above, true and answered."""
    pairs = []
    for item in _answered(items, answers):
        true, said = parse_count(item.reference).value, parse_count(answers[item.id].answer, item.question).value
        pairs.append((_count_name(true), UNREADABLE if said is None else _count_name(said)))
    names = [str(count) for count in range(_HIGHEST + 1)] + [_count_name(_HIGHEST + 1)]
    last = max((names.index(name) for pair in pairs for name in pair if name in names), default=0)
    return _confusion(pairs, names[: last + 1], [UNREADABLE])


def class_confusion(items: Sequence[KnownItem], answers: Answers) -> Confusion:
    """The classes of the references, as answered; any other text is "other", no text "unreadable"."""
    names = sorted({class_name(item.reference) for item in items})
    pairs = []
    for item in _answered(items, answers):
        said = class_name(answers[item.id].answer) or UNREADABLE
        pairs.append((class_name(item.reference), said if said in (*names, UNREADABLE) else OTHER))
    return _confusion(pairs, names, [OTHER, UNREADABLE])


def count_errors(items: Sequence[KnownItem], answers: Answers) -> Errors:
    """Answered minus true counts, from -5 or less to +5 or more."""
    found: Counter[int] = Counter()
    unreadable = 0
    for item in _answered(items, answers):
        true, said = parse_count(item.reference).value, parse_count(answers[item.id].answer, item.question).value
        if said is None or true is None:
            unreadable += 1
        else:
            found[min(max(said - true, -_LARGEST_ERROR), _LARGEST_ERROR)] += 1
    bins = range(-_LARGEST_ERROR, _LARGEST_ERROR + 1)
    labels = [f"{error:+d}" if error else "0" for error in bins]
    labels[0], labels[-1] = f"≤ {labels[0]}", f"≥ {labels[-1]}"
    return Errors(labels, [found[error] for error in bins], unreadable)


def cell_recall(items: Sequence[KnownItem], answers: Answers) -> list[tuple[int, int]]:
    """Of each cell from 1 to 9: how often it was named where it is true, and how often it is true."""
    named: Counter[int] = Counter()
    true: Counter[int] = Counter()
    for item in _answered(items, answers):
        cells = parse_cells(item.reference).value
        true.update(cells)
        named.update(cells & parse_cells(answers[item.id].answer).value)
    return [(named[cell], true[cell]) for cell in range(1, GRID_SIDE**2 + 1)]


def _answered(items: Sequence[KnownItem], answers: Answers) -> list[KnownItem]:
    return [item for item in items if item.id in answers]


def _count_name(count: int | None) -> str:
    if count is None:
        return UNREADABLE
    return str(count) if count <= _HIGHEST else f"> {_HIGHEST}"


def _confusion(pairs: Sequence[tuple[str, str]], names: Sequence[str], rest: Sequence[str]) -> Confusion:
    counts = Counter(pairs)
    columns = [*names, *(name for name in rest if any(said == name for _, said in pairs))]
    return Confusion(names, columns, [[counts[true, said] for said in columns] for true in names])
