"""What a CPU's choice of types costs and saves at the 7B's shapes: single linear layers and a whole decoder layer.

    python -m benchmarks.cpu_types

Each kind of layer (float32, bfloat16, and the quantizations of `fusargpt.inference.quantization`) is timed on the rows
of a reading (324, an image's tokens) and of a step of decoding (1 and 16 rows), by processor time, in turns. Bytes are
those of the weights as they are held. Of nothing more than one decoder layer is memory taken.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from fusargpt.inference.number_types import Quantization
from fusargpt.inference.quantization import quantize_linear_layers
from trl_recipes.planning.sizes import QWEN_7B_SIZES

RESULT = Path(__file__).parent / "results" / "cpu_types.json"
ROWS = (1, 16, 324)
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
KINDS: dict[str, tuple[torch.dtype, Quantization]] = {
    **{dtype: (of, "none") for dtype, of in _DTYPES.items()},
    **{f"{name} of {dtype}": (of, name) for name in ("int8", "nf4") for dtype, of in _DTYPES.items()},
}


class DecoderLinears(nn.Module):
    """The linear layers of one decoder layer, one after the other, as wide as they are there."""

    def __init__(self, shares: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Linear(
                max(32, int(layer.inputs * shares) // 32 * 32),
                max(32, int(layer.outputs * shares) // 32 * 32),
                layer.bias,
            )
            for layer in QWEN_7B_SIZES.language_layer
        )

    def forward(self, rows: int, dtype: torch.dtype) -> list[Tensor]:
        return [layer(torch.ones(rows, linear(layer).in_features, dtype=dtype)) for layer in self.layers]


def linear(layer: nn.Module) -> nn.Linear:
    """A layer of `DecoderLinears`; what is quantized stays one."""
    return cast(nn.Linear, layer)


def held_bytes(module: nn.Module) -> int:
    """Of parameters and buffers, those that a packed tensor holds among them."""
    total = 0
    for tensor in [*module.parameters(), *module.buffers()]:
        packed = is_traceable_wrapper_subclass(tensor)
        parts = [getattr(tensor, name) for name in cast(Any, tensor).__tensor_flatten__()[0]] if packed else [tensor]
        total += sum(part.numel() * part.element_size() for part in parts)
    return total


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Processor time of one call, the median."""
    taken = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return statistics.median(taken)


@torch.inference_mode()
def measure(kind: str, share: float, repeats: int) -> dict[str, Any]:
    dtype, quantization = KINDS[kind]
    torch.manual_seed(0)
    module = DecoderLinears(share).to(dtype)
    layers = [linear(layer) for layer in module.layers]
    reference = [layer.weight.float() @ torch.ones(layer.in_features) for layer in layers]
    biases: list[Tensor | None] = [layer.bias for layer in layers]
    if quantization != "none":
        quantize_linear_layers(module, quantization)
    found = [output[0].float() for output in module(1, dtype)]
    errors = [
        float((one - (0 if bias is None else bias.float()) - two).norm() / two.norm())
        for bias, one, two in zip(biases, found, reference, strict=True)
    ]
    return {
        "bytes": held_bytes(module),
        "milliseconds": {
            rows: round(1000 * seconds(lambda rows=rows: module(rows, dtype), repeats), 2) for rows in ROWS
        },
        "relative_error": round(statistics.mean(errors), 5),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=1.0, help="of the 7B's widths")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    torch.set_num_threads(1)
    result: dict[str, Any] = {"torch": torch.__version__, "share": options.share}
    for kind in options.kinds:
        try:
            result[kind] = measure(kind, options.share, options.repeats)
        except Exception as error:
            result[kind] = repr(error)[:300]
        print(kind, json.dumps(result[kind]), flush=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
