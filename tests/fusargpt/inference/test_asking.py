"""What a failure costs, whoever is asked: the items that fail, and no other."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fusargpt.errors import InputError, OptionError
from fusargpt.inference.asking import Asking, alike
from fusargpt.inference.journal import Journal
from fusargpt.inference.questions import Answer, Answered, Failure, Item, Question, batch_by_batch

IMAGE = Image.new("RGB", (8, 4))


def items(count: int, task: str = "count") -> list[Item]:
    return [Item(f"{task}-{index}", task, f"{index}?", "", 32) for index in range(count)]


def read(item: Item) -> Question | Answer:
    return Question(item, IMAGE, item.question, None)


class Model:
    """Answers a question with itself; raises what `errors` has for a question, or when a batch is larger than fits."""

    def __init__(self, errors: dict[str, Exception] | None = None, fits: int = 100) -> None:
        self.errors, self.fits = errors or {}, fits
        self.batches: list[list[str]] = []

    def answers(self, questions: Iterable[Question], batch_size: int, max_new_tokens: int) -> Iterator[Answered]:
        return batch_by_batch(self.of_batch, questions, batch_size)

    def of_batch(self, questions: Sequence[Question]) -> list[str]:
        self.batches.append([question.text for question in questions])
        for question in questions:
            if question.text in self.errors:
                raise self.errors[question.text]
        if len(questions) > self.fits:
            raise torch.OutOfMemoryError(f"{len(questions)} questions")
        return [f"{question.text}!" for question in questions]

    def seen_size(self, image: Image.Image) -> tuple[int, int]:
        return 28, 56


def asking(model: Model, path: Path, batch_size: int = 4, **options: Any) -> tuple[Asking[Item], Journal]:
    journal = Journal(path / "journal.jsonl", {}, "a run")
    return Asking(
        model, options.pop("read", read), journal, batch_size=batch_size, max_new_tokens=9, **options
    ), journal


def test_answers_say_what_was_asked_and_how_the_image_was_seen(tmp_path: Path) -> None:
    engine, journal = asking(Model(), tmp_path)
    assert engine.run(items(1)) == []
    answer = journal.answers["count-0"]
    assert answer == Answer("count-0", "count", "0?", "0?!", (8, 4), (28, 56), None, answer.seconds)


def test_a_journal_that_is_full_while_questions_are_read_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not as a failure of the model, which asks for the next question at that moment."""

    def full(self: Journal, answers: Sequence[Answer]) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fusargpt.inference.asking._SETTLED_AT_ONCE", 1)
    monkeypatch.setattr(Journal, "add", full)
    look = {True: lambda item: Answer.without_asking(item, "no data"), False: read}
    engine, _ = asking(Model(), tmp_path, read=lambda item: look[item.question == "1?"](item))
    with pytest.raises(OSError, match="No space left"):
        engine.run(items(3))


@pytest.mark.parametrize("error", [RuntimeError("no"), ValueError("two\nlines"), InputError("a strip"), KeyError("k")])
def test_a_batch_that_fails_is_asked_one_by_one(error: Exception, tmp_path: Path) -> None:
    model = Model({"2?": error})
    engine, journal = asking(model, tmp_path)
    (failure,) = engine.run(items(6))
    assert failure.id == "count-2" and "\n" not in failure.reason and failure.reason
    assert list(journal.answers) == [f"count-{index}" for index in (0, 1, 3, 4, 5)]
    assert list(map(len, model.batches)) == [4, 1, 1, 1, 1, 2], "the next batch is whole again"


def test_a_batch_that_does_not_fit_is_halved_and_so_are_those_after_it(tmp_path: Path) -> None:
    model = Model(fits=3)
    engine, journal = asking(model, tmp_path, batch_size=12)
    assert engine.run(items(24)) == []
    assert list(journal.answers) == [item.id for item in items(24)]
    assert list(map(len, model.batches)) == [12, 6, *[3] * 8]


class Refilling(Model):
    """Two places; what is asked first ends last, and whoever ends makes room for the next."""

    def answers(self, questions: Iterable[Question], batch_size: int, max_new_tokens: int) -> Iterator[Answered]:
        first: Question | None = None
        for question in questions:
            if first is None and question.text == "0?":
                first = question
            else:
                self.of_batch([question] if first is None else [first, question])
                yield [(question, f"{question.text}!")]
        if first is not None:
            yield [(first, "last")]


def test_only_what_is_being_answered_is_asked_again(tmp_path: Path) -> None:
    model = Refilling({"2?": RuntimeError("no")})
    engine, journal = asking(model, tmp_path, batch_size=2)
    assert [failure.id for failure in engine.run(items(5))] == ["count-2"]
    assert list(journal.answers) == ["count-1", "count-0", "count-3", "count-4"]
    assert model.batches == [["0?", "1?"], ["0?", "2?"], ["2?"], ["3?"], ["4?"]]


def test_a_model_that_fails_with_nothing_left_to_answer_costs_no_item(tmp_path: Path) -> None:
    class Late(Model):
        def answers(self, questions: Iterable[Question], batch_size: int, max_new_tokens: int) -> Iterator[Answered]:
            for question in questions:
                yield [(question, "yes")]
                raise torch.OutOfMemoryError("too late")

    engine, journal = asking(Late(), tmp_path)
    assert engine.run(items(5)) == [] and len(journal.answers) == 5


def test_one_that_does_not_fit_alone_costs_itself(tmp_path: Path) -> None:
    class Narrow(Model):
        def of_batch(self, questions: Sequence[Question]) -> list[str]:
            if any(question.text == "1?" for question in questions):
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")
            return super().of_batch(questions)

    engine, journal = asking(Narrow(), tmp_path)
    assert [failure.id for failure in engine.run(items(4))] == ["count-1"]
    assert len(journal.answers) == 3


def test_an_item_that_cannot_be_read_leaves_its_batch_whole(tmp_path: Path) -> None:
    def broken(item: Item) -> Question | Answer:
        if item.question == "1?":
            raise OSError("image file is truncated")
        return read(item)

    model = Model()
    engine, _ = asking(model, tmp_path, read=broken)
    assert engine.run(items(5)) == [Failure("count-1", "image file is truncated")]
    assert model.batches == [["0?", "2?", "3?", "4?"]]


def test_what_a_look_settles_is_not_asked_but_kept(tmp_path: Path) -> None:
    def look(item: Item) -> Question | Answer:
        return Answer.without_asking(item, "no data") if item.question == "0?" else read(item)

    model = Model()
    engine, journal = asking(model, tmp_path, read=look)
    assert engine.run(items(2)) == [] and model.batches == [["1?"]]
    assert journal.answers["count-0"].skipped == "no data"


def test_what_failed_is_asked_again_and_nothing_else(tmp_path: Path) -> None:
    asking(Model({"3?": RuntimeError("no")}), tmp_path)[0].run(items(6))
    model = Model()
    engine, journal = asking(model, tmp_path)
    assert engine.run(items(6)) == []
    assert model.batches == [["3?"]] and len(journal.answers) == 6


def test_an_interrupt_keeps_what_was_answered(tmp_path: Path) -> None:
    class Cut(Model):
        def of_batch(self, questions: Sequence[Question]) -> list[str]:
            if self.batches:
                raise KeyboardInterrupt
            return super().of_batch(questions)

    engine, _ = asking(Cut(), tmp_path)
    with pytest.raises(KeyboardInterrupt):
        engine.run(items(6))
    assert len(asking(Model(), tmp_path)[1].answers) == 4


@pytest.mark.parametrize("error", [OptionError("max_new_tokens: found 3"), ModuleNotFoundError("No module 'x'")])
def test_what_no_item_can_be_asked_with_ends_the_run(error: Exception, tmp_path: Path) -> None:
    model = Model({"0?": error})
    with pytest.raises(type(error)):
        asking(model, tmp_path)[0].run(items(6))
    assert len(model.batches) == 1


def test_a_journal_that_cannot_be_written_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Journal, answers: Sequence[Answer]) -> None:
        raise OSError(28, "No space left on device")

    engine, _ = asking(Model(), tmp_path)
    monkeypatch.setattr(Journal, "add", full)
    with pytest.raises(OSError, match="No space left"):
        engine.run(items(6))


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 3), st.integers(0, 2)), max_size=30),
    st.integers(1, 7),
    st.sets(st.integers(0, 29)),
)
def test_every_item_is_answered_or_fails_once(
    tmp_path_factory: pytest.TempPathFactory, kinds: list[tuple[str, int, int]], batch_size: int, bad: set[int]
) -> None:
    asked = [
        Item(str(index), task, "?" * length + f"{index}?", "", pixels)
        for index, (task, pixels, length) in enumerate(kinds)
    ]
    model = Model({item.question: RuntimeError("no") for item in asked if int(item.id) in bad})
    done: list[int] = []
    engine, journal = asking(model, tmp_path_factory.mktemp("run"), batch_size, advance=done.append)
    failures = engine.run(asked)
    assert {failure.id for failure in failures} == {item.id for item in asked if int(item.id) in bad}
    assert set(journal.answers) == {item.id for item in asked} - {failure.id for failure in failures}
    assert len(failures) + len(journal.answers) == sum(done) == len(asked)
    assert all(len(batch) <= batch_size for batch in model.batches)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 3)), max_size=20))
def test_like_inputs_stand_together(kinds: list[tuple[str, int]]) -> None:
    asked = [Item(str(index), task, "?", "", pixels) for index, (task, pixels) in enumerate(kinds)]
    groups = list(alike(asked, "task"))
    assert all(len({item.task for item in group}) == 1 for group in groups)
    assert [item.pixels for group in groups for item in group] == [
        pixels
        for task in dict.fromkeys(task for task, _ in kinds)
        for pixels in sorted(p for t, p in kinds if t == task)
    ]


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 3)), max_size=20))
def test_questions_about_one_image_stand_together(kinds: list[tuple[str, int]]) -> None:
    # An image's size goes with it; one that is not known is none of the others.
    asked = [
        Item(str(index), task, "?", "", 9 if image else 4, f"image {image}" if image else "")
        for index, (task, image) in enumerate(kinds)
    ]
    ordered = [item for group in alike(asked, "image") for item in group]
    assert sorted(ordered, key=lambda item: int(item.id)) == asked
    assert [item.pixels for item in ordered] == sorted(item.pixels for item in asked)
    images = [item.image for item in ordered if item.image]
    runs = sum(one != next_one for one, next_one in pairwise(images)) + bool(images)
    assert runs == len(set(images))


def test_large_images_wait_in_smaller_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fusargpt.inference.asking._BATCH_PIXELS", 2 * IMAGE.width * IMAGE.height)
    model = Model()
    engine, journal = asking(model, tmp_path, batch_size=16)
    assert engine.run(items(5)) == [] and len(journal.answers) == 5
    assert list(map(len, model.batches)) == [2, 2, 1]
