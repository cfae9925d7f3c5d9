"""What a foundation model has to pass: the suite's baselines that need no model. `python -m benchmarks.foundation`."""

import argparse
import json
import sys
from pathlib import Path

from fusargpt.cli.main import main as fusargpt

RESULTS = Path(__file__).parent / "results" / "foundation"
MODEL, BASELINES = "nano-tower", "hand,alphaearth,hand+alphaearth"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/foundation"), help="folder of the suite")
    out: Path = parser.parse_args().out
    code = fusargpt(
        [
            "evaluate",
            MODEL,
            "--suite",
            "foundation",
            "--prior",
            "true,none",
            "--baselines",
            BASELINES,
            "--out",
            str(out),
        ]
    )
    if code:
        sys.exit(code)
    RESULTS.mkdir(parents=True, exist_ok=True)
    found = json.loads((out / "results.json").read_text())
    (RESULTS / "results.json").write_text(json.dumps(found, indent=1) + "\n")
    (RESULTS / "radar.png").write_bytes((out / "radar.png").read_bytes())


if __name__ == "__main__":
    main()
