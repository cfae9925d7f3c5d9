"""What models run on."""

import torch

from fusargpt.errors import InputError


def chosen_device(device: str | None) -> str:
    """The device as torch names it; None takes a GPU where there is one. Raises InputError for one that torch lacks."""
    chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=chosen)
    # torch raises AssertionError where it was built without CUDA.
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device: found {chosen!r}, which torch cannot use; expected cpu, cuda or cuda:N") from error
    return chosen
