"""The options `--dtype`, `--quantization` and `--engine` of verbs that load an answering model."""

from collections.abc import Callable, Mapping
from typing import Any, get_args

from fusargpt.errors import InputError
from fusargpt.inference.number_types import Dtype, Quantization

ENGINES = ("transformers", "vllm")
"""Those of `fusargpt.serving.engines` that are chosen by name."""


def add_number_types(add: Callable[..., Any], default: str = "none") -> None:
    """Add them by `add_argument` of a parser or group; `default` is that of the quantization."""
    add(
        "--dtype",
        choices=get_args(Dtype),
        help="of weights and products (default: float32 on a CPU, else bfloat16). bfloat16 takes half of the memory; "
        "many a CPU is slow in it",
    )
    add(
        "--quantization",
        choices=get_args(Quantization),
        default=default,
        help="of the language model's linear layers, for machines that the model does not fit (extra: quantized; "
        "default: none)",
    )


def add_engine(add: Callable[..., Any], default: str = ENGINES[0]) -> None:
    """Likewise, of verbs that ask many questions."""
    add(
        "--engine",
        choices=ENGINES,
        default=default,
        help="what runs the model; vllm where it is installed, with its own batches (default: transformers)",
    )


def check_engine(chosen: Mapping[str, Any]) -> None:
    """Raises InputError for options that vLLM does not take."""
    if chosen.get("engine") != "vllm":
        return
    for name in ("device", "dtype", "constrained", "quantization"):
        if chosen.get(name) not in (None, False, "none"):
            raise InputError(f"--engine vllm: takes no --{name}; leave it out, or take transformers")
