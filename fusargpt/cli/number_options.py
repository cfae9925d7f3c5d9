"""The options `--dtype` and `--quantization` of verbs that load an answering model."""

from collections.abc import Callable
from typing import Any, get_args

from fusargpt.inference.number_types import Dtype, Quantization


def add_number_types(add: Callable[..., Any], default: str = "none") -> None:
    """Add them by `add_argument` of a parser or group; `default` is that of the quantization."""
    add(
        "--dtype",
        choices=get_args(Dtype),
        help="of weights and products (default: float32 on a CPU, else bfloat16). bfloat16 takes half of the memory; a "
        "CPU without units for it is slow",
    )
    add(
        "--quantization",
        choices=get_args(Quantization),
        default=default,
        help="of the language model's linear layers, for machines that the model does not fit (extra: quantized; "
        "default: none)",
    )
