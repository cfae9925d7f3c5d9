"""The distribution of a count: by tokens that are whole numbers, and by digits."""

import math

import pytest

from fusargpt.inference.counts import CountDistribution, count_distribution

WORDS = ["", "1", "2", "12", " 3", "None", " ships", "."]
END, ONE, TWO, TWELVE, THREE, NONE, SHIPS, _ = range(8)


def decode(tokens: list[int]) -> str:
    return "".join(WORDS[token] for token in tokens)


def logs(*pairs: tuple[int, float]) -> list[tuple[int, float]]:
    return [(token, math.log(probability)) for token, probability in pairs]


def distribution(tokens: list[int], *steps: list[tuple[int, float]]) -> CountDistribution | None:
    chosen = [dict(step)[token] for token, step in zip(tokens, steps, strict=True)]
    return count_distribution(tokens, chosen, steps, decode)


def test_where_every_number_is_a_token_it_is_that_tokens_probability() -> None:
    found = distribution([TWO, END], logs((TWO, 0.5), (ONE, 0.2), (TWELVE, 0.1), (NONE, 0.2)), logs((END, 1.0)))
    assert found is not None
    assert dict(found.probabilities) == pytest.approx({1: 0.25, 2: 0.625, 12: 0.125})
    assert [count for count, _ in found.probabilities] == [1, 2, 12] and found.interval == (1, 12)


def test_digits_are_followed_as_the_answer_goes_on() -> None:
    first, second = logs((ONE, 0.8), (TWO, 0.2)), logs((TWO, 0.5), (END, 0.375), (THREE, 0.125))
    found = distribution([ONE, TWO, END], first, second, logs((END, 0.75), (ONE, 0.25)))
    assert found is not None
    # 1, 12, 13 and 121; another first digit is taken for the number.
    assert dict(found.probabilities) == pytest.approx({1: 0.3, 2: 0.2, 12: 0.3, 13: 0.1, 121: 0.1})


def test_a_number_ends_where_something_else_is_written_and_before_a_cut() -> None:
    counted = distribution([TWO, SHIPS], logs((TWO, 0.6), (ONE, 0.4)), logs((SHIPS, 0.9), (END, 0.1)))
    assert counted is not None and dict(counted.probabilities) == pytest.approx({1: 0.4, 2: 0.6})
    cut = distribution([TWO], logs((TWO, 0.6), (NONE, 0.4)))
    assert cut == CountDistribution(((2, 1.0),))


def test_what_is_no_number_has_no_distribution() -> None:
    assert distribution([NONE, END], logs((NONE, 0.9), (SHIPS, 0.1)), logs((END, 1.0))) is None
    assert count_distribution([], [], [], decode) is None


def test_an_interval_leaves_out_a_twentieth_at_each_end() -> None:
    assert CountDistribution(((0, 0.04), (1, 0.02), (3, 0.9), (9, 0.04))).interval == (1, 3)
    assert CountDistribution(((4, 0.9999),)).interval == (4, 4)
    assert CountDistribution(((0, 0.5), (1, 0.4598), (150, 0.04))).interval == (0, 1)
