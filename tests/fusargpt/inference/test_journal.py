"""Answers on disk, after whatever happened to the run that wrote them."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from fusargpt.errors import InputError
from fusargpt.inference.journal import Journal, new_journal, read_journals
from fusargpt.inference.questions import Answer

CONDITIONS = {"model": "nano", "prior": "true"}
RUN = "a run"
ANSWERS = [
    Answer("a", "count", "How many?", "2\u2028\n\ud800", (8, 8), (8, 8), None, 0.1),
    Answer("b", "count", "How many?", "", (8, 16), (28, 56), 64, 0.1, "no data"),
]


def test_answers_come_back_as_they_were(tmp_path: Path) -> None:
    Journal(tmp_path / "deep" / "one.jsonl", CONDITIONS, RUN).add(ANSWERS)
    again = Journal(tmp_path / "deep" / "one.jsonl", CONDITIONS, RUN)
    assert list(again.answers.values()) == ANSWERS


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_a_line_that_broke_off_is_asked_again(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "one.jsonl"
    Journal(path, CONDITIONS, RUN).add(ANSWERS)
    path.write_bytes(path.read_bytes()[:-cut])
    again = Journal(path, CONDITIONS, RUN)
    assert list(again.answers) == ["a"]
    again.add(ANSWERS[1:])
    assert list(Journal(path, CONDITIONS, RUN).answers.values()) == ANSWERS


def test_answers_given_under_other_conditions_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    Journal(path, CONDITIONS, RUN)
    with pytest.raises(InputError, match='with prior "true", now "none"; choose another place'):
        Journal(path, {**CONDITIONS, "prior": "none"}, RUN)


@pytest.mark.parametrize("content", [b"", b"\n", b"{}", b'{"model": "nano", "prior": "true"}\n[1]\n', b"\xff\n{\n"])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "one.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"one\.jsonl: a damaged file; remove it"):
        Journal(path, CONDITIONS, RUN)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", ["a"]),
        ("answer", None),
        ("skipped", 1),
        ("size", [8, "8"]),
        ("seen", 8),
        ("anchors", 0.5),
        ("seconds", ""),
    ],
)
def test_an_answer_of_another_type_is_damage(tmp_path: Path, field: str, value: object) -> None:
    path = tmp_path / "one.jsonl"
    record = {**asdict(ANSWERS[1]), field: value}
    path.write_text(f"{json.dumps(CONDITIONS)}\n{json.dumps(record)}\n")
    with pytest.raises(InputError, match=r"one\.jsonl: a damaged file; remove it"):
        Journal(path, CONDITIONS, RUN)


def test_the_journals_of_several_processes_are_read_as_one(tmp_path: Path) -> None:
    first, second = (new_journal(tmp_path / "parts", CONDITIONS, RUN) for _ in range(2))
    first.add(ANSWERS[:1])
    second.add(ANSWERS[1:])
    assert read_journals(tmp_path / "parts", CONDITIONS, RUN) == {answer.id: answer for answer in ANSWERS}
    assert read_journals(tmp_path / "nowhere", CONDITIONS, RUN) == {}
    with pytest.raises(InputError, match='a run with prior "true", now "none"'):
        read_journals(tmp_path / "parts", {**CONDITIONS, "prior": "none"}, RUN)


def test_reading_leaves_a_line_alone_that_another_process_is_writing(tmp_path: Path) -> None:
    journal = new_journal(tmp_path, CONDITIONS, RUN)
    journal.add(ANSWERS)
    (path,) = tmp_path.iterdir()
    half = path.read_bytes()[:-9]
    path.write_bytes(half)
    assert list(read_journals(tmp_path, CONDITIONS, RUN)) == ["a"]
    assert path.read_bytes() == half
