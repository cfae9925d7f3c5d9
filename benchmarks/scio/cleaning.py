"""Captions with errors, and what the two ways of cleaning make of them: SCIO, and dropping rows."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmarks.scio.data import KINDS, make_nano, make_planted, read
from fusargpt.cli.main import main as fusargpt
from fusargpt.errors import InputError
from fusargpt.files import write_text_whole
from fusargpt.inference.rows import read_picture, read_prior
from fusargpt.scio.judge import Judge
from fusargpt.scio.texts import groups
from fusargpt.tasks.facts import phrases_of
from fusargpt.tasks.part_texts import part_text

RECIPE = Path(__file__).parent / "judge.yaml"
MATCHED = 0.5
"""Probability of matching from which on CapFilt keeps a row (arXiv 2201.12086, and its authors in issue 46)."""
CAPFILT_PARTS = 4
AT_ONCE = 16


def make_noisy(data: Path, clean: Path, kind: str, seed: int) -> Path:
    """Captions with errors of a kind; those of fusargpt-nano are the same for all seeds.

    Raises:
        ValueError: another kind.
    """
    if kind not in KINDS:
        raise ValueError(f"kind: found {kind!r}, expected one of {', '.join(KINDS)}")
    return make_nano(data / "nano", clean) if kind == "nano" else make_planted(data / f"planted-{seed}", clean, seed)


def clean_by_scio(noisy: Path, out: Path, fields: Mapping[str, object], options: Mapping[str, object]) -> Path:
    """What `fusargpt scio` makes of captions with errors; without its captioner, which would read the true boxes.

    Args:
        noisy: the captions.
        out: folder of the result, which goes on with what is in it.
        fields: of the judges' recipe, beside those of judge.yaml.
        options: of the command.
    """
    recipe = out.with_name(f"{out.name}.yaml")
    lines = [line for line in RECIPE.read_text().splitlines() if line.split(":")[0] not in fields]
    write_text_whole(recipe, "\n".join([*lines, *(f"{name}: {value}" for name, value in fields.items())]) + "\n")
    given = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    given += ["--captioner", "none", "--device", "cpu"]
    if fusargpt(["scio", str(noisy), "--recipe", str(recipe), "--out", str(out), *given]):
        raise InputError(f"{out}: captions were not cleaned, see above")
    return out


def match_scores(noisy: Path, cleaned: Path) -> dict[str, float]:
    """By id the probability that a row's caption matches its image, by the judge of the other half of the places.

    CapFilt's filter is SCIO's: the same two judges. A caption is longer than the judge reads at once: the mean over
    texts of four parts.
    """
    path = cleaned.with_name(f"{cleaned.name}-matched.json")
    if path.is_file():
        return json.loads(path.read_text())
    found: dict[str, float] = {}
    rows = {row["id"]: row for row in read(noisy)}
    for half, judging in (("a", "b"), ("b", "a")):
        judge = Judge.load(cleaned / "rounds" / "1" / judging / "model", "cpu")
        judged = read(cleaned / "rounds" / "1" / half / "data", ("id",))
        ids = [row["id"] for row in judged]
        for first in range(0, len(ids), AT_ONCE):
            some = [rows[name] for name in ids[first : first + AT_ONCE]]
            seen = judge.see([read_picture(row) for row in some], [read_prior(row) for row in some], some)
            texts = [
                (image, part_text(phrases_of(row), group, 0).text)
                for image, row in enumerate(some)
                for group in groups(list(phrases_of(row)), CAPFILT_PARTS, row["id"])
            ]
            odds = judge.fits(seen, [text for _, text in texts], [image for image, _ in texts])[:, 1]
            of_image = np.array([image for image, _ in texts])
            probability = 1 / (1 + np.exp(-odds))
            found |= {row["id"]: float(probability[of_image == image].mean()) for image, row in enumerate(some)}
    write_text_whole(path, json.dumps(found))
    return found


def matched(scores: Mapping[str, float]) -> list[str]:
    """Ids of the rows that match with at least `MATCHED`."""
    return [name for name, score in scores.items() if score >= MATCHED]


def better_half(scores: Mapping[str, float]) -> list[str]:
    """Ids of the half of the rows that matches best."""
    return sorted(scores, key=lambda name: (-scores[name], name))[: len(scores) // 2]


def any_half(scores: Mapping[str, float]) -> list[str]:
    """Ids of half of the rows whatever their scores, the control of `better_half`: half the rows, as many errors.

    Ids are numbers of simulated places, and so say nothing of what is in these.
    """
    return sorted(scores)[: len(scores) // 2]
