"""What a core that something else works on costs the command: python -m benchmarks.busy_core

`fusargpt quickstart`, whole process, with the threads' waiting as torch's OpenMP has it by itself and as the command
sets it on few cores (`fusargpt.waiting_threads`), by turns, on a machine that is otherwise idle and beside processes
that keep one core busy.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WAYS: dict[str, dict[str, str]] = {"OpenMP's own": {"GOMP_SPINCOUNT": "300000"}, "the command's": {}}
"""How threads wait, and what says so: the command leaves alone what is set."""
BESIDE = {
    "nothing": None,
    "a Python loop": "while True: pass",
    "products on one thread": "import torch; torch.set_num_threads(1); a = torch.rand(1000, 1000)\nwhile True: a @ a",
}


def seconds(way: str) -> float:
    """Of one run."""
    alone = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "fusargpt", "quickstart", "--out", str(Path(folder, "quickstart.png"))]
        begun = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, env=alone | WAYS[way])
        return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, help="of each (default: 3); medians are shown")
    options = parser.parse_args()
    print(f"{len(os.sched_getaffinity(0))} cores; seconds of {', of '.join(WAYS)} waiting, and their ratio")
    for beside, program in BESIDE.items():
        # A session of its own, as another program of the user has: the system shares cores between sessions first.
        other = program and subprocess.Popen([sys.executable, "-c", program], start_new_session=True)
        try:
            taken = [[seconds(way) for way in WAYS] for _ in range(options.runs)]
        finally:
            if other:
                other.kill()
        own, set_here = (statistics.median(run[index] for run in taken) for index in range(2))
        print(f"{beside}: {own:.1f} {set_here:.1f} {own / set_here:.2f}", flush=True)


if __name__ == "__main__":
    main()
