"""Start-up: importing this package beside importing its parent, and the command's help.

    python -m benchmarks.start_up

Every import is that of a fresh process, the two in turns. Compared is processor time, system time included: on a busy
machine the wall tells who else was running. `fusargpt --help` is given in both.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

RESULT = Path(__file__).parent / "results" / "start_up.json"
# What a user of the parent imports to load a checkpoint and to ask it.
CASES = {
    "parent": [
        "-c",
        "from transformers import AutoModelForImageTextToText, AutoProcessor, Qwen2_5_VLForConditionalGeneration, "
        "Qwen2_5_VLProcessor",
    ],
    "modeling_fusargpt": ["-c", "import modeling_fusargpt"],
    "fusargpt --help": ["-c", "from fusargpt.cli.main import main; main(['--help'])"],
}


def run(arguments: list[str]) -> tuple[float, float]:
    """Processor and wall seconds of one process."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in CASES}
    for repeat in range(options.repeats + 1):
        for name, arguments in CASES.items():
            measured = run(arguments)
            # The first reads the files from the disk.
            if repeat:
                seconds[name].append(measured)
    ratios = [ours[0] / parent[0] for ours, parent in zip(seconds["modeling_fusargpt"], seconds["parent"], strict=True)]
    result = {
        "repeats": options.repeats,
        "processor_seconds": {
            name: round(statistics.median(processor for processor, _ in of_case), 3)
            for name, of_case in seconds.items()
        },
        "ratio_to_parent": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "help_wall_seconds": round(statistics.median(wall for _, wall in seconds["fusargpt --help"]), 3),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
