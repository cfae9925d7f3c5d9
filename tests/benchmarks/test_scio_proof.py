"""The proof of cleaning: errors at their rates, flags counted against the truth, tables of what is done."""

from pathlib import Path

from benchmarks.scio.cells import all_cells, flag_scores
from benchmarks.scio.data import RIGHT, keep_rows, make_planted, read, truths, wrong_parts
from benchmarks.scio.report import SCORES, draw, tables
from fusargpt.scio.dataset import CaptionRows, write_captions
from fusargpt.scio.parts import Caption
from fusargpt.scio.run import write_halves
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
    flags = flag_scores(tmp_path / "cleaned", planted, source)["flags"]
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
    results = [
        {"cell": {"kind": "planted", "seed": 0, "arm": "capfilt"}, "sizes": sizes, "scores": found, "kept": 7},
        {
            "cell": {"kind": "planted", "seed": 0, "arm": "scio"},
            "sizes": sizes,
            "scores": found,
            "flags": dict.fromkeys((*DIMENSIONS, "all"), counts),
        },
    ]
    text = tables(results)
    assert "CapFilt kept 70 % of the rows." in text and "no SCIO" not in text
    assert "| all | 10 | 40 | 50 | 60 | 75 | 2 | 50 |" in text
    draw(results, tmp_path / "scores.png")
    assert (tmp_path / "scores.png").stat().st_size > 1000
