"""The answers of a batch as one file of rows."""

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from fusargpt.files import output_file
from fusargpt.inference.questions import Answer

SUFFIXES = (".parquet", ".jsonl")
_REMEDY = "the answers are kept; make room, and the same command asks nothing again"


def write_answers(path: Path, answers: Sequence[Answer]) -> None:
    """Write a Parquet or JSON Lines file, whole or not at all; no Parquet file without a row.

    A row has id, task, question, answer, width and height of the image, seen_width and seen_height in which boxes of
    the answer are, the number of anchors, 0 without a prior, and what the image's file was read as, "" in a dataset.

    Raises:
        InputError: the file cannot be written.
    """
    rows = [_row(answer) for answer in answers]
    if path.suffix == ".jsonl":
        with output_file(path, _REMEDY) as partial:
            partial.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    elif rows:
        with output_file(path, _REMEDY) as partial:
            pq.write_table(pa.Table.from_pylist(rows), partial)


def _row(answer: Answer) -> dict[str, object]:
    (width, height), (seen_width, seen_height) = answer.size, answer.seen
    return {
        "id": answer.id,
        "task": answer.task,
        "question": answer.question,
        "answer": answer.answer,
        "width": width,
        "height": height,
        "seen_width": seen_width,
        "seen_height": seen_height,
        "anchors": answer.anchors or 0,
        "read_as": answer.read_as,
    }
