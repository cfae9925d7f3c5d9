"""Scores without their intervals, for tests."""

from collections.abc import Mapping

from fusargpt.metrics.tally import Tally


def values(tallies: Mapping[str, Tally]) -> dict[str, float]:
    """The score of each tally over all images."""
    return {name: float(tally.statistic(tally.rows.sum(0, keepdims=True))[0]) for name, tally in tallies.items()}
