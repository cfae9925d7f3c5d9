"""The questions of a dataset, checked before anything is asked; images and priors are read when they are needed."""

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

from datasets import Dataset
from PIL import Image
from tqdm import tqdm

from fusargpt.errors import InputError, one_line
from fusargpt.geo.image import PICTURE_FORMATS, check_8bit
from fusargpt.geo.prior import PRIOR_EMBEDDINGS
from fusargpt.inference.questions import Failure, Item
from fusargpt.inference.rows import image_bytes, read_prior
from fusargpt.metrics.scores import TALLIES
from fusargpt.tasks.prompts import TASKS


@dataclass(frozen=True)
class KnownItem(Item):
    """One question about one image whose true answer is known; its place is the number of its row in the dataset.

    Attributes:
        reference: the true answer.
        width: of the image in pixels; boxes of the reference are in these.
        height: likewise.
        image: a hash of its file.
        prior: a hash of it; "" for one without anchors, and where priors are not read.
    """

    reference: str
    width: int
    height: int
    image: str
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
        The items, and the rows that cannot be asked: an image or prior that cannot be read, a conversation that is not
        one question and one answer, or an answer that is not in its task's form.

    Raises:
        InputError: an unknown task, one that does not occur, an id that occurs twice, or nothing that can be asked.
    """
    chosen = _choose(rows, tasks, limit)
    items, failures = [], []
    for index in tqdm(chosen, desc="reading", unit="row", disable=None, leave=False):
        row: Mapping[str, object] = rows[index]
        try:
            items.append(_item(index, row))
        except (InputError, OSError, ValueError, Image.DecompressionBombError) as error:
            failures.append(Failure(str(row["id"]), one_line(error)))
    if not items:
        raise InputError(f"none of {len(failures)} rows can be asked; {failures[0].id}: {failures[0].reason}")
    return items, failures


def fingerprint(items: Sequence[KnownItem]) -> str:
    """A hash of all that is asked: images, priors, questions and references."""
    digest = hashlib.sha256()
    for item in items:
        digest.update(repr(astuple(item)).encode())
    return digest.hexdigest()[:16]


def _choose(rows: Dataset, tasks: Sequence[str] | None, limit: int | None) -> list[int]:
    chosen: dict[str, list[int]] = {}
    names: set[str] = set()
    for index, (name, task) in enumerate(zip(rows["id"], rows["task"], strict=True)):
        if task not in TASKS:
            raise InputError(f"{name}: task: found {task!r}; expected one of {', '.join(TASKS)}")
        if name in names:
            raise InputError(f"id: {name!r} is there twice; expected one for each row")
        names.add(name)
        if limit is None or len(chosen.get(task, ())) < limit:
            chosen.setdefault(task, []).append(index)
    absent = [task for task in tasks or () if task not in chosen]
    if absent:
        raise InputError(f"tasks: no row asks {', '.join(absent)}; found {', '.join(sorted(chosen))}")
    return sorted(index for task in tasks or chosen for index in chosen[task])


def _item(index: int, row: Mapping[str, Any]) -> KnownItem:
    task, question, reference = row["task"], _content(row, "prompt", "user"), _content(row, "completion", "assistant")
    if not question.strip():
        raise InputError("prompt: found an empty text; expected a question")
    TALLIES[task]([""], [reference])  # raises for a reference that is not in the task's form
    image = image_bytes(row)
    with Image.open(io.BytesIO(image), formats=PICTURE_FORMATS) as opened:
        check_8bit(opened)
        width, height = opened.size
    prior = read_prior(row) if PRIOR_EMBEDDINGS in row else None
    return KnownItem(
        id=row["id"],
        task=task,
        question=question,
        place=str(index),
        pixels=width * height,
        reference=reference,
        width=width,
        height=height,
        image=_hash(image),
        prior="" if prior is None else _hash(prior.embeddings.tobytes() + prior.positions.tobytes()),
    )


def _content(row: Mapping[str, object], column: str, role: str) -> str:
    turns = row[column]
    if not isinstance(turns, list) or len(turns) != 1 or turns[0].get("role") != role:
        raise InputError(f"{column}: expected one message, of the {role}")
    if not isinstance(turns[0]["content"], str):
        raise InputError(f"{column}: expected a message whose content is a text")
    return turns[0]["content"]


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
