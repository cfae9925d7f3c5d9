"""What a picture and a prior have to be: the functions of modeling_fusargpt, which a Hub repository cannot import."""

import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from textwrap import shorten

import numpy as np
import torch
from PIL import Image, ImageFile

PRIOR_SIZE = 64  # Width of AlphaEarth Foundations' embeddings.
PRIOR_KEYS = ("prior_embeddings", "prior_positions")
# What numpy and zipfile raise on files that are missing, damaged or encrypted.
_DAMAGED = (ValueError, OSError, EOFError, KeyError, MemoryError, RuntimeError, zlib.error, zipfile.BadZipFile)
MAX_PRIOR_BYTES = 512 * 2**20  # Unpacked; the prior of one image has hundreds of anchors.
SCALE_FIRST = "fusargpt.read_image scales a SAR file to 8 bit"


def check_8bit(picture: Image.Image) -> None:
    """Raises ValueError for a picture whose channels hold more than 8 bit, which PIL clips or cuts in other modes.

    Args:
        picture: as opened. Once it is loaded, colours of 16 bit are cut already and can no longer be told.
    """
    # Pillow has no mode for colours of 16 bit; the decoder to come is told of them.
    tiles = picture.tile if isinstance(picture, ImageFile.ImageFile) else []
    is_cut = any(";16" in str(tile[3]) for tile in tiles)
    is_deep = picture.mode.startswith("I") or picture.mode == "F"
    if is_deep or is_cut:
        found = picture.mode if is_deep else f"{picture.mode} with 16 bit a channel"
        raise ValueError(f"images: found a picture of mode {found}, expected 8 bit; {SCALE_FIRST}.")


def batch_priors(priors: Sequence[Mapping[str, object] | str | os.PathLike[str] | None]) -> dict[str, np.ndarray]:
    """The three prior fields of a batch from one entry an image, as `FusarGptProcessor` takes and returns them."""
    read = [_read(prior, f"priors[{index}]") for index, prior in enumerate(priors)]
    size = max(len(embeddings) for embeddings, _ in read)
    batch = {
        "prior_embeddings": np.zeros((len(read), size, PRIOR_SIZE), np.float32),
        "prior_positions": np.zeros((len(read), size, 2), np.float32),
        "prior_mask": np.zeros((len(read), size), bool),
    }
    for index, (embeddings, positions) in enumerate(read):
        batch["prior_embeddings"][index, : len(embeddings)] = embeddings
        batch["prior_positions"][index, : len(embeddings)] = positions
        batch["prior_mask"][index, : len(embeddings)] = True
    return batch


def _read(prior: object, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings float32 [S, 64] and positions float32 [S, 2] of one prior, checked."""
    if prior is None:
        return np.zeros((0, PRIOR_SIZE), np.float32), np.zeros((0, 2), np.float32)
    if isinstance(prior, str | os.PathLike):
        prior = _stored(prior, name)
    if not isinstance(prior, Mapping) or set(prior) != set(PRIOR_KEYS):
        found = sorted(prior) if isinstance(prior, Mapping) else type(prior).__name__
        raise ValueError(f"{name}: found {found}, expected None or a mapping with exactly {list(PRIOR_KEYS)}.")
    embeddings = _array(prior["prior_embeddings"], PRIOR_SIZE, f"{name}['prior_embeddings']")
    positions = _array(prior["prior_positions"], 2, f"{name}['prior_positions']")
    if len(embeddings) != len(positions):
        raise ValueError(f"{name}: found {len(embeddings)} embeddings and {len(positions)} positions, expected equals.")
    return _unit_vectors(embeddings, f"{name}['prior_embeddings']"), _inside(positions, f"{name}['prior_positions']")


def _stored(path: str | os.PathLike[str], name: str) -> dict[str, np.ndarray]:
    """The prior in an .npz file, as `fusargpt.geo.prior.save_prior` writes it; the places of anchors are left out."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > MAX_PRIOR_BYTES:
            raise ValueError(f"{size:,} bytes of arrays, where a prior has at most {MAX_PRIOR_BYTES:,}")
        with np.load(path, allow_pickle=False) as arrays:
            return {key: arrays[key] for key in arrays.files if key != "prior_lonlat"}
    except _DAMAGED as error:
        raise ValueError(
            f"{name}: found {os.fspath(path)!r}, which cannot be read ({shorten(str(error), 120)}); expected the .npz "
            "file of a prior."
        ) from error


def _array(value: object, width: int, name: str) -> np.ndarray:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        # numpy has no bfloat16.
        value = (value.float() if value.is_floating_point() else value).numpy()
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name}: found rows of different lengths, expected shape [S, {width}].") from error
    except (TypeError, RuntimeError) as error:
        raise ValueError(
            f"{name}: found no array ({shorten(str(error), 120)}), expected shape [S, {width}]."
        ) from error
    if array.shape == (0,):
        array = array.reshape(0, width)
    if array.ndim != 2 or array.shape[1] != width:
        raise ValueError(f"{name}: found shape {list(array.shape)}, expected [S, {width}].")
    if array.dtype.kind not in "fi":
        raise ValueError(f"{name}: found dtype {array.dtype}, expected numbers.")
    return array


def _unit_vectors(embeddings: np.ndarray, name: str) -> np.ndarray:
    """float32 unit vectors from such, or from AlphaEarth's published integers, sign(v) (|v| / 127.5)**2."""
    if embeddings.dtype.kind == "i" and len(embeddings):
        if embeddings.min() < -127 or embeddings.max() > 127:
            raise ValueError(
                f"{name}: found integers from {embeddings.min()} to {embeddings.max()}, expected published values "
                "within [-127, 127]; leave out anchors without data (-128)."
            )
        embeddings = np.sign(embeddings) * (np.abs(embeddings.astype(np.float32)) / 127.5) ** 2
        tolerance = 0.02
    else:
        embeddings = embeddings.astype(np.float32)
        tolerance = 0.01
    if not np.isfinite(embeddings).all():
        raise ValueError(f"{name}: found NaN or infinity, expected finite values.")
    norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
    if len(norms) and np.abs(norms - 1).max() > tolerance:
        raise ValueError(
            f"{name}: found vectors of length {norms.min():.3g} to {norms.max():.3g}, expected unit vectors."
        )
    return embeddings / norms


def _inside(positions: np.ndarray, name: str) -> np.ndarray:
    if not ((positions >= 0) & (positions <= 1)).all():
        raise ValueError(
            f"{name}: found values from {positions.min():g} to {positions.max():g}, expected (y, x) within [0, 1]."
        )
    return positions.astype(np.float32)
