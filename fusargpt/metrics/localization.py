"""Localization: which cells of the 3x3 grid are named."""

from collections.abc import Sequence

import numpy as np

from fusargpt.metrics.tally import Tally, pairs, unreadable_reference
from fusargpt.tasks.answers import parse_cells


def localize_tallies(answers: Sequence[str], references: Sequence[str]) -> dict[str, Tally]:
    """Acc@100, Acc@50 and Top1 (inferred: the paper gives no definition), and beside them strict scores.

    Args:
        answers: what the model said, one an image; read by `fusargpt.tasks.answers.parse_cells`.
        references: the true cells as "1, 5", or "None".

    Returns:
        `acc@100`, `acc@50`, `top1`: share of images in which all, at least half, at least one of the true cells are
        named, over the images that have a true cell. `exact`: share of all images whose answer is the very set, with
        nothing unreadable in it. `precision`: share of the named cells that are true, over all images together.
        `readable`: share of answers without anything unreadable.

    Raises:
        InputError: no images, lengths that differ, or a reference that is no list of cells.
    """
    recalls, exact, named, readable = [], [], [], []
    for index, (answer, reference) in enumerate(pairs(answers, references)):
        parsed, truth = parse_cells(answer), parse_cells(reference)
        if truth.problems:
            raise unreadable_reference(index, reference, 'cells 1 to 9 as "1, 5", or "None"')
        found = len(parsed.value & truth.value)
        if truth.value:
            recalls.append(found / len(truth.value))
        exact.append(parsed == truth)
        named.append((found, len(parsed.value)))
        readable.append(not parsed.problems)
    return {
        "acc@100": Tally.mean([recall == 1 for recall in recalls]),
        "acc@50": Tally.mean([recall >= 0.5 for recall in recalls]),
        "top1": Tally.mean([recall > 0 for recall in recalls]),
        "exact": Tally.mean(exact),
        "precision": Tally(np.array(named, float)),
        "readable": Tally.mean(readable),
    }
