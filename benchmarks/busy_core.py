"""What a core that something else works on costs the command: python -m benchmarks.busy_core

`fusargpt quickstart`, whole process, with the threads' waiting as torch's OpenMP has it by itself and as the command
sets it on few cores (`fusargpt.waiting_threads`), by turns, on a machine that is otherwise idle and beside a process
that keeps one core busy.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from fusargpt.waiting_threads import give_up_cores

WAYS = ("OpenMP's own", "the command's")
_OWN = "OMP_WAIT_POLICY"


def environment(way: str) -> dict[str, str]:
    """That of one way. An empty policy is none to OpenMP, and is one that the command leaves alone."""
    given = {name: value for name, value in os.environ.items() if name not in (_OWN, "GOMP_SPINCOUNT")}
    if way == WAYS[0]:
        given[_OWN] = ""
    else:
        give_up_cores(given)
    return given


def seconds(way: str) -> float:
    """Of one run."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "fusargpt", "quickstart", "--out", str(Path(folder, "quickstart.png"))]
        begun = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, env=environment(way))
        return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, help="of each (default: 3); medians are shown")
    options = parser.parse_args()
    print(f"{len(os.sched_getaffinity(0))} cores; seconds of {WAYS[0]} waiting, of {WAYS[1]}, and their ratio")
    for beside in ("idle", "one core busy"):
        other = None
        if beside != "idle":
            other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        try:
            taken = [[seconds(way) for way in WAYS] for _ in range(options.runs)]
        finally:
            if other is not None:
                other.kill()
        own, set_here = (statistics.median(run[index] for run in taken) for index in range(2))
        print(f"{beside}: {own:.1f} {set_here:.1f} {own / set_here:.2f}", flush=True)


if __name__ == "__main__":
    main()
