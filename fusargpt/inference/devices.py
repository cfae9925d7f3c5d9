"""What models run on, and in which type they compute there."""

import torch

from fusargpt.errors import InputError
from fusargpt.inference.number_types import Dtype

# x86 processors from Cooper Lake and Zen 4 on, those with matrix units, and ARM's.
_UNITS = ("avx512_bf16", "amx_bf16", "bf16")


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
    """Whether the processor computes in bfloat16. Without, torch converts every operand: nano takes 6.6 times longer
    than in float32."""
    found = torch.cpu.get_capabilities()
    return any(found.get(name, False) for name in _UNITS)
