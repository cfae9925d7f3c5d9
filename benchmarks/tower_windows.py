"""The vision tower with its windows in one call beside transformers' `sdpa`, which takes them one by one.

    python -m benchmarks.tower_windows

Two towers with random weights: that of nano, all of whose layers attend to whole images, and a thin one of eight
layers, the last of which attends to whole images, as every eighth of the 7B's 32: of its window sizes and heads of 80
numbers, but two heads instead of 16. Images of 504 x 504 pixels (168 x 168 of
nano). Counted are calls of attention and operators of a forward pass; measured is processor time in turns, of a forward
pass and of one with its backward pass; and by how much the visual tokens differ. Besides, one attention of windows at
the 7B's own shapes.
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
from torch.utils._python_dispatch import TorchDispatchMode
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from fusargpt.checkpoints import NANO
from modeling_fusargpt import FusarGptConfig, FusarGptModel
from modeling_fusargpt.windows import WINDOWS_TOGETHER, equal_windows_together, in_batches
from trl_recipes.planning.sizes import QWEN_7B_SIZES

RESULT = Path(__file__).parent / "results" / "tower_windows.json"
PATCHES = 36  # a side of an image
HEAD = 80
ONE_BY_ONE = "sdpa"


class Counting(TorchDispatchMode):
    """Operators, and those among them that attend."""

    def __init__(self) -> None:
        super().__init__()
        self.operators = self.attentions = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.operators += 1
        self.attentions += "scaled_dot_product" in str(func)
        return func(*args, **(kwargs or {}))


def thin_config() -> FusarGptConfig:
    text: Any = FusarGptConfig.from_pretrained(NANO).text_config
    vision: dict[str, Any] = {
        "depth": 8,
        "fullatt_block_indexes": [7],
        "hidden_size": 2 * HEAD,
        "intermediate_size": 4 * HEAD,
        "num_heads": 2,
        "out_hidden_size": text.hidden_size,
    }
    return FusarGptConfig(text_config=text.to_dict(), vision_config=vision)


def compared(config: FusarGptConfig, side: int, images: int, repeats: int) -> dict[str, Any]:
    """Of one tower: counts, medians of ratios by turn, and the largest difference of its visual tokens."""
    torch.manual_seed(0)
    model = FusarGptModel(config)
    vision: Any = config.vision_config
    grids = torch.tensor([[1, side, side]] * images)
    patches = torch.randn(images * side**2, vision.in_channels * vision.temporal_patch_size * vision.patch_size**2)

    def encode(attention: str) -> Tensor:
        model.set_attn_implementation({"vision_config": attention})
        return torch.cat(cast(list[Tensor], model.get_image_features(patches, grids).pooler_output))

    found: dict[str, Any] = {"images": images}
    tokens: dict[str, Tensor] = {}
    for name in (ONE_BY_ONE, WINDOWS_TOGETHER):
        with torch.no_grad(), Counting() as counting:
            tokens[name] = encode(name)
        found[name] = {"calls_of_attention": counting.attentions, "operators": counting.operators}
    difference = (tokens[ONE_BY_ONE] - tokens[WINDOWS_TOGETHER]).abs().max() / tokens[ONE_BY_ONE].abs().max()
    found["largest_difference_to_the_largest_value"] = float(f"{difference:.1e}")

    def forward(attention: str) -> None:
        with torch.no_grad():
            encode(attention)

    def both(attention: str) -> None:
        encode(attention).square().mean().backward()

    for name, call in (("forward", forward), ("forward_and_backward", both)):
        found[f"time_one_by_one_over_together, {name}"] = ratio(
            lambda call=call: call(ONE_BY_ONE), lambda call=call: call(WINDOWS_TOGETHER), repeats
        )
    return found


def attention_alone(images: int, repeats: int) -> dict[str, Any]:
    """One layer's attention within windows at the 7B's shapes, in float32."""
    heads = QWEN_7B_SIZES.vision_heads
    windows = equal_windows_together(torch.tensor([[1, PATCHES, PATCHES]] * images), 4, 2)
    boundaries = cast(Tensor, windows["cu_window_seqlens"])
    states = torch.randn(3, images * PATCHES**2, heads, HEAD).transpose(1, 2)
    query, key, value = states[:, None].unbind()
    options: dict[str, Any] = {"scaling": HEAD**-0.5, "dropout": 0.0, "is_causal": False}
    module = nn.Identity()

    def one_by_one() -> Tensor:
        parts = [states.split(boundaries.diff().tolist(), 2) for states in (query, key, value)]
        alone = [sdpa_attention_forward(module, q, k, v, None, **options)[0] for q, k, v in zip(*parts, strict=True)]
        return torch.cat(alone, dim=1)

    def together() -> Tensor:
        return in_batches(sdpa_attention_forward, module, query, key, value, boundaries, options)[0]

    return {
        "images": images,
        "windows": len(boundaries) - 1,
        "equal_bit_for_bit": torch.equal(one_by_one(), together()),
        "time_one_by_one_over_together": ratio(one_by_one, together, repeats),
    }


def ratio(first: Callable[[], object], second: Callable[[], object], repeats: int) -> dict[str, float]:
    """Processor time of the first over that of the second: the median of turns, and its quartiles."""
    ratios: list[float] = []
    for turn in range(repeats + 1):
        seconds: dict[int, float] = {}
        # Who is first changes.
        for number, call in ((0, first), (1, second)) if turn % 2 else ((1, second), (0, first)):
            begun = time.process_time()
            call()
            seconds[number] = time.process_time() - begun
        if turn:
            ratios.append(seconds[0] / seconds[1])
    low, median, high = statistics.quantiles(ratios, n=4)
    return {"median": round(median, 2), "lower_quartile": round(low, 2), "upper_quartile": round(high, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    nano = FusarGptConfig.from_pretrained(NANO)
    result = {
        "torch": torch.__version__,
        "threads": options.threads,
        "dtype": "float32",
        "nano": compared(nano, 12, options.images, options.repeats),
        "thin tower": compared(thin_config(), PATCHES, options.images, options.repeats),
        "attention within windows at the 7B's shapes": attention_alone(options.images, options.repeats),
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
