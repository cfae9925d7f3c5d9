"""Who gets whose prior."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusargpt.errors import InputError
from fusargpt.evaluation.items import KnownItem
from fusargpt.evaluation.priors import given_priors


def items(priors: list[str]) -> list[KnownItem]:
    return [
        KnownItem(f"row-{row}", "count", "?", str(row), 64, reference="1", width=8, height=8, prior=prior)
        for row, prior in enumerate(priors)
    ]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["", *"abcdefgh"]), min_size=2, max_size=30), st.integers(0, 2**32 - 1))
def test_nobody_keeps_a_prior_and_all_are_used(priors: list[str], seed: int) -> None:
    asked = items(priors)
    different = set(priors) - {""}
    if len(different) < 2:
        with pytest.raises(InputError, match="expected at least 2 to exchange"):
            given_priors(asked, "shuffled", seed)
        return
    rows = given_priors(asked, "shuffled", seed)
    received = [None if row is None else priors[row] for row in rows]
    exchanged = dict(zip(priors, received, strict=True))
    # All questions about one image get the same other one, and no prior is left out or given to two.
    assert [exchanged[prior] for prior in priors] == received
    assert all(exchanged[prior] != prior for prior in different)
    assert {exchanged[prior] for prior in different} == different
    assert "" not in exchanged or exchanged[""] is None


def test_the_seed_decides_and_the_order_of_rows_does_not() -> None:
    priors = list("abcdefgh")
    asked = items(priors)
    rows = given_priors(asked, "shuffled", 1)
    assert rows == given_priors(asked, "shuffled", 1)
    assert rows != given_priors(asked, "shuffled", 2)
    turned = given_priors(items(priors[::-1]), "shuffled", 1)
    assert [priors[row or 0] for row in rows] == [priors[::-1][row or 0] for row in turned[::-1]]


def test_the_true_prior_is_the_rows_own() -> None:
    assert given_priors(items(["a", "", "a"]), "true", 0) == [0, None, 2]
    assert given_priors(items(["a", "", "a"]), "none", 0) == [None, None, None]
    assert given_priors(items(["a", "", "a"]), "blind", 0) == [0, None, 2]
