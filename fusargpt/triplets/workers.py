"""Many jobs on many processes. A job that takes its process down with it costs neither the others nor the run."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")


class Crash:
    """The result of a job whose process died: killed for its memory, or by a fault in a native library."""


def run_all(
    function: Callable[[Job], Result], jobs: Iterable[Job], workers: int
) -> Iterator[tuple[Job, Result | Crash]]:
    """`function` of every job with its job, as they are finished, in any order.

    Args:
        function: of a module, so that other processes can import it; its errors are raised here.
        jobs: what can be pickled.
        workers: processes; 0 runs the jobs in this one, in order, where a crash is a crash.
    """
    if workers == 0:
        for job in jobs:
            yield job, function(job)
        return
    waiting = deque(jobs)
    suspects: deque[Job] = deque()
    while waiting or suspects:
        # After a crash every job that was running is suspect; one at a time the culprit shows itself.
        alone = bool(suspects)
        lost = yield from _run_until_crash(function, suspects if alone else waiting, 1 if alone else workers)
        if alone:
            for job in lost:
                yield job, Crash()
        else:
            suspects.extend(lost)


def _run_until_crash(function: Callable[[Job], Result], jobs: deque[Job], workers: int) -> Iterator[tuple[Job, Result]]:
    """Takes jobs until there are none or a process dies; returns those that were running then."""
    running: dict[Future[Result], Job] = {}
    # Not forked from this process: GDAL's and Arrow's threads do not survive that. Forked from a server that has
    # imported what the jobs need once for all of them.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["fusargpt.triplets.jobs"])
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent) as pool:
        try:
            while jobs or running:
                # No more than run at once: what waits in the pool would be suspect, too.
                while jobs and len(running) < workers:
                    running[pool.submit(function, jobs[0])] = jobs[0]
                    jobs.popleft()
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    result = future.result()
                    yield running.pop(future), result
        except BrokenProcessPool:
            return list(running.values())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return []


def _end_with_parent() -> None:
    """A worker would wait for jobs forever after its parent was killed. On Ctrl-C it finishes what it is at."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
