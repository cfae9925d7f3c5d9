"""The prior of one image: AlphaEarth embeddings at spatiotemporal anchors (paper section 3.1), and its .npz file."""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fusargpt.errors import InputError, one_line
from fusargpt.geo.embeddings import EMBEDDING_SIZE, dequantize, quantize

PRIOR_EMBEDDINGS = "prior_embeddings"
PRIOR_POSITIONS = "prior_positions"
PRIOR_LONLAT = "prior_lonlat"
PRIOR_COLUMNS = (PRIOR_EMBEDDINGS, PRIOR_POSITIONS)
"""Of a row, what the model sees of its prior; the model's processor takes a mapping with exactly these."""
PRIOR_FIELDS = (*PRIOR_COLUMNS, "prior_mask")
"""Arguments of the model; the mask says which anchors of a batch are there."""

_KEYS = {*PRIOR_COLUMNS, PRIOR_LONLAT}
_LENGTH_TOLERANCE = 0.01
# What numpy and zipfile raise on damaged archives: bad checksums, headers, pickles, sizes; RuntimeError for members
# that are encrypted, or of a compression that zipfile does not know.
_DAMAGED = (ValueError, OSError, EOFError, KeyError, MemoryError, RuntimeError, zlib.error, zipfile.BadZipFile)
# Some millions of anchors; the prior of one image has hundreds.
_MAX_FILE_BYTES = 512 * 2**20


@dataclass(frozen=True, eq=False)
class Prior:
    """Embeddings at the S anchors of one image. S may be 0: the model then works without a prior.

    Attributes:
        embeddings: float32 [S, 64], unit vectors.
        positions: float32 [S, 2], (y, x) in [0, 1]; 0 and 1 are the centres of the first and last pixel row or column.
        lonlat: float64 [S, 2], (longitude, latitude) in degrees, or None where the image has no georeference.

    Raises:
        InputError: a field of another shape or type, a value that is not finite, a position outside [0, 1], a vector
            whose length is not 1 within 1 %, or coordinates that are not on Earth.
    """

    embeddings: NDArray[np.float32]
    positions: NDArray[np.float32]
    lonlat: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        _check_array(PRIOR_EMBEDDINGS, self.embeddings, np.float32, EMBEDDING_SIZE)
        _check_array(PRIOR_POSITIONS, self.positions, np.float32, 2)
        _check_count(PRIOR_POSITIONS, self.positions, self.embeddings)
        lengths = np.linalg.norm(self.embeddings, axis=1)
        wrong = np.abs(lengths - 1) > _LENGTH_TOLERANCE
        if wrong.any():
            raise InputError(f"prior_embeddings: a vector of length {lengths[wrong][0]:.3f}; expected unit vectors")
        outside = (self.positions < 0) | (self.positions > 1)
        if outside.any():
            raise InputError(
                f"prior_positions: found {self.positions[outside][0]:.6g}; expected (y, x) in [0, 1], "
                "pixel row / (height - 1) and pixel column / (width - 1)"
            )
        if self.lonlat is not None:
            _check_array(PRIOR_LONLAT, self.lonlat, np.float64, 2)
            _check_count(PRIOR_LONLAT, self.lonlat, self.embeddings)
            if (np.abs(self.lonlat) > (180, 90)).any():
                raise InputError("prior_lonlat: a coordinate that is not on Earth; expected (longitude, latitude)")

    def within(self, box: tuple[int, int, int, int], width: int, height: int) -> "Prior":
        """The anchors in a box [x1, y1, x2, y2] of whole pixels of an image of `width` x `height`, as of that part."""
        x1, y1, x2, y2 = box
        pixels = self.positions * np.array([height - 1, width - 1], np.float32)
        # Along a side of one pixel, all are in its centre.
        last = np.maximum([y2 - y1 - 1, x2 - x1 - 1], 1)
        positions = ((pixels - (y1, x1)) / last).astype(np.float32)
        inside = ((positions >= 0) & (positions <= 1)).all(1)
        lonlat = None if self.lonlat is None else self.lonlat[inside]
        return Prior(self.embeddings[inside], positions[inside], lonlat)

    def columns(self) -> dict[str, np.ndarray]:
        """Embeddings and positions by `PRIOR_COLUMNS`: what the model's processor takes."""
        return {PRIOR_EMBEDDINGS: self.embeddings, PRIOR_POSITIONS: self.positions}


def load_prior(path: str | Path) -> Prior:
    """The prior stored in an .npz file.

    Keys: `prior_embeddings` int8 [S, 64] as published or float32 [S, 64] unit vectors, `prior_positions`
    float32 [S, 2], and optionally `prior_lonlat` float64 [S, 2].

    Raises:
        InputError: no such file, not an .npz file, a missing or unknown key, or an array that `Prior` refuses.
    """
    path = Path(path)
    arrays = _read_arrays(path)
    try:
        embeddings = arrays[PRIOR_EMBEDDINGS]
        if embeddings.dtype == np.int8:
            embeddings = _dequantize(embeddings)
        return Prior(embeddings, arrays[PRIOR_POSITIONS], arrays.get(PRIOR_LONLAT))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def save_prior(path: str | Path, prior: Prior) -> None:
    """Write `prior` to an .npz file for `load_prior`, embeddings as int8. The same prior gives the same bytes."""
    arrays: dict[str, np.ndarray] = {
        PRIOR_EMBEDDINGS: quantize(prior.embeddings),
        PRIOR_POSITIONS: prior.positions,
    }
    if prior.lonlat is not None:
        arrays[PRIOR_LONLAT] = prior.lonlat
    # A handle, because numpy appends .npz to a path without it.
    with open(path, "wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected the .npz file of a prior")
    if not zipfile.is_zipfile(path):
        raise InputError(f"{path}: not an .npz file, or a damaged one; write priors with fusargpt.geo.prior.save_prior")
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > _MAX_FILE_BYTES:
            raise InputError(f"{path}: {size:,} bytes of arrays; a prior has at most {_MAX_FILE_BYTES:,}")
        with np.load(path, allow_pickle=False) as file:
            keys = set(file.files)
            if missing := set(PRIOR_COLUMNS) - keys:
                raise InputError(
                    f"{path}: no {', '.join(sorted(missing))}; found {', '.join(sorted(keys)) or 'no key'}"
                )
            if unknown := keys - _KEYS:
                raise InputError(
                    f"{path}: unknown key {', '.join(sorted(unknown))}; a prior has {', '.join(sorted(_KEYS))}"
                )
            return {key: file[key] for key in keys}
    except InputError:
        raise
    # What numpy and zipfile raise on damaged archives: bad checksums, headers, pickles, sizes.
    # zipfile raises RuntimeError for members that are encrypted, or of a compression that it does not know.
    except (
        ValueError,
        OSError,
        EOFError,
        KeyError,
        MemoryError,
        RuntimeError,
        zlib.error,
        zipfile.BadZipFile,
    ) as error:
        raise InputError(f"{path}: the .npz file is damaged ({one_line(error)}); write it again") from error


def _dequantize(codes: NDArray[np.int8]) -> NDArray[np.float32]:
    try:
        return dequantize(codes)
    except ValueError as error:
        raise InputError(f"prior_embeddings: {error}") from None


def _check_array(name: str, array: object, dtype: type[np.floating], width: int) -> None:
    # Whoever makes a Prior need not check types.
    if not isinstance(array, np.ndarray) or array.dtype != dtype:
        found = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise InputError(f"{name}: found {found}; expected {np.dtype(dtype)}")
    if array.ndim != 2 or array.shape[1] != width:
        raise InputError(f"{name}: found shape {list(array.shape)}; expected [S, {width}]")
    if not np.isfinite(array).all():
        raise InputError(f"{name}: found NaN or infinite values; leave out anchors without data")


def _check_count(name: str, array: np.ndarray, embeddings: np.ndarray) -> None:
    if len(array) != len(embeddings):
        raise InputError(f"{name}: found {len(array)} rows; expected one for each of {len(embeddings)} embeddings")
