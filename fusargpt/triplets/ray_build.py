"""The jobs of a build on a Ray cluster, by Ray Data: the same parts as on one machine, and so the same shards.

The manifest's paths and the dataset's folder must mean the same on all nodes: a shared file system, or URLs for the
scenes. Needs the extra `fusargpt[ray]`.
"""

import pickle
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import ray
import ray.data

from fusargpt.triplets.jobs import Job
from fusargpt.triplets.workers import Crash


def run_on_ray(
    function: Callable[[Job], str | None], jobs: Iterable[Job], workers: int
) -> Iterator[tuple[Job, str | Crash | None]]:
    """`function` of every job with its job, as they are finished; what `fusargpt.triplets.workers.run_all` does.

    Ray is joined as its own rules say: the running connection, the cluster at RAY_ADDRESS, or a new one on this
    machine. A job whose process dies is tried again as often as Ray does, and costs no other.

    Args:
        function: can be pickled.
        jobs: each becomes a task of one core.
        workers: not used; the cluster has as many as it has.
    """
    todo = list(jobs)
    if not todo:
        return
    if not ray.is_initialized():
        ray.init(include_dashboard=False, log_to_driver=False)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    # A job that keeps killing its process is missing from the result instead of ending it.
    context.max_errored_blocks = -1
    items = [{"number": number, "job": pickle.dumps(job)} for number, job in enumerate(todo)]

    def work(item: dict[str, Any]) -> dict[str, Any]:
        return {"number": item["number"], "reason": function(pickle.loads(item["job"])) or ""}

    missing = dict(enumerate(todo))
    # A block for each, so that no job is lost with another.
    for row in ray.data.from_items(items, override_num_blocks=len(items)).map(work).iter_rows():
        yield missing.pop(row["number"]), row["reason"] or None
    for job in missing.values():
        yield job, Crash()
