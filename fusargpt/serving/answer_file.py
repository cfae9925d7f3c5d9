"""The answers of a batch as one file of rows."""

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from fusargpt.files import output_file
from fusargpt.inference.confidences import abstains
from fusargpt.inference.counts import CountDistribution
from fusargpt.inference.questions import Answer
from fusargpt.tasks.prompts import CANNOT_TELL

SUFFIXES = (".parquet", ".jsonl")
# Named, as a column of a batch may be all null.
_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("id", "task", "question", "answer")),
        *((name, pa.int64()) for name in ("width", "height", "seen_width", "seen_height", "anchors")),
        ("read_as", pa.string()),
        ("confidence", pa.float64()),
        ("calibrated", pa.bool_()),
        ("scores", pa.list_(pa.float64())),
        ("count_low", pa.int64()),
        ("count_high", pa.int64()),
    ]
)
_REMEDY = "the answers are kept; make room, and the same command asks nothing again"


def write_answers(path: Path, answers: Sequence[Answer], abstain: float = 0.0) -> None:
    """Write a Parquet or JSON Lines file, whole or not at all; no Parquet file without a row.

    A row has id, task, question, answer, width and height of the image, seen_width and seen_height in which boxes of
    the answer are, the number of anchors, 0 without a prior, and what the image's file was read as, "" in a dataset.
    How sure the model was is `confidence`, with `scores`, one for each box, and of a count `count_low` and
    `count_high`, between which 90 % of its probability lie; null where it is not known. `calibrated` says whether these
    are shares that come true.

    Args:
        path: .parquet or .jsonl.
        answers: in their order.
        abstain: the answer is "cannot tell", without boxes, where the confidence is lower.

    Raises:
        InputError: the file cannot be written, or a model without confidences that is to abstain.
    """
    rows = [_row(answer, abstains(answer.confidence, abstain)) for answer in answers]
    if path.suffix == ".jsonl":
        with output_file(path, _REMEDY) as partial:
            partial.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    elif rows:
        with output_file(path, _REMEDY) as partial:
            pq.write_table(pa.Table.from_pylist(rows, _SCHEMA), partial)


def _row(answer: Answer, withheld: bool) -> dict[str, object]:
    low, high = (None, None) if answer.counts is None else CountDistribution(answer.counts).interval
    (width, height), (seen_width, seen_height) = answer.size, answer.seen
    return {
        "id": answer.id,
        "task": answer.task,
        "question": answer.question,
        "answer": CANNOT_TELL if withheld else answer.answer,
        "width": width,
        "height": height,
        "seen_width": seen_width,
        "seen_height": seen_height,
        "anchors": answer.anchors or 0,
        "read_as": answer.read_as,
        "confidence": answer.confidence,
        "calibrated": answer.calibrated,
        "scores": None if answer.scores is None else [] if withheld else list(answer.scores),
        "count_low": low,
        "count_high": high,
    }
