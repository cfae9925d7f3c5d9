"""The proof of cleaning: errors at their rates, flags counted against the truth, tables of what is done."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.scio.cells import all_cells
from benchmarks.scio.cleaning import any_half, better_half, matched
from benchmarks.scio.data import RIGHT, keep_rows, make_planted, read, truths, wrong_parts
from benchmarks.scio.flags import flag_scores
from benchmarks.scio.report import SCORES, draw, tables
from benchmarks.scio.seen import areas, table
from benchmarks.scio.student import UNREAD, make_student
from fusargpt.checkpoints import KLIP_NANO
from fusargpt.embedding.model_folder import read_klip
from fusargpt.scio.dataset import CaptionRows, write_captions
from fusargpt.scio.parts import Caption
from fusargpt.scio.run import write_halves
from fusargpt.scio.settings import ScioSettings
from fusargpt.tasks.facts import DIMENSIONS
from tests.fusargpt.scio.cleaning import SCENES, write_captions_with_errors

ROWS = 10 * SCENES


def clean(folder: Path) -> Path:
    """True captions in the form of the proof's own."""
    write_captions_with_errors(folder / "plain", ROWS, every=ROWS + 1)
    halves = write_halves(CaptionRows(str(folder / "plain"), "train", None), folder / "halves")
    return keep_rows(folder / "clean", halves["a"], [row["id"] for row in read(halves["a"])])


def test_planted_errors_come_at_the_rates_of_their_dimensions(tmp_path: Path) -> None:
    source = clean(tmp_path)
    planted = make_planted(tmp_path / "planted", source, 0)
    truth = truths(source)
    wrong = wrong_parts(planted, truth)
    parts = len(truth) * len(DIMENSIONS)
    expected = sum(1 - right / 100 for right in RIGHT.values()) / len(RIGHT)
    assert abs(len(wrong) / parts - expected) < 0.05
    assert not wrong_parts(source, truth)
    assert wrong == wrong_parts(make_planted(tmp_path / "again", source, 0), truth)
    assert wrong != wrong_parts(make_planted(tmp_path / "other", source, 1), truth)


def test_flags_are_counted_against_the_truth(tmp_path: Path) -> None:
    source = clean(tmp_path)
    planted = make_planted(tmp_path / "planted", source, 0)
    truth = truths(source)
    wrong = wrong_parts(planted, truth)
    rows = CaptionRows(str(planted), "train", "captions")
    cleaned: list[Caption] = []
    for name, caption in zip(rows.ids, rows.captions, strict=True):
        parts = dict(caption)
        for dimension in (part for part in caption if (name, part) in wrong):
            # Half of them is said anew, and rightly; of boundaries nothing is noticed.
            if dimension == "terrain":
                parts[dimension] = parts[dimension].said(truth[name][dimension], 1)
            elif dimension != "boundary":
                parts[dimension] = parts[dimension].dropped(1)
        parts["roads"] = parts["roads"].dropped(1)
        cleaned.append(parts)
    (tmp_path / "cleaned").mkdir()
    write_captions(tmp_path / "cleaned", rows, list(range(len(rows))), cleaned)
    (tmp_path / "cleaned" / "README.md").write_text((planted / "README.md").read_text())
    flags = flag_scores(tmp_path / "cleaned", planted, source)
    terrain, boundary, roads = flags["terrain"], flags["boundary"], flags["roads"]
    assert terrain["flagged"] == terrain["flagged_wrong"] == terrain["wrong"] == terrain["reconstructed_right"] > 0
    assert boundary["flagged"] == 0 < boundary["wrong"]
    assert roads["flagged"] == len(rows) > roads["flagged_wrong"] == roads["wrong"]
    assert flags["all"]["wrong"] == len(wrong)


def test_a_clean_ceiling_stands_once_for_all_kinds() -> None:
    names = [cell.name for cell in all_cells(("planted", "nano"), (0, 1), ("none", "scio", "clean"))]
    assert len(names) == len(set(names)) == 10
    assert names[:5] == ["planted-0-none", "planted-0-scio", "clean-0", "nano-0-none", "nano-0-scio"]


def test_tables_and_picture_are_of_the_cells_that_are_done(tmp_path: Path) -> None:
    sizes = dict.fromkeys(("start", "held_out", "steps", "judge_steps", "rounds", "batch"), "1") | {"rows": "10"}
    found = {name: 10.0 * place for place, name in enumerate(SCORES)}
    counts = {"parts": 10, "wrong": 4, "flagged": 5, "flagged_wrong": 3, "reconstructed": 2, "reconstructed_right": 1}
    cell = {"kind": "planted", "seed": 0}
    results: list[dict[str, Any]] = [
        {"cell": {**cell, "arm": "capfilt"}, "sizes": sizes, "kept": 1},
        {"cell": {**cell, "arm": "half"}, "sizes": sizes, "scores": found, "kept": 5},
        {
            "cell": {**cell, "arm": "scio"},
            "sizes": sizes,
            "scores": {name: value + 2 for name, value in found.items()},
            "flags": dict.fromkeys((*DIMENSIONS, "all"), counts),
        },
    ]
    text = tables(results)
    assert "CapFilt, 0.5 kept 1 of 10 rows: fewer than a batch, from which nothing is learned." in text
    assert "better half kept 5 of 10 rows." in text and "| as they are |" not in text
    assert "| SCIO minus better half | 1 | +2.0 |" in text
    assert "| all | 10 | 40 | 50 | 60 | 75 | 2 | 50 |" in text
    draw(results, tmp_path / "scores.png")
    assert (tmp_path / "scores.png").stat().st_size > 1000
    again = [{**one, "cell": {**one["cell"], "seed": 1}} for one in results]
    again[2]["scores"] = {name: value + 1 for name, value in again[2]["scores"].items()}
    assert "| SCIO minus better half | 2 | +2.5 [-3.9, +8.9] |" in tables([*results, *again])


def test_rows_are_dropped_by_their_scores() -> None:
    scores = {"a": 0.2, "b": 0.5, "c": 0.9, "d": 0.2, "e": 0.1}
    assert matched(scores) == ["b", "c"]
    assert better_half(scores) == ["c", "b"]
    assert better_half({**scores, "f": 0.0}) == ["c", "b", "a"]
    assert any_half(scores) == ["a", "b"]


def test_a_student_sees_and_cannot_read(tmp_path: Path) -> None:
    known, _ = read_klip(str(KLIP_NANO), "cpu")
    one, other = (read_klip(str(make_student(tmp_path / str(seed), KLIP_NANO, seed)), "cpu")[0] for seed in (0, 1))
    for name, weight in known.state_dict().items():
        if not name.startswith(UNREAD):
            assert torch.equal(weight, one.state_dict()[name]) and torch.equal(weight, other.state_dict()[name]), name
    read = "text_encoder.encoder.layer.0.attention.self.query.weight"
    assert len({tuple(model.state_dict()[read][5].tolist()) for model in (known, one, other)}) == 3


def test_areas_tell_what_a_judge_sees_of_errors(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    dimensions = DIMENSIONS[:4]
    names = [str(number) for number in range(80)]
    wrong = {(name, dimensions[0]) for name in names[::4]}

    def row(number: int, name: str) -> dict[str, Any]:
        evidence = {part: (rng.normal(size=3) * 0.1 + 3 * ((name, part) in wrong)).tolist() for part in dimensions}
        planted = {"dimension": dimensions[number % 4], "phrase": "", "evidence": [3.0, 3.0, 3.0]}
        return {"id": name, "evidence": evidence, "planted": planted}

    found = areas([[row(number, name) for number, name in enumerate(names)]], wrong, ScioSettings(out=tmp_path))
    assert found[dimensions[0]] == found["all"] == 1 and found["planted"] > 0.9
    assert np.isnan(found[dimensions[1]]), "nothing is wrong there"
    assert f"| {dimensions[0]} | 1.00 |" in table({"judges": found})
