"""A trial of exports: the TLM as OpenVINO's graph, beside PyTorch.

    pip install openvino
    python -m benchmarks.openvino_tlm

Told for nano's sizes and the 7B's: operators of the graph, bytes of its weights, the largest difference from PyTorch,
and processor time of one image on one thread. The grid of patches is a constant of the graph, one graph for each size
of image; the number of anchors is free. Neither tower nor language model is exported.
"""

import argparse
import collections
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from modeling_fusargpt import TlmConfig, TokenwiseLinearModulation

RESULT = Path(__file__).parent / "results" / "openvino_tlm.json"
SIZES = {"nano": (192, 12), "7B": (3584, 36)}
"""Channels of a visual token, and patches along a side of the image."""
ANCHORS = 64
_MERGE = 2
_STRUCTURE = ("Constant", "Parameter", "Result", "Convert", "Reshape", "Unsqueeze", "Squeeze", "Broadcast")


class OneImage(nn.Module):
    """The TLM on one image of a fixed grid."""

    def __init__(self, tlm: TokenwiseLinearModulation, patches: int) -> None:
        super().__init__()
        self.tlm = tlm
        self.patches = patches

    def forward(self, tokens: Tensor, embeddings: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
        return self.tlm(tokens, [(self.patches, self.patches)], embeddings, positions, mask)


def inputs(channels: int, patches: int, anchors: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(anchors)
    embeddings = torch.randn(1, anchors, 64, generator=generator)
    return (
        torch.randn((patches // _MERGE) ** 2, channels, generator=generator),
        embeddings / embeddings.norm(dim=-1, keepdim=True),
        torch.rand(1, anchors, 2, generator=generator),
        torch.ones(1, anchors, dtype=torch.bool),
    )


def seconds(work: Callable[[], object], repeats: int = 9) -> float:
    taken = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return statistics.median(taken)


@torch.inference_mode()
def measure(channels: int, patches: int) -> dict[str, Any]:
    import openvino  # pyright: ignore[reportMissingImports]  # of this trial alone

    torch.manual_seed(0)
    tlm = TokenwiseLinearModulation(TlmConfig(), channels, _MERGE)
    nn.init.normal_(tlm.output_projection.weight, std=0.02)
    module = OneImage(tlm, patches).eval()
    example = inputs(channels, patches, ANCHORS)
    graph = openvino.convert_model(module, example_input=example)
    compiled = openvino.compile_model(graph, "CPU", {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"})
    differences = {}
    for anchors in (ANCHORS, 16, 100):
        other = inputs(channels, patches, anchors)
        found = torch.from_numpy(compiled([value.numpy() for value in other])[0])
        differences[anchors] = float((found - module(*other)).abs().max())
    kinds = collections.Counter(operator.get_type_name() for operator in graph.get_ops())
    given = [value.numpy() for value in example]
    return {
        "operators": sum(kinds.values()) - sum(kinds[kind] for kind in _STRUCTURE),
        "kinds": dict(kinds.most_common()),
        "weights_mb": round(sum(p.numel() * p.element_size() for p in tlm.parameters()) / 1e6, 1),
        "largest_difference_by_anchors": differences,
        "milliseconds": {
            "PyTorch": round(1000 * seconds(lambda: module(*example)), 2),
            "OpenVINO": round(1000 * seconds(lambda: compiled(given)), 2),
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    torch.set_num_threads(1)
    result = {name: measure(*size) for name, size in SIZES.items()}
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
