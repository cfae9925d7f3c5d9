"""What models run on, and in which type they compute there."""

from functools import cache
from time import perf_counter

import torch
from torch.nn import functional

from fusargpt.errors import InputError
from fusargpt.inference.number_types import Dtype

_PRODUCT = (2048, 512, 512)
_TRIES = 5
_FASTER = 1.5
"""Times, from which on training gains: casts and what is between the products take their share. A product was 2.3 times
as fast in bfloat16 on an AMD EPYC with AVX-512's dot products, and a step of mini's tower 1.4 times. On an Intel Xeon
with the same dot products and no matrix units that step took 1.45 times as long, and where the processor knows no
bfloat16, nano's took 6.6 times as long: so what a processor says of itself tells too little."""


def chosen_device(device: str | None) -> str:
    """The device as torch names it; None takes a GPU where there is one. Raises InputError for one that torch lacks."""
    chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=chosen)
    # torch raises AssertionError where it was built without CUDA.
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device: found {chosen!r}, which torch cannot use; expected cpu, cuda or cuda:N") from error
    return chosen


def chosen_dtype(dtype: Dtype | None, device: str) -> torch.dtype:
    """The type of a model's weights and products on a device; None takes float32 on a CPU, else bfloat16."""
    if dtype is None:
        return torch.float32 if device == "cpu" else torch.bfloat16
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[dtype]


@cache
def is_faster_in_bfloat16() -> bool:
    """Whether the processor multiplies matrices of bfloat16 clearly faster than those of float32: it is timed, for some
    hundredths of a second, once a process."""
    # By turns, so that what else the processor does slows both.
    turns = [(product_seconds(torch.float32), product_seconds(torch.bfloat16)) for _ in range(_TRIES + 1)]
    whole, half = (min(seconds) for seconds in zip(*turns[1:], strict=True))  # the first turn prepares
    return whole >= _FASTER * half


def product_seconds(dtype: torch.dtype) -> float:
    """How long a product of a linear layer's size takes."""
    rows, width, outputs = _PRODUCT
    inputs, weight = torch.ones(rows, width, dtype=dtype), torch.ones(outputs, width, dtype=dtype)
    began = perf_counter()
    functional.linear(inputs, weight)
    return perf_counter() - began
