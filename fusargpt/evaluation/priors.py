"""Which prior each question gets, and whether it keeps its image: own place, none, another place, own and no image."""

from collections.abc import Sequence

import numpy as np

from fusargpt.errors import InputError
from fusargpt.evaluation.items import KnownItem

SETTINGS = ("true", "none", "shuffled", "blind")
WITHOUT_IMAGE = "blind"
"""The setting that keeps the prior and blanks the image (`fusargpt.geo.blank`)."""


def given_priors(items: Sequence[KnownItem], setting: str, seed: int) -> list[int | None]:
    """The row whose prior each item gets, or None.

    `shuffled` moves priors among places, not among rows: all questions about one image keep one prior, and a row never
    gets its own back by way of another row about the same image. The different priors of the items are put in an order
    drawn with `seed`, and each gives way to the next in a circle, so that all are used and none stays. Items without
    anchors stay without. `blind` gives what `true` does; its image is another matter.

    Args:
        items: with the hashes of their priors; equal hashes are one prior.
        setting: one of `SETTINGS`.
        seed: of the order.

    Raises:
        InputError: fewer than two different priors to shuffle.
    """
    if setting == "none":
        return [None] * len(items)
    if setting in ("true", WITHOUT_IMAGE):
        return [item.row if item.prior else None for item in items]
    if setting != "shuffled":
        raise ValueError(f"prior: found {setting!r}, expected one of {', '.join(SETTINGS)}")
    holder = {item.prior: item.row for item in items if item.prior}
    if len(holder) < 2:
        raise InputError(f"prior shuffled: found {len(holder)} different priors; expected at least 2 to exchange")
    names = sorted(holder)  # by their hashes, so that the order of the rows does not matter
    order = [names[index] for index in np.random.default_rng(seed).permutation(len(names))]
    following = dict(zip(order, [*order[1:], order[0]], strict=True))
    return [holder[following[item.prior]] if item.prior else None for item in items]
