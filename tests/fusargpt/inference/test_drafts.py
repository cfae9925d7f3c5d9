"""What is drafted is what followed before, and nothing where that has varied."""

import pytest

from fusargpt.inference.drafts import Context, Drafts

OPEN, COMMA, CLOSE, SHIP, END = 0, 1, 2, 3, 4
NUMBERS = frozenset(range(10, 200))


def taught(drafts: Drafts, task: str, answer: list[int]) -> Context:
    before: Context = [task]
    for place, token in enumerate(answer):
        drafts.learn(before, token, place == len(answer) - 1)
    return before


def box(*corners: int) -> list[int]:
    one, two, three, four = corners
    return [OPEN, one, COMMA, two, COMMA, three, COMMA, four, CLOSE, SHIP]


@pytest.fixture
def drafts() -> Drafts:
    made = Drafts(NUMBERS)
    for first in (10, 50):
        answer = [token for corner in (first, first + 20) for token in box(*range(corner, corner + 4))]
        taught(made, "detect", [*answer, END])
    return made


def test_what_stands_between_numbers_is_drafted_and_numbers_are_not(drafts: Drafts) -> None:
    before: Context = ["detect", OPEN]
    assert drafts.draft(before, 8) == []
    drafts.learn(before, 150, False)
    assert drafts.draft(before, 8) == [COMMA]
    for token in (COMMA, 151, COMMA, 152, COMMA, 153):
        drafts.learn(before, token, False)
    # The fourth number is told from the second by what stands before it.
    assert drafts.draft(before, 8) == [CLOSE, SHIP]
    assert drafts.draft(before, 1) == [CLOSE]
    assert before[-1] != 153 and len(before) == 9, "drafting leaves the answer as it is"


def test_an_end_is_never_drafted_nor_what_came_once(drafts: Drafts) -> None:
    for number in (20, 30, 40):
        assert drafts.draft(taught(drafts, "count", [number, END])[:-1], 8) == []
    new = Drafts(NUMBERS)
    taught(new, "detect", box(10, 11, 12, 13))
    assert new.draft(["detect"], 8) == []


def test_what_followed_is_forgotten_where_there_is_too_much_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fusargpt.inference.drafts._KEPT", 40)
    drafts = Drafts(frozenset())
    for number in range(100):
        taught(drafts, "describe", [number, number + 1, number + 2, END])
        assert len(drafts._after) <= 40 + 4  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize(("rows", "most"), [(1, 8), (2, 4), (4, 2), (16, 1), (17, 0), (64, 0)])
def test_few_rows_have_long_drafts_and_many_none(rows: int, most: int) -> None:
    assert Drafts.most(rows) == most
