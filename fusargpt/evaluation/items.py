"""The questions of a dataset, checked before anything is asked; images and priors are read when they are needed."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

from datasets import Dataset
from tqdm import tqdm

from fusargpt.errors import InputError, one_line
from fusargpt.geo.image import upright_size
from fusargpt.geo.prior import PRIOR_EMBEDDINGS
from fusargpt.inference.questions import Failure, Item
from fusargpt.inference.rows import RowName, image_bytes, name_rows, only_message, question_of, read_prior
from fusargpt.metrics.scores import TALLIES


@dataclass(frozen=True, kw_only=True)
class KnownItem(Item):
    """One question about one image whose true answer is known; its place is the number of its row in the dataset,
    and its image a hash of the file.

    Attributes:
        reference: the true answer.
        width: of the image in pixels; boxes of the reference are in these.
        height: likewise.
        prior: a hash of it; "" for one without anchors, and where priors are not read.
    """

    reference: str
    width: int
    height: int
    prior: str

    @property
    def row(self) -> int:
        """In the dataset."""
        return int(self.place)


def read_items(rows: Dataset, tasks: Sequence[str] | None, limit: int | None) -> tuple[list[KnownItem], list[Failure]]:
    """The first `limit` questions of each task, in the order of the rows.

    Args:
        rows: as `fusargpt.inference.rows.load_rows` returns them.
        tasks: None takes those that occur.
        limit: None takes all.

    Returns:
        The items, and the rows that cannot be asked: those that `fusargpt.inference.rows.name_rows` does not name, an
        image or prior that cannot be read, a conversation that is not one question and one answer, or an answer that is
        not in its task's form.

    Raises:
        InputError: a task that does not occur, or nothing that can be asked.
    """
    chosen, failures = _choose(rows, tasks, limit)
    items = []
    for name in tqdm(chosen, desc="reading", unit="row", disable=None, leave=False):
        try:
            items.append(_item(name, rows[name.number]))
        # Whatever is wrong with one row, and whatever a library says to it, costs no other.
        except Exception as error:
            failures.append(Failure(name.id, one_line(error)))
    if not items:
        raise InputError(f"none of {len(failures)} rows can be asked; {failures[0].id}: {failures[0].reason}")
    return items, failures


def fingerprint(items: Sequence[KnownItem]) -> str:
    """A hash of all that is asked: images, priors, questions and references."""
    digest = hashlib.sha256()
    for item in items:
        digest.update(repr(astuple(item)).encode())
    return digest.hexdigest()[:16]


def _choose(rows: Dataset, tasks: Sequence[str] | None, limit: int | None) -> tuple[list[RowName], list[Failure]]:
    named, failures = name_rows(rows, tasks)
    chosen: dict[str, list[RowName]] = {}
    for name in named:
        if limit is None or len(chosen.get(name.task, ())) < limit:
            chosen.setdefault(name.task, []).append(name)
    absent = [task for task in tasks or () if task not in chosen]
    if absent:
        raise InputError(f"tasks: no row asks {', '.join(absent)}; found {_found(rows)}")
    return sorted((name for task in tasks or chosen for name in chosen[task]), key=lambda name: name.number), failures


def _found(rows: Dataset) -> str:
    return ", ".join(sorted({str(task) for task in rows["task"]}))


def _item(name: RowName, row: Mapping[str, Any]) -> KnownItem:
    question, reference = question_of(row), only_message(row, "completion", "assistant")
    TALLIES[name.task]([""], [reference])  # raises for a reference that is not in the task's form
    image = image_bytes(row)
    width, height = upright_size(image)
    prior = read_prior(row) if PRIOR_EMBEDDINGS in row else None
    return KnownItem(
        id=name.id,
        task=name.task,
        question=question,
        place=str(name.number),
        pixels=width * height,
        reference=reference,
        width=width,
        height=height,
        image=_hash(image),
        prior="" if prior is None else _hash(prior.embeddings.tobytes() + prior.positions.tobytes()),
    )


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
