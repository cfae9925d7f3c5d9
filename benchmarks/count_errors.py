"""Wrong counts of an evaluation, told apart: python -m benchmarks.count_errors DIR/results.json

For each entry how many counts are right, too low, too high and unreadable, and how many targets it counted of those
that are there, over the answers that can be read.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def count_errors(predictions: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Of the predictions of the task `count` in `results.json`."""
    pairs = [(one["parsed"], int(one["reference"])) for one in predictions if one["task"] == "count"]
    read = [(said, true) for said, true in pairs if said is not None]
    return {
        "counts": len(pairs),
        "right": sum(said == true for said, true in read),
        "too low": sum(said < true for said, true in read),
        "too high": sum(said > true for said, true in read),
        "unreadable": len(pairs) - len(read),
        "targets counted": sum(said for said, _ in read),
        "targets there": sum(true for _, true in read),
    }


def table(predictions: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Markdown, a row for each entry."""
    rows = {label: count_errors(found) for label, found in predictions.items()}
    header = ["entry", *next(iter(rows.values()))]
    lines = [[label, *map(str, counts.values())] for label, counts in rows.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, ["---"] * len(header), *lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="results.json of an evaluation that asks for counts")
    print(table(json.loads(parser.parse_args().results.read_text())["predictions"]))


if __name__ == "__main__":
    main()
