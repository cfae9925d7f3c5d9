"""A batch on a Ray cluster: Ray Data gives its actors batches of items, each asks them as one process would.

The source, the model and the folder of the result must mean the same on all nodes: a shared file system, or names on
the Hub. Needs the extra `fusargpt[serving]`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from math import ceil

import numpy as np
import ray
import ray.data

from fusargpt.errors import InputError, one_line
from fusargpt.inference.questions import Failure, Item
from fusargpt.serving.worker import Work, Worker


class Actor:
    """One model on one node; Ray Data calls it with batches of rows, which are items."""

    def __init__(self, work: Work) -> None:
        self._worker = Worker(work)

    def __call__(self, rows: dict[str, np.ndarray]) -> dict[str, object]:
        columns = zip(*(rows[field.name].tolist() for field in fields(Item)), strict=True)
        items = [Item(*values) for values in columns]
        reasons = {failure.id: failure.reason for failure in self._worker.ask(items)}
        return {"id": rows["id"], "reason": np.array([reasons.get(item.id, "") for item in items], object)}


def ask_on_ray(work: Work, items: Sequence[Item], workers: int) -> Iterator[tuple[list[Failure], int]]:
    """Failures of some items and their number, as they are asked.

    Ray is joined as its own rules say: the running connection, the cluster at RAY_ADDRESS, or a new one on this
    machine. On a cluster with GPUs each actor gets one.

    Args:
        work: what the actors load.
        items: what is asked, at least one, like ones side by side.
        workers: actors.

    Raises:
        InputError: no cluster is to be had.
    """
    if not ray.is_initialized():
        try:
            ray.init(include_dashboard=False, log_to_driver=False)
        # What Ray raises on an address where no cluster answers, and on a machine where none starts.
        except (OSError, RuntimeError, ValueError) as error:
            raise InputError(f"workers: Ray cannot be joined or started: {one_line(error)}") from error
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    # A batch that cannot be asked at all is missing from the result instead of ending it.
    context.max_errored_blocks = -1
    rows = ray.data.from_items([asdict(item) for item in items], override_num_blocks=ceil(len(items) / work.batch_size))
    answered = rows.map_batches(
        Actor,
        fn_constructor_args=(work,),
        batch_size=work.batch_size,
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_gpus=1 if ray.cluster_resources().get("GPU") else 0,
    )
    missing = {item.id for item in items}
    for row in answered.iter_rows():
        missing.discard(row["id"])
        yield [Failure(row["id"], row["reason"])] if row["reason"] else [], 1
    yield (
        [Failure(name, "its batch was lost; the worker ended or could not write") for name in sorted(missing)],
        len(missing),
    )
