"""Counting: exact-match accuracy and mean absolute error."""

from collections.abc import Sequence

from fusargpt.metrics.tally import Tally, pairs, unreadable_reference
from fusargpt.tasks.answers import parse_count


def count_tallies(
    answers: Sequence[str], references: Sequence[str], questions: Sequence[str] | None = None
) -> dict[str, Tally]:
    """`accuracy`, `mae` and `readable` of counts.

    Args:
        answers: what the model said, one an image; read by `fusargpt.tasks.answers.parse_count`.
        references: the true counts, as digits.
        questions: what was asked, whose nouns may stand behind a number; None knows ships and aircraft.

    Returns:
        `accuracy`: share of images whose count is exact; an answer that cannot be read is wrong. `mae`: mean absolute
        error over the images whose answers can be read. `readable`: their share.

    Raises:
        InputError: no images, lengths that differ, or a reference that is no count.
    """
    exact, errors, readable = [], [], []
    known = pairs(answers, references)
    asked = [""] * len(known) if questions is None else questions
    for index, ((answer, reference), question) in enumerate(zip(known, asked, strict=True)):
        count, truth = parse_count(answer, question).value, parse_count(reference).value
        if truth is None:
            raise unreadable_reference(index, reference, "a whole number")
        exact.append(count == truth)
        readable.append(count is not None)
        if count is not None:
            errors.append(abs(count - truth))
    return {"accuracy": Tally.mean(exact), "mae": Tally.mean(errors, percent=False), "readable": Tally.mean(readable)}


def interval_tallies(intervals: Sequence[tuple[int, int] | None], references: Sequence[str]) -> dict[str, Tally]:
    """`covered`: share of images whose true count lies in its interval; `width`: mean of high minus low.

    Args:
        intervals: low and high of each image, both in it; None where an answer says no number, which covers none and
            without which there is no `width`.
        references: the true counts, as digits.
    """
    truths = [parse_count(reference).value for reference in references]
    inside = [
        interval is not None and truth is not None and interval[0] <= truth <= interval[1]
        for interval, truth in zip(intervals, truths, strict=True)
    ]
    found = {"covered": Tally.mean(inside)}
    known = [interval for interval in intervals if interval is not None]
    if len(known) == len(intervals):
        found["width"] = Tally.mean([high - low for low, high in known], percent=False)
    return found
