"""Priors of a batch, straight from the columns of a dataset: no list of numbers is ever made of them."""

from collections.abc import Sequence
from typing import cast

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from fusargpt.geo.embeddings import EMBEDDING_SIZE, dequantize
from fusargpt.geo.prior import PRIOR_EMBEDDINGS, PRIOR_FIELDS, PRIOR_POSITIONS
from trl_recipes.data.rows import Batch


def batch_priors(columns: pa.Table, kept: Sequence[bool]) -> Batch:
    """`PRIOR_FIELDS` of a batch, padded to the largest prior; empty where no image has one.

    Args:
        columns: `PRIOR_COLUMNS` of B rows.
        kept: of B, whether an image's prior is shown.
    """
    embeddings, counts = _flat(columns[PRIOR_EMBEDDINGS], EMBEDDING_SIZE)
    positions, _ = _flat(columns[PRIOR_POSITIONS], 2)
    shown = counts * np.asarray(kept)
    if not shown.any():
        return {}
    # Rows of what is flat, by image and place in it.
    image = np.repeat(np.arange(len(counts)), counts)
    place = np.arange(len(image)) - np.repeat(counts.cumsum() - counts, counts)
    chosen = np.asarray(kept)[image]
    shape = (len(counts), int(shown.max()))
    padded = np.zeros((*shape, EMBEDDING_SIZE), np.float32)
    where = np.zeros((*shape, 2), np.float32)
    mask = np.zeros(shape, np.bool_)
    image, place = image[chosen], place[chosen]
    found = embeddings[chosen]
    padded[image, place] = dequantize(cast(NDArray[np.int8], found)) if found.dtype == np.int8 else found
    where[image, place] = positions[chosen]
    mask[image, place] = True
    arrays = (padded, where, mask)
    return {name: torch.from_numpy(array) for name, array in zip(PRIOR_FIELDS, arrays, strict=True)}


def _flat(column: pa.ChunkedArray, width: int) -> tuple[NDArray[np.generic], NDArray[np.int64]]:
    """The anchors of all rows [anchors, width], and how many each row has; none where it is null."""
    lists = column.combine_chunks()
    counts = lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    anchors = lists.flatten()
    return anchors.flatten().to_numpy(zero_copy_only=False).reshape(-1, width), counts
