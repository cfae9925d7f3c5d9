"""Rows that cannot be trained on, found before the first step and either refused or left out.

Every row is read once, whatever its place in the shuffle: the image decoded, prior and conversation held against what
the collator takes. `datasets` keeps the result beside the data, so that the next run of any stage does not read them
again.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple, cast

from datasets import Dataset, Image, concatenate_datasets
from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from fusargpt.errors import InputError
from fusargpt.files import read_regular
from fusargpt.geo.image import open_picture, upright
from fusargpt.geo.prior import PRIOR_COLUMNS, PRIOR_EMBEDDINGS
from fusargpt.private_names import count_image_tokens
from fusargpt.tasks.answers import scale_boxes
from modeling_fusargpt import FusarGptProcessor
from modeling_fusargpt.processing_fusargpt import batch_priors
from trl_recipes.arguments import RecipeArguments, Unreadable
from trl_recipes.data.doubted import check_doubted
from trl_recipes.data.pairs import CONVERSATION
from trl_recipes.data.rows import Message, Row

RULES = 4  # part of what `datasets` knows a result by; to be raised with every change of what is unreadable
ROLES = ("system", "user", "assistant")
SHOWN = 10
ROWS_AT_ONCE = 64
REPORT = "unreadable.json"


@dataclass(frozen=True)
class LeftOut:
    """Rows of a dataset's split that training does not see, each with the reason."""

    dataset: str
    split: str
    rows: int
    problems: dict[int, str]

    def __str__(self) -> str:
        shown = "; ".join(f"row {row}: {problem}" for row, problem in list(self.problems.items())[:SHOWN])
        more = len(self.problems) - SHOWN
        return (
            f"dataset {self.dataset} ({self.split}): {len(self.problems):,} of {self.rows:,} rows left out as "
            f"unreadable: {shown}{f'; and {more:,} more' if more > 0 else ''}"
        )


class UsedRows(NamedTuple):
    """How much of a dataset's split a run sees, to train on or for its evaluations."""

    dataset: str
    split: str
    use: str
    rows: int
    left_out: int


def used_rows(
    splits: Sequence[str],
    parts: Sequence[Sequence[tuple[str, Dataset]]],
    left_out: Sequence[Sequence[LeftOut]],
) -> list[UsedRows]:
    """The rows of each split's datasets, given with their names, less what `keep_rows` has left out of them."""
    found = []
    for split, use, some, without in zip(splits, ("training", "evaluation"), parts, left_out, strict=False):
        problems = {one.dataset: len(one.problems) for one in without}
        found += [
            UsedRows(name, split, use, len(rows) - problems.get(name, 0), problems.get(name, 0)) for name, rows in some
        ]
    return found


def keep_readable(
    parts: Sequence[tuple[str, Dataset]],
    split: str,
    recipe: RecipeArguments,
    processor: FusarGptProcessor,
    processes: int | None = None,
) -> tuple[Dataset, list[LeftOut]]:
    """The readable rows of datasets given with their names, as one, and what was left out of each.

    Raises:
        InputError: as `keep_rows`.
    """
    return keep_rows(
        parts,
        split,
        lambda name, rows: find_problems(rows, processor, name, processes),
        recipe.unreadable,
        recipe.unreadable_share,
    )


def keep_rows(
    parts: Sequence[tuple[str, Dataset]],
    split: str,
    find: Callable[[str, Dataset], dict[int, str]],
    unreadable: Unreadable,
    unreadable_share: float,
) -> tuple[Dataset, list[LeftOut]]:
    """The rows of datasets given with their names, as one, that have no problem, and what was left out of each.

    Args:
        parts: names and datasets.
        split: that they are of, for the messages.
        find: what is wrong with the rows of a dataset, by their numbers.
        unreadable: what to do about such rows.
        unreadable_share: of a dataset, that may be left out.

    Raises:
        InputError: for an unreadable row with ``unreadable: raise``; with ``skip``, for a dataset of which more than
            ``unreadable_share`` is unreadable, or all of it.
    """
    kept, left_out = [], []
    for name, rows in parts:
        problems = find(name, rows)
        if not problems:
            kept.append(rows)
            continue
        first, problem = next(iter(problems.items()))
        others = f" ({len(problems):,} of {len(rows):,} rows are unreadable)" if len(problems) > 1 else ""
        where = f"dataset {name} ({split}), row {first}: {problem}{others}"
        if unreadable == "raise":
            raise InputError(f"{where}; mend the row, or set unreadable: skip to leave such rows out")
        share = len(problems) / len(rows)
        if share > unreadable_share or len(problems) == len(rows):
            raise InputError(
                f"{where}; expected at most {unreadable_share:.3g} of the rows (unreadable_share), found "
                f"{share:.3g}; mend them, or raise unreadable_share"
            )
        kept.append(rows.select([row for row in range(len(rows)) if row not in problems]))
        left_out.append(LeftOut(name, split, len(rows), problems))
    return concatenate_datasets(kept), left_out


def write_left_out(left_out: Sequence[LeftOut], folder: Path) -> None:
    """All that was left out, as ``unreadable.json`` in `folder`."""
    (folder / REPORT).write_text(json.dumps([asdict(some) for some in left_out], indent=2) + "\n")


def find_problems(
    rows: Dataset, processor: FusarGptProcessor, name: str, processes: int | None = None
) -> dict[int, str]:
    """What is wrong with each row that the collator could not take, by its number."""
    files = rows.cast_column("image", Image(decode=False))
    found = files.map(
        _check,
        fn_kwargs={"rules": RULES},
        batched=True,
        batch_size=ROWS_AT_ONCE,
        remove_columns=files.column_names,
        num_proc=processes,
        desc=f"Checking rows of {name}",
    )
    sizes = list(zip(found["height"], found["width"], strict=True))
    refused = {size: _size_problem(size, processor) for size in set(sizes)}
    problems = [
        problem or refused[size] or (_box_problem(boxes, size, processor) if boxes else "")
        for problem, boxes, size in zip(found["problem"], found["boxes"], sizes, strict=True)
    ]
    return {row: problem for row, problem in enumerate(problems) if problem}


def _check(rows: dict[str, list[object]], rules: int) -> dict[str, list[object]]:
    """The first problem of each row, empty if there is none, one of its boxes, and its image's size, 0 if it has none.

    Boxes that cannot be read are a problem where they have to be moved alone: where the processor resizes the image.
    """
    found: dict[str, list[object]] = {"problem": [], "boxes": [], "height": [], "width": []}
    sizes: dict[bytes, tuple[int, int]] = {}  # rows about one image are often neighbours
    for values in zip(*rows.values(), strict=True):
        row = dict(zip(rows, values, strict=True))
        problem, boxes, size = "", "", (0, 0)
        try:
            content = read_image(row["image"])
            if content not in sizes:
                sizes[content] = image_size(content)
            if PRIOR_EMBEDDINGS in row:
                check_prior(row)
            _check_conversation(row)
            check_doubted(row)
            boxes = _unreadable_boxes(row)
            size = sizes[content]
        except InputError as error:
            problem = " ".join(str(error).split())
        for name, value in zip(found, (problem, boxes, *size), strict=True):
            found[name].append(value)
    return found


def read_image(image: Row | None) -> bytes:
    """The bytes of an image as `datasets` holds it undecoded; InputError for none, or a file that cannot be read."""
    if image is None:
        raise InputError("image: found nothing")
    if image["bytes"] is not None:
        return image["bytes"]
    try:
        return read_regular(image["path"])
    except OSError as error:
        raise InputError(f"image: {image['path']} cannot be read ({error.strerror})") from error


def image_size(content: bytes) -> tuple[int, int]:
    """Height and width of an image, which is decoded; InputError for one that does not decode or has not 8 bit."""
    try:
        with open_picture(content) as opened:
            width, height = upright(opened).size
            return height, width
    except InputError:
        raise
    except Exception as error:  # decoders of broken files raise whatever they stumble over
        # Pillow names the stream, at an address that is another one in every run.
        reason = "no known image format" if isinstance(error, UnidentifiedImageError) else str(error)[:200]
        raise InputError(f"image: does not decode ({type(error).__name__}: {reason})") from error


def check_prior(row: Row) -> None:
    """Raises InputError for prior columns of which one is empty, or that are no prior."""
    prior = {name: row[name] for name in PRIOR_COLUMNS}
    empty = [name for name, values in prior.items() if values is None]
    if len(empty) == 1:
        raise InputError(f"{empty[0]}: found nothing beside the other prior column, expected both or neither")
    if not empty:
        try:
            batch_priors([prior])
        except ValueError as error:
            raise InputError(str(error).replace("priors[0]", "prior")) from error


def _unreadable_boxes(row: Row) -> str:
    """The first problem of boxes in a conversation that has none else."""
    for column in ("messages",) if "messages" in row else CONVERSATION:
        for turn in row[column]:
            if turn["role"] != "assistant":
                continue
            try:
                scale_boxes(turn["content"], (1, 1), (2, 2))
            except ValueError as error:
                return f"{column}: {error}"
    return ""


def _check_conversation(row: Row) -> None:
    turns: list[tuple[str, Message]] = []
    for column in ("messages",) if "messages" in row else CONVERSATION:
        if not row[column] or not isinstance(row[column], list):
            raise InputError(f"{column}: found no turns")
        turns += [(column, turn) for turn in row[column]]
    for column, turn in turns:
        if not isinstance(cast(object, turn), dict):
            raise InputError(f"{column}: found {type(turn).__name__} for a turn, expected its role and content")
        role, content = turn.get("role"), turn.get("content")
        if role not in ROLES or not isinstance(content, str):
            raise InputError(
                f"{column}: found a turn of {role!r} with {type(content).__name__}, expected text of {ROLES}"
            )
        if role == "assistant" and not content.strip():
            raise InputError(f"{column}: found an empty answer")
    if not any(turn["role"] == "user" for _, turn in turns):
        raise InputError("found no turn of the user, to which the image belongs")
    if not any(turn["role"] == "assistant" for column, turn in turns if column != "prompt"):
        raise InputError(f"{turns[-1][0]}: found no turn of the assistant to learn from")


def _size_problem(size: tuple[int, int], processor: FusarGptProcessor) -> str:
    if size == (0, 0):  # of a row that has another problem
        return ""
    try:
        count_image_tokens(processor, *size)
    except ValueError as error:
        return f"image: found {size[1]} x {size[0]} px, which the image processor refuses ({error})"
    return ""


def _box_problem(boxes: str, size: tuple[int, int], processor: FusarGptProcessor) -> str:
    """Says that an image's boxes cannot be read, if they have to be brought to another size."""
    height, width = size
    grid = processor(images=[Pillow.new("L", (width, height))], return_tensors="np")["image_grid_thw"][0]
    rows, columns = (int(count) * processor.image_processor.patch_size for count in grid[1:])
    if (rows, columns) == size:
        return ""
    return f"{boxes}; the processor resizes the image from {width} x {height} to {columns} x {rows} px, and its boxes"
