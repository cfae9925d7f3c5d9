"""The TLM of the authors' release: `vec64_film.pt` and, in newer runs, `tlm_config.json`."""

import math
import textwrap
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from fusargpt.conversion.lora_adapter import read_json_object
from fusargpt.errors import InputError
from modeling_fusargpt.processing_fusargpt import PRIOR_SIZE

TLM_FILE = "vec64_film.pt"
TLM_CONFIG_FILE = "tlm_config.json"
# Gaussian weights on the patch grid, normalised twice, then resized to the token grid: `gaussian_grid: patch` here.
TLM_FORMAT = "tlm_original_train_patch_resize_v1"


class _Settings(NamedTuple):
    """The settings of a run; the defaults are those of runs that did not yet write theirs down."""

    sigma: float = 2.0
    hidden_mult: int = 4
    image_size: int = 504


_WRITTEN = ("format", "vec_dim", *_Settings._fields)
_SMALLEST_HIDDEN_SIZE = 128

_ENTRY = "film_mlp"
# Weights of a pooling over all anchors that no released computation calls.
_WITHOUT_EFFECT = {"score"}
# Their Sequential(Linear, SiLU, Linear) -> TokenwiseLinearModulation.
_PARAMETERS = {
    "0.weight": "input_projection.weight",
    "0.bias": "input_projection.bias",
    "2.weight": "output_projection.weight",
    "2.bias": "output_bias",
}


@dataclass(frozen=True, eq=False)
class ReleaseTlm:
    """A TLM of the release.

    Args:
        weights: state dict of a `TokenwiseLinearModulation`.
        sigma: of the Gaussian alignment, in patches.
        hidden_size: D of the TLM.
        image_size: side in pixels of the square that images are squeezed to.
    """

    weights: dict[str, Tensor]
    sigma: float
    hidden_size: int
    image_size: int


def read_tlm(folder: Path, channels: int) -> ReleaseTlm:
    """The TLM in a folder of the release. Its pickle may hold tensors, and nothing that could run.

    Args:
        folder: holds `vec64_film.pt` and perhaps `tlm_config.json`; without the latter sigma is 2, images are squeezed
            to 504 pixels, and the TLM is four times as wide as the visual tokens.
        channels: width C of the backbone's visual tokens.

    Raises:
        InputError: a file that is missing or damaged, an unknown key, and shapes that fit neither the settings nor the
            backbone.
    """
    settings = _read_settings(folder / TLM_CONFIG_FILE)
    hidden_size = max(_SMALLEST_HIDDEN_SIZE, settings.hidden_mult * channels)
    path = folder / TLM_FILE
    state = _read_state(path)
    expected = {
        "0.weight": (hidden_size, PRIOR_SIZE),
        "0.bias": (hidden_size,),
        "2.weight": (2 * channels, hidden_size),
        "2.bias": (2 * channels,),
    }
    if set(state) != set(expected):
        raise InputError(f"{path}: {_ENTRY}: found the keys {sorted(map(str, state))}, expected {sorted(expected)}")
    weights: dict[str, Tensor] = {}
    for name, shape in expected.items():
        value = state[name]
        if not isinstance(value, Tensor) or not value.is_floating_point():
            raise InputError(f"{path}: {_ENTRY}: {name}: found {_kind(value)}, expected a tensor of floating point")
        if tuple(value.shape) != shape:
            raise InputError(
                f"{path}: {_ENTRY}: {name}: found shape {list(value.shape)}, expected {list(shape)} for "
                f"visual tokens of width {channels} and hidden_mult {settings.hidden_mult}"
            )
        if not value.isfinite().all():
            raise InputError(f"{path}: {_ENTRY}: {name}: found NaN or infinity, expected finite numbers")
        weights[_PARAMETERS[name]] = value
    return ReleaseTlm(weights, settings.sigma, hidden_size, settings.image_size)


def _read_settings(path: Path) -> _Settings:
    if not path.is_file():
        return _Settings()
    settings = read_json_object(path)
    if set(settings) != set(_WRITTEN):
        raise InputError(f"{path}: found the keys {sorted(settings)}, expected {sorted(_WRITTEN)}")
    for name, expected in (("format", TLM_FORMAT), ("vec_dim", PRIOR_SIZE)):
        if settings[name] != expected:
            raise InputError(f"{path}: {name}: found {settings[name]!r}, expected {expected!r}")
    sigma = settings["sigma"]
    if isinstance(sigma, bool) or not isinstance(sigma, int | float) or not 0 < sigma < math.inf:
        raise InputError(f"{path}: sigma: found {sigma!r}, expected a positive number")
    hidden_mult, image_size = (_count(path, name, settings[name]) for name in ("hidden_mult", "image_size"))
    return _Settings(float(sigma), hidden_mult, image_size)


def _count(path: Path, name: str, value: object) -> int:
    if type(value) is not int or value < 1:
        raise InputError(f"{path}: {name}: found {value!r}, expected a positive whole number")
    return value


def _read_state(path: Path) -> dict[object, object]:
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected the TLM of the release beside its adapter")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickle protocols that torch itself does not write
            entries = torch.load(path, map_location="cpu", weights_only=True)
    # A damaged or hostile pickle makes torch's reader raise almost anything.
    except Exception as error:
        raise InputError(f"{path}: refused, since it must hold tensors and nothing else: {_cause(error)}") from error
    if not isinstance(entries, dict) or not isinstance(entries.get(_ENTRY), dict):
        raise InputError(f"{path}: found {_kind(entries)}, expected a dict with the state dict {_ENTRY!r}")
    if unknown := sorted(map(str, set(entries) - {_ENTRY} - _WITHOUT_EFFECT)):
        raise InputError(
            f"{path}: found the entry {unknown[0]!r}, expected {_ENTRY!r} and perhaps "
            f"{', '.join(map(repr, sorted(_WITHOUT_EFFECT)))}"
        )
    return entries[_ENTRY]


def _kind(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of {value.dtype}"
    return f"a dict of {sorted(map(str, value))}" if isinstance(value, dict) else type(value).__name__


def _cause(error: Exception) -> str:
    """The paragraph of torch's message that names what is wrong; those around it tell how to load it nevertheless."""
    paragraphs = [paragraph for paragraph in str(error).split("\n\n") if paragraph.strip()]
    return textwrap.shorten(paragraphs[-2] if len(paragraphs) > 1 else str(error), 160) or type(error).__name__


__all__ = ["TLM_CONFIG_FILE", "TLM_FILE", "TLM_FORMAT", "ReleaseTlm", "read_tlm"]
