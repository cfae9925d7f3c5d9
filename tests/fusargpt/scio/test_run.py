"""Whole runs with a judge that knows the truth."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import load_dataset

from fusargpt.errors import InputError
from fusargpt.scio import chunks
from fusargpt.scio.dataset import CaptionRows
from fusargpt.scio.judge import Judge
from fusargpt.scio.outcome import ScioReport
from fusargpt.scio.run import run_scio, write_halves
from fusargpt.scio.settings import ScioSettings
from fusargpt.tasks.facts import DIMENSIONS, phrases_of
from tests.fusargpt.scio.cleaning import Oracle, OracleFitter, truth_of, write_captions_with_errors


@pytest.fixture
def oracle(monkeypatch: pytest.MonkeyPatch) -> Oracle:
    judge = Oracle()
    monkeypatch.setattr(Judge, "load", staticmethod(lambda folder, device=None: judge))
    return judge


def clean(data: Path, out: Path, **settings: Any) -> ScioReport:
    return run_scio(CaptionRows(str(data), "train", None), OracleFitter(), ScioSettings(out=out, **settings))


def rows_of(out: Path) -> list[dict[str, Any]]:
    return [dict(row) for row in load_dataset(str(out), "captions", split="train", cache_dir=str(out / "cache"))]


def test_wrong_parts_are_found_and_said_anew_or_left_out(tmp_path: Path, oracle: Oracle) -> None:
    wrong = write_captions_with_errors(tmp_path / "data")
    report = clean(tmp_path / "data", tmp_path / "out", rounds=2)
    rows = rows_of(tmp_path / "out")
    assert len(rows) == 96 and report.written == 96 and report.unjudged == 0
    found, repaired = set[tuple[str, str]](), 0
    for number, row in enumerate(rows):
        for place, dimension in enumerate(DIMENSIONS):
            if row["part_origin"][place] in ("dropped", "reconstructed"):
                found.add((row["id"], dimension))
                assert row["part_weight"][place] in (0, 0.5, 1)
            if row["part_origin"][place] == "reconstructed":
                repaired += 1
                assert phrases_of(row)[dimension] == truth_of(number)[dimension]
        # The original is never lost.
        sources = {name: said for name, said in zip(DIMENSIONS, row["part_source"], strict=True) if said is not None}
        for dimension, phrase in sources.items():
            assert phrase == wrong.get((row["id"], dimension), truth_of(number)[dimension])
        changed = any(origin in ("dropped", "reconstructed") for origin in row["part_origin"])
        assert (row["completion"][0]["content"] == "As it was.") == (not changed)
        # What was dropped is told beside it, and marked.
        dropped = [place for place, origin in enumerate(row["part_origin"]) if origin == "dropped"]
        assert (row["doubted"] is None) == (not dropped)
        if dropped:
            answer, spans = row["doubted"]["answer"], row["doubted"]["spans"]
            marked = [answer[first:last] for first, last in spans]
            assert [row["part_source"][place] in said for place, said in zip(dropped, marked, strict=True)] == [True]
            assert all(said not in row["completion"][0]["content"] for said in marked)
    assert len(found & set(wrong)) >= 0.9 * len(wrong)
    assert len(found & set(wrong)) >= 0.8 * len(found)
    assert repaired >= 0.5 * len(wrong)


def test_what_a_run_says_of_itself(tmp_path: Path, oracle: Oracle) -> None:
    wrong = write_captions_with_errors(tmp_path / "data")
    report = clean(tmp_path / "data", tmp_path / "out", rounds=3)
    lines = [json.loads(line) for line in (tmp_path / "out" / "journal.jsonl").read_text().splitlines()]
    parts = [line for line in lines if "dimension" in line and line["round"] == 1]
    assert {(line["id"], line["dimension"]) for line in parts} >= set(list(wrong)[:5])
    assert all(line["outcome"] == ("dropped" if line["after"] is None else "reconstructed") for line in parts)
    assert lines[-1] == {"stopped": report.stopped}
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Round 1" in page and page.count("<figure>") == min(20, len({line["id"] for line in parts}))
    # In the second round nothing is wrong any more, so that there is no third, or the share has fallen.
    assert report.rounds[1].share < report.rounds[0].share


def test_a_run_that_was_cut_goes_on_and_ends_in_the_same_bytes(
    tmp_path: Path, oracle: Oracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_captions_with_errors(tmp_path / "data")
    clean(tmp_path / "data", tmp_path / "whole", rounds=1)
    seen = oracle.told
    original, left = chunks.output_file, [0]

    def cut(*arguments: Any, **keywords: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return original(*arguments, **keywords)

    oracle.told = 0
    monkeypatch.setattr(chunks, "output_file", cut)
    for allowed in (2, 3):
        left[0] = allowed
        with pytest.raises(KeyboardInterrupt):
            clean(tmp_path / "data", tmp_path / "cut", rounds=1)
    left[0] = 1000
    clean(tmp_path / "data", tmp_path / "cut", rounds=1)
    # What was kept is not done again: but for the two pieces that were cut.
    assert oracle.told <= seen + 2 * 16
    files = [path.relative_to(tmp_path / "whole") for path in (tmp_path / "whole").rglob("*") if path.is_file()]
    assert len(files) > 8
    for path in files:
        assert (tmp_path / "whole" / path).read_bytes() == (tmp_path / "cut" / path).read_bytes(), path
    with pytest.raises(InputError, match=r"a cleaning with precision 0\.8, now 0\.9"):
        clean(tmp_path / "data", tmp_path / "cut", rounds=1, precision=0.9)


def test_rows_of_one_place_are_judged_by_the_model_of_others(tmp_path: Path, oracle: Oracle) -> None:
    write_captions_with_errors(tmp_path / "data")
    rows = CaptionRows(str(tmp_path / "data"), "train", None)
    halves = rows.halves()
    assert sorted(halves["a"] + halves["b"]) == list(range(96)) and min(map(len, halves.values())) > 20
    folders = write_halves(rows, tmp_path / "halves")
    for half, folder in folders.items():
        found = load_dataset(str(folder), "captions", split="train", cache_dir=str(tmp_path / "cache"))
        assert list(found["id"]) == [rows.ids[number] for number in halves[half]]


def test_a_judge_that_finds_no_planted_error_cleans_nothing(
    tmp_path: Path, oracle: Oracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_captions_with_errors(tmp_path / "data")
    generator = np.random.default_rng(0)
    monkeypatch.setattr(Oracle, "surprise", lambda self, seen, texts, spans, images: np.zeros(len(texts)))
    monkeypatch.setattr(Oracle, "fits", lambda self, seen, texts, images: generator.normal(size=(len(texts), 2)))
    with pytest.raises(InputError, match=r"planted errors are told from other parts with an AUROC of 0\.[45]"):
        clean(tmp_path / "data", tmp_path / "out")


def test_without_reconstruction_flagged_parts_are_left_out(tmp_path: Path, oracle: Oracle) -> None:
    write_captions_with_errors(tmp_path / "data")
    report = clean(tmp_path / "data", tmp_path / "out", rounds=1, reconstruct=False)
    assert report.origins.get("reconstructed", 0) == 0 < report.origins["dropped"]


def test_what_cannot_be_cleaned_is_refused(tmp_path: Path, oracle: Oracle) -> None:
    write_captions_with_errors(tmp_path / "data", 6, part_weight=[1.0] * 16)
    with pytest.raises(InputError, match="found a column part_weight: it has been cleaned"):
        CaptionRows(str(tmp_path / "data"), "train", None)
    write_captions_with_errors(tmp_path / "few", 12)
    with pytest.raises(InputError, match="images in which an error could be planted, expected at least 10"):
        clean(tmp_path / "few", tmp_path / "out")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("x")
    with pytest.raises(InputError, match="holds files that no cleaning left there"):
        clean(tmp_path / "few", tmp_path / "other")
    fitter = OracleFitter(most_rounds=1)
    with pytest.raises(InputError, match="rounds: found 3 with models that are given, expected 1"):
        run_scio(CaptionRows(str(tmp_path / "few"), "train", None), fitter, ScioSettings(out=tmp_path / "x"))
