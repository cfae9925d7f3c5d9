"""The downstream half of the proof: captions in one form and read back, cells end to end, tables of what is done."""

import json
from pathlib import Path

import pytest
from datasets import Features, List, Value

from benchmarks.scio.cells import RESULTS, Cell
from benchmarks.scio.data import make_planted, read, write
from benchmarks.scio.downstream import cells
from benchmarks.scio.downstream.cells import run_cell, run_start, source_of, stage_rows
from benchmarks.scio.downstream.report import draw, tables, tallies
from benchmarks.scio.downstream.start import form_rows
from benchmarks.scio.downstream.texts import PARTS, caption, question, read_caption
from benchmarks.scio.downstream.training import Sizes
from fusargpt.checkpoints import NANO_BACKBONE
from fusargpt.errors import InputError
from fusargpt.simulator.description import scene_phrases
from fusargpt.simulator.simulated_scene import simulate_scene
from fusargpt.tasks.facts import DIMENSIONS, phrases_of
from fusargpt.triplets.features import CAPTION_FEATURES
from tests.benchmarks.test_scio_proof import clean

CLEAN, NONE = Cell("planted", 0, "clean"), Cell("planted", 0, "none")


def a_proof(folder: Path) -> Path:
    """As far as the downstream half reads it: clean captions, planted errors, and cells that say they are done."""
    source = clean(folder / "source")
    write(folder / "proof" / "data" / "clean", read(source))
    make_planted(folder / "proof" / "data" / "planted-0", source, 0)
    for cell in (CLEAN, NONE):
        path = folder / "proof" / "cells" / cell.name / RESULTS
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"sizes": {"rows": "120"}}))
    return folder / "proof"


def test_captions_are_read_back() -> None:
    for seed in range(40):
        phrases = scene_phrases(simulate_scene(seed))
        known = {part: phrases[part] for part in PARTS}
        assert read_caption(caption(phrases)) == known
        some = {part: phrases[part] for part in PARTS[::2]}
        assert read_caption(caption(some)) == some
    assert read_caption("") == read_caption("Mostly water. No targets.") == {}


def test_a_question_names_the_parts_that_are_told() -> None:
    asked = question(("terrain", "target_category"))
    assert asked == f"Describe this image: 1 {DIMENSIONS.index('target_category') + 1}."
    assert asked != question(PARTS)


def test_rows_tell_the_captions_with_errors_and_leave_out_what_is_not_trusted(tmp_path: Path) -> None:
    source = clean(tmp_path)
    planted = make_planted(tmp_path / "planted", source, 0)
    told = {row["id"]: read_caption(row["completion"][0]["content"]) for row in stage_rows(planted)}
    for row in read(planted):
        assert told[row["id"]] == {part: phrases_of(row)[part] for part in PARTS}
    assert told != {row["id"]: read_caption(row["completion"][0]["content"]) for row in stage_rows(source)}
    doubted, *others = read(source)
    doubted["description"] = dict.fromkeys(doubted["description"])
    doubted["target_description"] = dict.fromkeys(doubted["target_description"])
    others[0]["description"]["terrain"] = None
    write(tmp_path / "gaps", [doubted, *others])
    rows = {row["id"]: row for row in stage_rows(tmp_path / "gaps")}
    assert doubted["id"] not in rows and len(rows) == len(others)
    row = rows[others[0]["id"]]
    assert row["prompt"][0]["content"] == question(PARTS[1:])
    assert set(read_caption(row["completion"][0]["content"])) == set(PARTS[1:])


def test_a_part_that_is_not_trusted_is_told_and_not_learned(tmp_path: Path) -> None:
    source = clean(tmp_path)
    row = read(source)[0]
    first = phrases_of(row)
    columns = {
        "part_weight": [0.0 if dimension == "terrain" else 1.0 for dimension in DIMENSIONS],
        "part_source": [first.get(dimension) for dimension in DIMENSIONS],
    }
    row["description"]["terrain"] = None
    features = Features(
        {
            **CAPTION_FEATURES,
            "part_weight": List(Value("float32"), length=16),
            "part_source": List(Value("string"), length=16),
        }
    )
    write(tmp_path / "cleaned", [{**row, **columns}], features)
    (found,) = stage_rows(tmp_path / "cleaned")
    assert found["prompt"][0]["content"] == question(PARTS)
    answer, ((begin, end),) = found["doubted"]["answer"], found["doubted"]["spans"]
    assert read_caption(answer) == {part: first[part] for part in PARTS}
    assert first["terrain"] in answer[begin:end] and first["distribution"] not in answer[begin:end]
    assert set(read_caption(found["completion"][0]["content"])) == set(PARTS[1:])


def test_the_form_is_shown_by_captions_of_other_places() -> None:
    rows = form_rows(40)
    assert len(rows) == 80
    asked = set()
    for own, form in zip(rows[::2], rows[1::2], strict=True):
        assert own["image"] == form["image"] and own["id"] != form["id"]
        said = read_caption(form["completion"][0]["content"])
        assert said and form["prompt"][0]["content"] == question(list(said))
        asked.add(tuple(said))
    own, said = phrases_of(rows[0]), read_caption(rows[1]["completion"][0]["content"])
    assert said != {part: own[part] for part in said}
    assert PARTS in asked and len(asked) > 10 and {part for parts in asked for part in parts} == set(PARTS)


def test_facts_are_right_where_they_are_told_and_true() -> None:
    true = {part: phrase for part, phrase in scene_phrases(simulate_scene(3)).items() if part in PARTS}
    said = caption({part: phrase for part, phrase in true.items() if part != "terrain"})
    scores = tallies([{"said": caption(true), "true": true}, {"said": said, "true": true}])
    assert scores["facts/terrain"].value == 0.5 and scores["facts/target_count"].value == 1
    assert scores["facts"].value == pytest.approx(1 - 0.5 / len(PARTS))
    assert scores["bleu4"].value < 1


def test_a_cell_of_the_proof_that_is_not_done_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"planted-0-scio.*benchmarks\.scio"):
        run_cell(Cell("planted", 0, "scio"), tmp_path, tmp_path / "out", Sizes(NANO_BACKBONE, 4, 2, 2, 2, 2))
    assert source_of(CLEAN, tmp_path) == tmp_path / "data" / "clean"


def test_sizes_are_checked_before_anything_is_made() -> None:
    with pytest.raises(InputError, match="--form-places: found 0"):
        Sizes(NANO_BACKBONE, 0, 2, 2, 2, 2)


@pytest.mark.slow
def test_cells_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "MAX_NEW_TOKENS", 4)
    proof, out, sizes = a_proof(tmp_path), tmp_path / "out", Sizes(NANO_BACKBONE, 4, 1, 1, 2, 2)
    start = run_start(out, sizes)
    results = [run_cell(cell, proof, out, sizes) for cell in (NONE, CLEAN)]
    counts = [one["captions"] for one in results]
    assert counts[0]["rows"] == counts[1]["rows"] and counts[0]["wrong"] > 0 == counts[1]["wrong"]
    assert [len(one["answers"]) for one in (start, *results)] == [2, 2, 2]
    assert [path.name for path in (out / "cells" / NONE.name).iterdir()] == [RESULTS]
    assert run_cell(NONE, proof, out, sizes) == results[0], "kept, and not made again"
    with pytest.raises(InputError, match="choose another --out"):
        run_cell(NONE, proof, out, Sizes(NANO_BACKBONE, 4, 1, 2, 2, 2))
    text = tables(results, start)
    assert "| clean captions minus as they are | 1 |" in text and "before stage 1" in text and "CapFilt" not in text
    draw(results, start, tmp_path / "scores.png")
    assert (tmp_path / "scores.png").stat().st_size > 1000
