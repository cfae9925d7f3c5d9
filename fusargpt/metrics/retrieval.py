"""Retrieval between images and texts: recall at k and mean average precision, all true partners being right answers.

Captions of one wording repeat, and a text of a few facts is true of many images. So a query is answered by any partner
that is true of it, as clip_benchmark and ECCV Caption (arXiv 2204.03359) have it, and not by its own alone; the strict
recall, of its own partner alone, stands beside it.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fusargpt.metrics.tally import Tally

RECALLS = (1, 5, 10)
_TIES = 0  # seed of the order among partners of equal similarity


def true_pairs(image_facts: NDArray[np.int64], text_facts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which texts are true of which images: bool [N, M].

    Args:
        image_facts: [N, D], what holds of each image, a key for each dimension.
        text_facts: [M, D], what each text says; 0 where it says nothing.
    """
    true = np.ones((len(image_facts), len(text_facts)), dtype=bool)
    for holds, said in zip(image_facts.T, text_facts.T, strict=True):
        true &= (said[None] == 0) | (said[None] == holds[:, None])
    return true


def retrieval_tallies(similarity: NDArray[np.floating], true: NDArray[np.bool_]) -> dict[str, Tally]:
    """Scores of queries against a gallery, in both directions.

    Args:
        similarity: [N, N], image i with text j; text i was written about image i. Partners of equal similarity come in
            an order drawn for each query, so that a model that cannot tell them apart does as well as chance.
        true: bool [N, N], whether text j is true of image i; text i is of image i.

    Returns:
        For `image_to_text` and `text_to_image`: `_r@1`, `_r@5`, `_r@10`, whether a true partner is among the first k;
        `_map@r`, the precision at the places of the true partners among the first R, averaged over R, the number of
        true partners (arXiv 2003.08505); `_strict_r@1`, whether the own partner comes first. One row a query, so that
        intervals are those over images.

    Raises:
        ValueError: shapes that differ or are not square, a similarity that is not a number, or a text that is not true
            of its own image.
    """
    if similarity.shape != true.shape or similarity.ndim != 2 or similarity.shape[0] != similarity.shape[1]:
        raise ValueError(f"found similarities {similarity.shape} and truths {true.shape}; expected both [N, N]")
    if np.isnan(similarity).any():
        raise ValueError("similarity: found NaN; expected numbers")
    if not true.diagonal().all():
        raise ValueError(f"text {np.flatnonzero(~true.diagonal())[0]}: is not true of its own image")
    found = {"image_to_text": _of_queries(similarity, true), "text_to_image": _of_queries(similarity.T, true.T)}
    return {f"{direction}_{name}": tally for direction, tallies in found.items() for name, tally in tallies.items()}


def _of_queries(similarity: NDArray[np.floating], true: NDArray[np.bool_]) -> Mapping[str, Tally]:
    # Of each query by itself: one order for all would send them to the same partners.
    drawn = np.random.default_rng(_TIES).permuted(np.tile(np.arange(len(similarity)), (len(similarity), 1)), axis=1)
    ranked = np.argsort(-np.take_along_axis(similarity, drawn, axis=1), axis=1, kind="stable")
    order = np.take_along_axis(drawn, ranked, axis=1)
    hits = np.take_along_axis(true, order, axis=1)
    partners = true.sum(1)
    places = np.arange(1, len(similarity) + 1)
    precision = np.where(hits & (places <= partners[:, None]), hits.cumsum(1) / places, 0).sum(1) / partners
    return {
        **{f"r@{k}": Tally.mean(hits[:, :k].any(axis=1).astype(float).tolist()) for k in RECALLS},
        "map@r": Tally.mean(precision.tolist()),
        "strict_r@1": Tally.mean(np.equal(order[:, 0], np.arange(len(order))).tolist()),
    }
