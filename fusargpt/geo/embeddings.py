"""AlphaEarth embeddings: 64 numbers of a unit vector for each 10 m pixel and year, published as int8.

The int8 code of a component x is round(sign(x) * sqrt(|x|) * 127.5), so that small components keep their resolution;
-128 in every band marks a pixel without data.
"""

import numpy as np
from numpy.typing import NDArray

EMBEDDING_SIZE = 64
"""Components of an embedding, bands A00 to A63."""

NODATA = -128
"""The int8 value that marks a pixel without data; no component has it."""

ATTRIBUTION = (
    "The AlphaEarth Foundations Satellite Embedding dataset is produced by Google and Google DeepMind. (CC BY 4.0)"
)
"""To be printed wherever embeddings are shipped."""

_SCALE = 127.5


def quantize(embeddings: NDArray[np.floating]) -> NDArray[np.int8]:
    """Embeddings as they are published.

    Args:
        embeddings: unit vectors [..., 64], components in [-1, 1].

    Returns:
        int8 [..., 64], values in [-127, 127].

    Raises:
        ValueError: the last dimension is not 64, or a component is not finite.
    """
    _check_width(embeddings)
    if not np.isfinite(embeddings).all():
        raise ValueError("embeddings hold NaN or infinite components; mask pixels without data before quantizing")
    codes = np.round(np.sign(embeddings) * np.sqrt(np.abs(embeddings)) * _SCALE)
    return np.clip(codes, -127, 127).astype(np.int8)


def dequantize(codes: NDArray[np.int8]) -> NDArray[np.float32]:
    """Unit vectors from published embeddings.

    Rounding leaves lengths of 0.994 to 1.006, so the vectors are normalised again.

    Args:
        codes: int8 [..., 64], values in [-127, 127].

    Returns:
        float32 [..., 64] of length 1.

    Raises:
        ValueError: not int8, not 64 wide, a vector that holds the nodata value -128, or one of zeros only.
    """
    if codes.dtype != np.int8:
        raise ValueError(f"published embeddings are int8, found {codes.dtype}")
    _check_width(codes)
    if (codes == NODATA).any():
        raise ValueError(f"embeddings hold the nodata value {NODATA}; leave those pixels out")
    values = codes.astype(np.float32)
    vectors = np.sign(values) * np.square(np.abs(values) / _SCALE)
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    if (lengths == 0).any():
        raise ValueError("embeddings hold a vector of zeros only, which has no direction; leave it out")
    return (vectors / lengths).astype(np.float32)


def _check_width(embeddings: np.ndarray) -> None:
    if embeddings.ndim == 0 or embeddings.shape[-1] != EMBEDDING_SIZE:
        raise ValueError(f"embeddings have shape {embeddings.shape}; the last dimension should be {EMBEDDING_SIZE}")
