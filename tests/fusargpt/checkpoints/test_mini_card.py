"""The card of fusargpt-mini: its scores are those of the committed results."""

import json
from itertools import takewhile

import pytest

from fusargpt.checkpoints import MINI
from fusargpt.metrics.tally import Score
from tests.paths import ROOT

RESULTS = ROOT / "benchmarks" / "results"


def table(heading: str) -> list[list[str]]:
    """Cells of the first table below a heading of the card, without its head."""
    lines = (MINI / "README.md").read_text().split(f"\n### {heading}\n")[1].splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("|"))
    rows = takewhile(lambda line: line.startswith("|"), lines[start + 2 :])
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in rows]


@pytest.mark.parametrize(
    ("heading", "file"), [("Real chips", "mini/ssdd.json"), ("Simulated scenes", "mini/simulator.json")]
)
def test_scores_are_those_that_were_measured(heading: str, file: str) -> None:
    results = json.loads((RESULTS / file).read_text())
    entries = [entry["label"] for entry in results["entries"]]
    rows = table(heading)
    assert len(rows) > 5
    for task, metric, n, *scores in rows:
        measured = results["scores"][task][metric]
        assert [str(Score(**measured[label])) for label in entries] == scores[: len(entries)]
        assert n == str(measured[entries[0]]["n"])


def test_ships_of_los_angeles_are_those_that_were_found() -> None:
    found = {row["detector"]: row for row in json.loads((RESULTS / "los_angeles.json").read_text())["rows"]}
    rows = table("The port of Los Angeles")
    assert len(rows) > 2
    for detector, boxes, precision, recall, *_ in rows:
        row = found[detector]
        assert (str(row["boxes"]), str(Score(**row["precision"]))) == (boxes, precision)
        assert str(Score(**row["recall"])) == recall
