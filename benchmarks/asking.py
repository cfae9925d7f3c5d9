"""Questions asked image by image beside task by task, through the engine that `evaluate` and `batch` stand on.

    python -m benchmarks.asking

fusargpt-nano in float32 answers the five tasks about simulated scenes of the test split. Task by task, a batch holds
one question about each of many images; image by image, all questions about few, which are encoded and read once. Both
take turns in one process, and the answers must be the same, or the run fails.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from fusargpt.checkpoints import NANO
from fusargpt.inference.asking import Asking, Order
from fusargpt.inference.journal import Journal
from fusargpt.inference.loading import load
from fusargpt.inference.questions import FusarGptAnswerer, Item, Question
from fusargpt.inference.rows import SharedReading, simulated_rows
from fusargpt.tasks.prompts import MAX_NEW_TOKENS, TASKS

RESULT = Path(__file__).parent / "results" / "asking.json"
BATCH_SIZES = (16, 64, 240)


def answered(answerer: FusarGptAnswerer, scenes: int, batch_size: int, order: Order) -> tuple[dict[str, str], float]:
    """The answers by the ids of their questions, and seconds of processor time."""
    rows = simulated_rows("test", TASKS, scenes)
    # The order of tasks, so that only `order` puts an image's questions beside each other.
    places = sorted(range(len(rows)), key=lambda place: place % len(TASKS))
    items = [
        Item(rows[place]["id"], rows[place]["task"], rows[place]["prompt"][0]["content"], str(place), 1, str(image))
        for place in places
        for image in [place // len(TASKS)]
    ]
    shared = SharedReading()

    def read(item: Item) -> Question:
        row: Any = rows[int(item.place)]
        return Question(item, shared.picture(row), item.question, shared.prior(row))

    with TemporaryDirectory() as folder:
        journal = Journal(Path(folder) / "journal.jsonl", {}, "a turn")
        asking = Asking(answerer, read, journal, batch_size=batch_size, max_new_tokens=MAX_NEW_TOKENS)
        start = time.process_time()
        if failures := asking.run(items, order):
            raise SystemExit(failures[0].reason)
        seconds = time.process_time() - start
    return {name: answer.answer for name, answer in journal.answers.items()}, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=48)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    answerer = FusarGptAnswerer(load(NANO, "cpu"))
    seconds: dict[tuple[Order, int], list[float]] = {}
    expected: dict[str, str] | None = None
    for turn in range(options.turns):
        settings: list[tuple[Order, int]] = [(order, size) for size in BATCH_SIZES for order in ("task", "image")]
        # Who is first changes, so that a load that grows or falls favours none.
        for order, size in settings[::-1] if turn % 2 else settings:
            answers, taken = answered(answerer, options.scenes, size, order)
            expected = expected or answers
            if answers != expected:
                raise SystemExit(f"{order}, batches of {size}: other answers than the first")
            seconds.setdefault((order, size), []).append(taken)
    result: dict[str, Any] = {
        "model": NANO.name,
        "dtype": "float32",
        "threads": options.threads,
        "questions": options.scenes * len(TASKS),
        "turns": options.turns,
        "seconds_of_task_by_task_over_image_by_image": {
            str(size): round(
                statistics.median(
                    task / image for task, image in zip(seconds["task", size], seconds["image", size], strict=True)
                ),
                2,
            )
            for size in BATCH_SIZES
        },
        "seconds_of_16_task_by_task_over": {
            f"{size} {order} by {order}": round(
                statistics.median(
                    base / taken for base, taken in zip(seconds["task", 16], seconds[order, size], strict=True)
                ),
                2,
            )
            for order, size in seconds
        },
    }
    print(json.dumps(result, indent=1))
    options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
