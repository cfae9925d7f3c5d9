"""Answers on disk, after whatever happened to the run that wrote them."""

from pathlib import Path

import pytest

from fusargpt.errors import InputError
from fusargpt.inference.journal import Answer, Journal

CONDITIONS = {"model": "nano", "prior": "true"}
ANSWERS = [Answer("a", "How many?", "2\u2028\n\ud800", (8, 8), 0.1), Answer("b", "How many?", "3", (8, 16), 0.1)]


def test_answers_come_back_as_they_were(tmp_path: Path) -> None:
    Journal(tmp_path / "deep" / "one.jsonl", CONDITIONS).add(ANSWERS)
    again = Journal(tmp_path / "deep" / "one.jsonl", CONDITIONS)
    assert list(again.answers.values()) == ANSWERS


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_a_line_that_broke_off_is_asked_again(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "one.jsonl"
    Journal(path, CONDITIONS).add(ANSWERS)
    path.write_bytes(path.read_bytes()[:-cut])
    again = Journal(path, CONDITIONS)
    assert list(again.answers) == ["a"]
    again.add(ANSWERS[1:])
    assert list(Journal(path, CONDITIONS).answers.values()) == ANSWERS


def test_answers_given_under_other_conditions_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    Journal(path, CONDITIONS)
    with pytest.raises(InputError, match='with prior "true", now "none"; choose another --out'):
        Journal(path, {**CONDITIONS, "prior": "none"})


@pytest.mark.parametrize("content", [b"", b"\n", b"{}", b'{"model": "nano", "prior": "true"}\n[1]\n', b"\xff\n{\n"])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "one.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"one\.jsonl: a damaged file; remove it"):
        Journal(path, CONDITIONS)
