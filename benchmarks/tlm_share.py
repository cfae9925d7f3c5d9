"""The TLM's share of a forward pass at the sizes of the 7B: counted, and measured.

    python -m benchmarks.tlm_share

Counted: FLOPs of matrix products (`trl_recipes.planning.flops`), and bytes of weights, each of which is read once.
Measured: one block of the vision tower, one decoder layer and the TLM with random weights of the published sizes, in
turns; the
whole is 32 blocks, 28 layers and the merger and head by their FLOPs at the rate of the layer. Everything that is left
out (norms of the whole, embeddings, rotary tables) would make the share smaller.

The image is 504 x 504 pixels, which are 36 x 36 patches and 324 visual tokens; the text is 64 tokens.
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
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLTextConfig, Qwen2_5_VLVisionConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import (
    Qwen2_5_VisionTransformerPretrainedModel,
    Qwen2_5_VLTextModel,
)

from modeling_fusargpt import TlmConfig, TokenwiseLinearModulation
from trl_recipes.planning.flops import Shape, Stage, sequence_flops
from trl_recipes.planning.sizes import QWEN_7B_SIZES, Linear

RESULT = Path(__file__).parent / "results" / "tlm_share.json"
PATCHES = 36  # a side
TEXT_TOKENS = 64
BLOCKS = 2  # of the tower, the first attending within windows and the second to the whole image
BYTES = 2  # a weight in bfloat16
ANCHORS = (64, 256, 1024)


def counted(anchors: int) -> dict[str, float]:
    """Shares of FLOPs and of bytes of weights in the pass that reads image and question."""
    sizes = QWEN_7B_SIZES
    shape = Shape(PATCHES, PATCHES, TEXT_TOKENS, scored_tokens=1, anchors=anchors)
    stage = Stage("lora", lora_r=0, checkpointing=False, feature_cache=False)
    forward = {part: work.forward for part, work in sequence_flops(sizes, shape, stage).items()}
    parameters = sizes.parameters()
    # Of the embeddings only the rows of the text are read.
    parameters["language model"] -= sizes.vocabulary * sizes.hidden
    return {
        "flops": forward["TLM"] / sum(forward.values()),
        "gflops_of_tlm": forward["TLM"] / 1e9,
        "gflops": sum(forward.values()) / 1e9,
        "bytes_of_weights": parameters["TLM"] / sum(parameters.values()),
    }


def parts(dtype: torch.dtype, device: str) -> dict[str, Callable[[], Any]]:
    """One call of each part; random weights and inputs."""
    sizes = QWEN_7B_SIZES
    vision = Qwen2_5_VLVisionConfig(
        depth=BLOCKS,
        hidden_size=sizes.vision_hidden,
        intermediate_size=sizes.vision_intermediate,
        num_heads=sizes.vision_heads,
        out_hidden_size=sizes.hidden,
        fullatt_block_indexes=[1],
    )
    text = Qwen2_5_VLTextConfig(
        vocab_size=128,
        hidden_size=sizes.hidden,
        intermediate_size=sizes.intermediate,
        num_hidden_layers=1,
        num_attention_heads=sizes.heads,
        num_key_value_heads=sizes.key_value * sizes.heads // sizes.hidden,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
    )
    # `to` of transformers hides its signature.
    tower = cast(nn.Module, Qwen2_5_VisionTransformerPretrainedModel(vision)).to(device, dtype).eval()
    language = cast(nn.Module, Qwen2_5_VLTextModel(text)).to(device, dtype).eval()
    tlm = TokenwiseLinearModulation(TlmConfig(), sizes.hidden, sizes.merge).to(device, dtype).eval()
    patches = torch.randn(PATCHES**2, sizes.patch_values, dtype=dtype, device=device)
    grid = torch.tensor([[1, PATCHES, PATCHES]], device=device)
    tokens = (PATCHES // sizes.merge) ** 2
    embedded = torch.randn(1, tokens + TEXT_TOKENS, sizes.hidden, dtype=dtype, device=device)
    visual = torch.randn(tokens, sizes.hidden, dtype=dtype, device=device)
    calls: dict[str, Callable[[], Any]] = {
        f"tower of {BLOCKS} blocks": lambda: tower(patches, grid_thw=grid),
        "decoder layer": lambda: language(inputs_embeds=embedded, use_cache=True),
    }
    for anchors in ANCHORS:
        prior: tuple[Tensor, Tensor, Tensor] = (
            torch.nn.functional.normalize(torch.randn(1, anchors, sizes.prior, device=device), dim=-1),
            torch.rand(1, anchors, 2, device=device),
            torch.ones(1, anchors, dtype=torch.bool, device=device),
        )
        calls[f"TLM, {anchors} anchors"] = lambda prior=prior: tlm(visual, [(PATCHES, PATCHES)], *prior)
    return calls


def clock(device: str) -> float:
    """Processor seconds of this process; on a GPU seconds on the wall, with its work done."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def measured(repeats: int, device: str) -> dict[str, Any]:
    """Median seconds of each part, taken in turns, and the TLM's share of the whole."""
    calls = parts(torch.bfloat16, device)
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    with torch.inference_mode():
        for repeat in range(repeats + 1):
            for name, call in calls.items():
                start = clock(device)
                call()
                # The first touches the weights for the first time.
                if repeat:
                    seconds[name].append(clock(device) - start)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    sizes = QWEN_7B_SIZES
    # The merger is in the small tower once, as in the large one, and counted with every two blocks: left out of them.
    tokens = (PATCHES // sizes.merge) ** 2
    layer_flops = sum(part.flops(tokens + TEXT_TOKENS) for part in sizes.language_layer)
    rate = layer_flops / medians["decoder layer"]
    merger = sum(part.flops(tokens) for part in sizes.merger) / rate
    embedding = Linear(sizes.patch_values, sizes.vision_hidden).flops(PATCHES**2) / rate
    blocks = max(medians[f"tower of {BLOCKS} blocks"] - merger - embedding, 0.0)
    backbone = blocks / BLOCKS * sizes.vision_layers + merger + sizes.layers * medians["decoder layer"]
    shares = {}
    for anchors in ANCHORS:
        modulation = medians[f"TLM, {anchors} anchors"]
        shares[str(anchors)] = round(modulation / (backbone + modulation), 5)
    return {
        "median_seconds": {name: round(value, 6) for name, value in medians.items()},
        "share_by_anchors": shares,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    where = {"threads": options.threads} if options.device == "cpu" else {"gpu": torch.cuda.get_device_name()}
    result = {
        "sizes": "Qwen2.5-VL-7B, TLM hidden 14336",
        "image": [14 * PATCHES] * 2,
        "text_tokens": TEXT_TOKENS,
        "counted_by_anchors": {
            str(anchors): {name: round(value, 5) for name, value in counted(anchors).items()} for anchors in ANCHORS
        },
        "measured": {"dtype": "bfloat16", **where, **measured(options.repeats, options.device)},
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
