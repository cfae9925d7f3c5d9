"""Features that a person writes down: grey levels, texture and bright points. Grey levels are linear in decibels."""

from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fusargpt.foundation.features import Features, without_texts
from fusargpt.foundation.places import View

GRID = 12
_BINS = 32
_LEVELS = 8  # of the co-occurrence matrices
_OFFSETS = ((0, 1), (1, 0), (0, 4), (4, 0))  # rows, columns: neighbours and four pixels apart
_BRIGHT = (50, 75, 100)  # grey levels above the image's median: of a display of 25 dB, 5 to 10 dB
_QUANTILES = (0.02, 0.25, 0.5, 0.75, 0.98)


class HandFeatures:
    """Histogram, moments and co-occurrence of grey levels, and how many points stand out; the prior is not used.

    Tokens are those of 12 x 12 cells: moments, quantiles and gradients of the cell, and the same of the 3 x 3 cells
    about it.
    """

    resize = "none"

    def features(self, views: Sequence[View]) -> Features:
        images = [np.asarray(view.picture.convert("L"), np.float32) for view in views]
        pooled = np.stack([_whole(image) for image in images])
        return without_texts(pooled, np.stack([_cells(image) for image in images]))


def _whole(image: NDArray[np.float32]) -> NDArray[np.float64]:
    histogram = np.bincount((image.ravel() * _BINS / 256).astype(int), minlength=_BINS) / image.size
    return np.concatenate(
        [histogram, _moments(image), *(_texture(image, offset) for offset in _OFFSETS), _bright(image)]
    )


def _moments(image: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.array([image.mean(), image.std(), *np.quantile(image, _QUANTILES)])


def _texture(image: NDArray[np.float32], offset: tuple[int, int]) -> NDArray[np.float64]:
    """Contrast, homogeneity, energy, entropy and correlation of a grey-level co-occurrence matrix (Haralick 1973)."""
    levels = (image * _LEVELS / 256).astype(int)
    rows, columns = offset
    here = levels[: levels.shape[0] - rows, : levels.shape[1] - columns].ravel()
    there = levels[rows:, columns:].ravel()
    table = np.bincount(here * _LEVELS + there, minlength=_LEVELS**2).reshape(_LEVELS, _LEVELS) / here.size
    table = (table + table.T) / 2
    row, column = np.indices(table.shape)
    mean = (row * table).sum()
    variance = ((row - mean) ** 2 * table).sum()
    covariance = ((row - mean) * (column - mean) * table).sum()
    entropy = -(table * np.log(np.where(table > 0, table, 1))).sum()
    apart = (row - column) ** 2
    energy, correlation = (table**2).sum(), covariance / variance if variance > 0 else 0.0
    return np.array([(apart * table).sum(), (table / (1 + apart)).sum(), energy, entropy, correlation])


def _bright(image: NDArray[np.float32]) -> NDArray[np.float64]:
    """How many pixels, and how many connected groups of them, stand out from the median; logarithms of 1 + number."""
    smooth = ndimage.uniform_filter(image, 3)
    counts: list[int] = []
    for above in _BRIGHT:
        mask = smooth > np.median(image) + above
        _, groups = cast(tuple[NDArray[np.int32], int], ndimage.label(mask))
        counts += [int(mask.sum()), groups]
    return np.log1p(np.array(counts, np.float64))


def _cells(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """[GRID, GRID, C] of an image of any size, cut into cells of whole pixels."""
    height, width = (side // GRID for side in image.shape)
    down, right = np.gradient(image)
    measured: list[NDArray[np.floating]] = []
    for values in (image, np.hypot(down, right)):
        cells = values[: height * GRID, : width * GRID].reshape(GRID, height, GRID, width).swapaxes(1, 2)
        cells = cells.reshape(GRID, GRID, -1)
        measured += [cells.mean(-1), cells.std(-1), *np.quantile(cells, _QUANTILES, axis=-1)]
    table = np.stack(measured, -1).astype(np.float32)
    around = np.stack([ndimage.uniform_filter(layer, 3, mode="nearest") for layer in np.moveaxis(table, -1, 0)], -1)
    return np.concatenate([table, around], -1, dtype=np.float32)
