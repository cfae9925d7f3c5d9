"""The suite as one HTML file, in the style of the benchmark's report; it loads nothing from anywhere."""

from base64 import b64encode
from pathlib import Path

from fusargpt.evaluation.score_panels import COLOURS, card, difference_cell, groups, score_cell, template
from fusargpt.evaluation.score_tables import FEWEST_FOR_CLEAR
from fusargpt.files import output_file
from fusargpt.foundation.radar import radar
from fusargpt.foundation.results import REMEDY
from fusargpt.foundation.suite import Findings
from fusargpt.foundation.titles import title

REPORT, RADAR = "report.html", "radar.png"


def write_report(findings: Findings, folder: Path) -> Path:
    """Write `report.html` and, for three tasks or more, `radar.png`.

    Raises:
        InputError: a file cannot be written.
    """
    plot = radar(findings)
    if plot is not None:
        with output_file(folder / RADAR, REMEDY) as partial:
            partial.write_bytes(plot)
    html = template(Path(__file__).with_name("foundation.html.jinja")).render(contents(findings, plot))
    path = folder / REPORT
    with output_file(path, REMEDY) as partial:
        partial.write_text(html, encoding="utf-8")
    return path


def contents(findings: Findings, plot: bytes | None) -> dict[str, object]:
    """What the template shows."""
    colours = {entry.label: index % COLOURS for index, entry in enumerate(findings.entries)}
    cards = []
    for task in findings.tasks:
        scores = findings.scores[task.name].get(task.headline, {})
        if scores:
            differences = findings.differences[task.name].get(task.headline, {})
            cards.append(card(task.name, title(task.headline), scores, differences, colours))
    return {
        "settings": findings.settings,
        "versions": findings.versions,
        "device": findings.device,
        "entries": findings.entries,
        "resizes": findings.resizes,
        "first": findings.entries[0].label,
        "fewest": FEWEST_FOR_CLEAR,
        "colours": colours,
        "cards": cards,
        "tasks": findings.tasks,
        "radar": None if plot is None else f"data:image/png;base64,{b64encode(plot).decode()}",
        "scores": groups(findings.scores, colours, title, score_cell),
        "differences": groups(findings.differences, colours, title, difference_cell) if len(colours) > 1 else [],
        "failures": findings.failures,
    }
