"""Score a model on simulated held-out scenes: python -m benchmarks.score_nano --out scores.json

Short for `fusargpt evaluate MODEL simulator --prior true,none,shuffled --baseline majority`: every scene is asked all
five tasks, with the prior of its own place, without one, and with that of another scene. The folder of the evaluation,
with its report, lies beside the JSON; a run that was cut goes on.
"""

import argparse
import shutil
import sys
from pathlib import Path

from checkpoints import NANO
from fusargpt.cli import main as fusargpt
from metrics.benchmark.results import RESULTS
from metrics.benchmark.sources import SIMULATOR


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(NANO))
    parser.add_argument("--split", choices=("validation", "test"), default="test")
    parser.add_argument("--scenes", type=int, default=500)
    parser.add_argument("--out", type=Path, required=True, help="JSON with all scores and predictions")
    options = parser.parse_args()
    if not options.out.suffix:
        parser.error(f"--out: found {options.out}; expected a file, as scores.json")
    folder = options.out.with_suffix("")
    answering = ["--prior", "true,none,shuffled", "--baseline", "majority", "--max-new-tokens", "160"]
    asked = ["--split", options.split, "--limit", str(options.scenes), "--batch-size", "50"]
    code = fusargpt(["evaluate", options.model, SIMULATOR, *answering, *asked, "--out", str(folder)])
    if (folder / RESULTS).is_file():
        shutil.copyfile(folder / RESULTS, options.out)
    return code


if __name__ == "__main__":
    sys.exit(main())
