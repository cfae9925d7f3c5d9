"""What a run says of itself: a line of JSON for each round and each part that it changed, a page, and the card."""

import base64
import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fusargpt.captioning.rows import write_readme as write_card
from fusargpt.scio.dataset import CaptionRows
from fusargpt.scio.outcome import RoundReport, ScioReport
from fusargpt.scio.screening import OBJECTIVES
from fusargpt.scio.settings import HALVES
from fusargpt.tasks.facts import DIMENSIONS

EXAMPLES = 20
_LARGEST_SIDE = 300  # pixels of a picture on the page
_TEMPLATE = "page.html.jinja"


def journal_lines(rows: CaptionRows, report: ScioReport) -> Iterator[dict[str, Any]]:
    """The journal: how each judge's evidence was read, and what became of each part that was flagged or dropped."""
    for one in report.rounds:
        for half in HALVES:
            calibration = one.screened.calibrations[half]
            yield {
                "round": one.number,
                "half": half,
                "auroc": round(calibration.auroc, 6),
                "weights": dict(zip(OBJECTIVES, np.round(calibration.weights, 6).tolist(), strict=True)),
                "thresholds": {name: _rounded(asdict(found)) for name, found in calibration.thresholds.items()},
            }
        for number, name in _touched(one):
            found = one.found.get((number, name))
            accepted = None if found is None else found["accepted"]
            part = one.before[number][name]
            yield {
                "round": one.number,
                "id": rows.ids[number],
                "dimension": name,
                "before": part.phrase if part.weight > 0 else None,
                "source": part.source,
                "score": one.screened.scores.get((number, name)),
                "evidence": one.screened.evidence.get((number, name)),
                "outcome": "dropped" if accepted is None else "reconstructed",
                "after": None if accepted is None else accepted["phrase"],
                "by": None if accepted is None else accepted["by"],
                "tried": 0 if found is None else found["tried"],
            }
    for number, caption in enumerate(report.captions):
        if rows.too_little(caption):
            yield {"id": rows.ids[number], "outcome": "left out", "sources": {k: p.source for k, p in caption.items()}}
    yield {"stopped": report.stopped}


def write_page(path: Path, rows: CaptionRows, report: ScioReport) -> None:
    """One page that loads nothing from anywhere: rounds, dimensions, and examples with their images."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = environment.get_template(_TEMPLATE).render(
        rows=len(rows),
        report=report,
        rounds=[
            {
                "number": one.number,
                "auroc": one.auroc,
                "share": one.share,
                "accepted": one.accepted,
                "dropped": one.dropped,
                "by": _by(one),
                "dimensions": _dimensions(one),
            }
            for one in report.rounds
        ],
        examples=_examples(rows, report),
    )
    # Captions may hold anything, lone surrogates too.
    path.write_text(html, encoding="utf-8", errors="replace")


def write_readme(path: Path, rows: CaptionRows, report: ScioReport) -> None:
    """The card by which `datasets` finds the shards, and what its own columns mean."""
    counts = ", ".join(f"{count:,} {origin}" for origin, count in sorted(report.origins.items()))
    write_card(
        path,
        [rows.split],
        "Cleaned captions",
        [
            f"{report.written:,} rows, cleaned in {len(report.rounds)} rounds: {counts} parts.",
            "Dropped parts are null in `description` and `target_description`. Of each of the sixteen parts, in the",
            f"order {', '.join(DIMENSIONS)},",
            "`part_weight` says how far it is trusted (0 dropped, 0.5 reconstructed and not judged again yet, 1),",
            "`part_origin` is source, reconstructed or dropped, and `part_source` what the dataset said at first.",
            "`scio_round` is the round in which a row was changed last; `journal.jsonl` says why, `report.html` shows",
            "it.",
        ],
    )


def _touched(one: RoundReport) -> list[tuple[int, str]]:
    order = {name: place for place, name in enumerate(DIMENSIONS)}
    return sorted({*one.screened.flagged, *one.found}, key=lambda part: (part[0], order[part[1]]))


def _rounded(found: dict[str, Any]) -> dict[str, Any]:
    # JSON knows no number for a threshold that nothing reaches, nor for an AUROC of nothing.
    return {
        name: (round(value, 6) if abs(value) < float("inf") else None) if isinstance(value, float) else value
        for name, value in found.items()
    }


def _by(one: RoundReport) -> dict[str, Any]:
    accepted = [found["accepted"] for found in one.found.values() if found["accepted"] is not None]
    commonest = sum(found["is_commonest"] for found in accepted)
    return {"origins": dict(Counter(found["by"] for found in accepted)), "commonest": commonest}


def _dimensions(one: RoundReport) -> list[dict[str, Any]]:
    judged = Counter(name for _, name in one.screened.scores)
    flagged = Counter(name for _, name in one.screened.flagged)
    accepted = Counter(name for (_, name), found in one.found.items() if found["accepted"] is not None)
    return [
        {
            "name": name,
            "judged": judged[name],
            "flagged": flagged[name],
            "accepted": accepted[name],
            "halves": [
                found.thresholds[name] for found in one.screened.calibrations.values() if name in found.thresholds
            ],
        }
        for name in DIMENSIONS
        if judged[name]
    ]


def _examples(rows: CaptionRows, report: ScioReport) -> list[dict[str, Any]]:
    """Images whose parts were flagged most surely, the surest first; a score is that of the last round that flagged."""
    scores: dict[tuple[int, str], float] = {}
    for one in report.rounds:
        scores |= {part: one.screened.scores[part] for part in one.screened.flagged}
    surest = sorted(scores, key=lambda part: (-scores[part], part))
    numbers = list(dict.fromkeys(number for number, _ in surest))[:EXAMPLES]
    return [
        {
            "id": rows.ids[number],
            "source": _picture(rows, number),
            "parts": [
                {
                    "name": name,
                    "part": part,
                    "score": scores.get((number, name)),
                }
                for name, part in report.captions[number].items()
            ],
        }
        for number in numbers
    ]


def _picture(rows: CaptionRows, number: int) -> str:
    picture = rows.picture(number)[0]
    picture.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE))
    encoded = io.BytesIO()
    picture.save(encoded, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(encoded.getvalue()).decode()}"
