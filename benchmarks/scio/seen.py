"""What do judges see of errors? python -m benchmarks.scio.seen --proof build/scio-proof [--images 300]

Of every cleaning of the proof (`python -m benchmarks.scio`, which has to be done with it): how well the scores of its
two judges tell wrong parts from right ones, beside the errors that SCIO itself plants to choose its thresholds; and
how well the model that judges start from does, which no caption of these has been shown to. An area of 0.5 is chance.
"""

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.scio.data import KINDS, read, truths, wrong_parts
from fusargpt.checkpoints import KLIP_NANO
from fusargpt.files import write_text_whole
from fusargpt.inference.rows import read_picture, read_prior
from fusargpt.scio.judge import Judge
from fusargpt.scio.planting import plant
from fusargpt.scio.screening import screen
from fusargpt.scio.settings import HALVES, ScioSettings
from fusargpt.scio.thresholds import auroc, calibrate
from fusargpt.tasks.facts import DIMENSIONS, phrases_of

AT_ONCE = 16
Screened = Sequence[Mapping[str, Any]]
Wrong = set[tuple[str, str]]


def areas(halves: Iterable[Screened], wrong: Wrong, settings: ScioSettings) -> dict[str, float]:
    """The area under the curve of wrong parts against right ones, by dimension and of `all`, and of `planted` errors.

    Args:
        halves: what was screened by one judge each.
        wrong: ids and dimensions.
        settings: of the screening.
    """
    scores: dict[tuple[str, bool], list[float]] = {}
    planted: list[float] = []
    for rows in halves:
        calibration = calibrate(rows, settings)
        for row in rows:
            for name, evidence in row["evidence"].items():
                scores.setdefault((name, (row["id"], name) in wrong), []).append(calibration.score(name, evidence))
            if (error := row["planted"]) is not None:
                planted.append(calibration.score(error["dimension"], error["evidence"]))
    of = {
        name: (np.array(scores.get((name, False), [])), np.array(scores.get((name, True), []))) for name in DIMENSIONS
    }
    right, false = (np.concatenate([both[side] for both in of.values()]) for side in (0, 1))
    found = {"planted": auroc(np.concatenate([right, false]), np.array(planted)), "all": auroc(right, false)}
    return found | {name: auroc(*both) for name, both in of.items()}


def read_screened(cleaned: Path) -> list[Screened]:
    """What the first round of a cleaning left of each half."""
    return [
        [row for path in sorted((cleaned / "rounds" / "1" / half / "screen").glob("*.json")) for row in _json(path)]
        for half in HALVES
    ]


def screen_anew(noisy: Path, model: Path, images: int, settings: ScioSettings) -> Screened:
    """The first `images` of the captions, as a model that was not fitted on them screens them."""
    judge = Judge.load(model, "cpu")
    rows = read(noisy)[:images]
    names = [row["id"] for row in rows]
    said = [phrases_of(row) for row in rows]
    errors = plant(names, said, "plant", str(settings.seed))
    found: list[Mapping[str, Any]] = []
    for first in tqdm(range(0, len(rows), AT_ONCE), unit="batch", desc="screening", disable=None, leave=False):
        some = slice(first, first + AT_ONCE)
        seen = judge.see([read_picture(row) for row in rows[some]], [read_prior(row) for row in rows[some]], rows[some])
        found += screen(judge, seen, names[some], said[some], errors[some], settings, str(settings.seed), "1")
    return found


def table(found: Mapping[str, Mapping[str, float]]) -> str:
    """Markdown: a column for each set of captions and judge."""
    lines = [f"| area under the curve | {' | '.join(found)} |", f"|---|{'---|' * len(found)}"]
    for name in ("planted", "all", *DIMENSIONS):
        lines.append(f"| {name} | {' | '.join(f'{one[name]:.2f}' for one in found.values())} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--proof", type=Path, default=Path("build/scio-proof"), help="--out of benchmarks.scio")
    parser.add_argument("--start", type=Path, default=KLIP_NANO, help="model that judges start from")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--images", type=int, default=300, help="that the model screens which judges start from")
    given = parser.parse_args()
    truth = truths(given.proof / "data" / "clean")
    found: dict[str, dict[str, float]] = {}
    for kind in KINDS:
        for seed in given.seeds:
            settings = ScioSettings(out=given.proof, seed=seed)
            noisy = given.proof / "data" / ("nano" if kind == "nano" else f"{kind}-{seed}")
            wrong = wrong_parts(noisy, truth)
            found[f"{kind} {seed}: judges"] = areas(
                read_screened(given.proof / "scio" / f"{kind}-{seed}"), wrong, settings
            )
            anew = screen_anew(noisy, given.start, given.images, settings)
            found[f"{kind} {seed}: before fitting"] = areas([anew], wrong, settings)
            write_text_whole(given.proof / "seen.md", table(found))
    print(table(found))


def _json(path: Path) -> list[Mapping[str, Any]]:
    return json.loads(path.read_text())


if __name__ == "__main__":
    main()
