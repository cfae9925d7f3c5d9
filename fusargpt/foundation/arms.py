"""What a tower is given of a place: its prior, none, another place's, or its prior with a blank picture."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fusargpt.foundation.places import View
from fusargpt.geo.blank import blank

ARMS = ("true", "none", "shuffled", "blind")


def given(views: Sequence[View], arm: str, seed: int) -> list[View]:
    """The views of places under an arm.

    `shuffled` puts the places in an order drawn with `seed`, and each gets the prior of the next in a circle, so that
    all are used and none stays. `blind` keeps the prior and takes the picture: what is still told comes of the prior.

    Args:
        views: pictures with their own priors; two or more for `shuffled`.
        arm: one of `ARMS`.
        seed: of the order.

    Raises:
        ValueError: another arm, or one place to shuffle.
    """
    if arm == "true":
        return list(views)
    if arm == "none":
        return [replace(view, prior=None) for view in views]
    if arm == "blind":
        return [replace(view, picture=blank(view.picture)) for view in views]
    if arm != "shuffled":
        raise ValueError(f"arm: found {arm!r}, expected one of {', '.join(ARMS)}")
    if len(views) < 2:
        raise ValueError("arm shuffled: found one place, expected at least 2 to exchange priors")
    order = np.random.default_rng(seed).permutation(len(views))
    following = dict(zip(order.tolist(), np.roll(order, -1).tolist(), strict=True))
    return [replace(view, prior=views[following[index]].prior) for index, view in enumerate(views)]


def fitted_on(arm: str) -> str:
    """The arm whose training features probes are fitted to: a shuffled prior is only shown where the true one was."""
    return "true" if arm == "shuffled" else arm
