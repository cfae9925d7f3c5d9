"""What models run on, and in which type they compute there."""

import torch

from fusargpt.errors import InputError
from fusargpt.inference.number_types import Dtype

# Matrix units: x86's (AMX) and ARM's. The dot products of AVX-512 (avx512_bf16) are not among them: with those alone a
# step of mini's tower takes 1.45 times as long as in float32.
_MATRIX_UNITS = ("amx_bf16", "bf16")


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


def has_bfloat16_units() -> bool:
    """Whether the processor multiplies matrices of bfloat16 faster than those of float32. Where it knows no bfloat16 at
    all, torch converts every operand: nano takes 6.6 times as long."""
    found = torch.cpu.get_capabilities()
    return any(found.get(name, False) for name in _MATRIX_UNITS)
