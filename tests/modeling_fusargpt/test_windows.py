"""The tower's windows in one call give what they give one by one."""

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import varlen
from transformers.integrations import sdpa_attention

from modeling_fusargpt import AnyFusarGpt, windows
from modeling_fusargpt.windows import WINDOWS_TOGETHER, equal_windows_together, in_batches, takes_packed
from tests.tiny import PATCH_SIZE, Backbone, tiny_model

# Patches along time, height and width: windows of four visual tokens a side, cut at right and bottom of the first two.
GRIDS = torch.tensor([[1, 18, 22], [1, 18, 22], [1, 8, 8], [1, 4, 20]])


def attention_of_tower(model: AnyFusarGpt) -> str | None:
    return model.model.visual.config._attn_implementation  # pyright: ignore[reportPrivateUsage]  # no other name


def pixels() -> Tensor:
    count = int(GRIDS.prod(1).sum())
    return torch.randn(count, 3 * 2 * PATCH_SIZE**2, generator=torch.Generator().manual_seed(0))


def encoded(model: AnyFusarGpt) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Visual tokens, deep-stack features, and gradients of all the tower's weights."""
    model.zero_grad()
    outputs: Any = model.model.get_image_features(pixels(), GRIDS, return_dict=True)
    levels = [torch.cat(tokens) for tokens in (outputs.pooler_output, *(outputs.get("deepstack_features") or ()))]
    sum(level.square().sum() for level in levels).backward()  # pyright: ignore[reportAttributeAccessIssue]
    gradients = {
        name: parameter.grad.clone()
        for name, parameter in model.model.visual.named_parameters()
        if parameter.grad is not None
    }
    return [level.detach() for level in levels], gradients


@pytest.mark.parametrize("backbone", ["qwen2_5", "qwen3"])
def test_tokens_and_gradients_are_those_of_windows_one_by_one(backbone: Backbone) -> None:
    model = tiny_model(backbone=backbone)
    assert attention_of_tower(model) == WINDOWS_TOGETHER
    together, gradients = encoded(model)
    for one_by_one in ("sdpa", "eager"):
        model.set_attn_implementation(one_by_one)
        tokens, expected = encoded(model)
        torch.testing.assert_close(together, tokens, rtol=1e-5, atol=1e-6)
        assert len(expected) > 20 and expected.keys() == gradients.keys()
        for name, gradient in expected.items():
            torch.testing.assert_close(gradients[name], gradient, rtol=1e-4, atol=1e-5 * float(gradient.abs().max()))


def test_equal_windows_take_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, ...]] = []

    def counting(module: nn.Module, query: Tensor, *states: Any, **options: Any) -> tuple[Tensor, None]:
        calls.append(tuple(query.shape))
        return sdpa_attention.sdpa_attention_forward(module, query, *states, **options)

    monkeypatch.setattr(windows, "sdpa_attention_forward", counting)
    with torch.no_grad():
        tiny_model().model.get_image_features(pixels(), GRIDS)
    # Visual tokens of the first two: 9 x 11, so that windows have 16, 12, 4 and 3; the third has one window of 16, the
    # last two of 8 and one of 4. Two heads of 16; the second layer attends to whole images.
    per_image = [(4, 2, 64, 16), (2, 2, 48, 16), (2, 2, 16, 16), (1, 2, 12, 16)]
    of_windows = [*per_image, *per_image, (1, 2, 64, 16), (2, 2, 32, 16), (1, 2, 16, 16)]
    of_images = [(2, 2, 396, 16), (1, 2, 64, 16), (1, 2, 80, 16)]
    assert calls == of_windows + of_images


def test_a_batch_of_windows_is_bit_for_bit_what_each_is_alone() -> None:
    draw = torch.Generator().manual_seed(0)
    query, key, value = torch.randn(3, 1, 2, 5 * 64 + 3 * 32 + 16, 80, generator=draw)
    boundaries = torch.tensor([64] * 5 + [32] * 3 + [16]).cumsum(0, dtype=torch.int32)
    boundaries = functional.pad(boundaries, (1, 0))
    module = nn.Identity()
    options: dict[str, Any] = {"scaling": 0.1, "dropout": 0.0, "is_causal": False}
    together, _ = in_batches(sdpa_attention.sdpa_attention_forward, module, query, key, value, boundaries, options)
    alone = [
        sdpa_attention.sdpa_attention_forward(module, q, k, v, None, **options)[0]
        for q, k, v in zip(
            *(states.split(boundaries.diff().tolist(), 2) for states in (query, key, value)), strict=True
        )
    ]
    assert torch.equal(together, torch.cat(alone, dim=1))


def test_windows_in_another_order_are_the_same_windows() -> None:
    from transformers.vision_utils import get_vision_window_index

    grids = torch.tensor([[2, 18, 22], [1, 16, 24], [1, 2, 2]])
    expected, boundaries = get_vision_window_index(grids, 2, 4 * 2 * PATCH_SIZE, PATCH_SIZE)
    found = equal_windows_together(grids, 4, 2)
    order, ends, longest = found["window_index"], found["cu_window_seqlens"], found["max_window_seqlen"]
    assert isinstance(order, Tensor) and isinstance(ends, Tensor)
    assert ends.dtype == boundaries.dtype and longest == int(boundaries.diff().max())
    in_tokens = [set(window.tolist()) for window in order.split((ends.diff() // 4).tolist())]
    of_parent = [set(window.tolist()) for window in expected.split((boundaries.diff() // 4).tolist())]
    assert sorted(map(sorted, in_tokens)) == sorted(map(sorted, of_parent))
    # Frames stay together, in their order: layers that attend to whole images know them by place.
    start = 0
    for frames, height, width in grids.tolist():
        for _ in range(frames):
            end = start + height * width // 4
            assert sorted(order[start:end].tolist()) == list(range(start, end))
            start = end


@pytest.mark.parametrize("chosen", ["sdpa", "eager"])
def test_an_attention_that_is_chosen_is_the_towers_too(tmp_path: Path, chosen: str) -> None:
    model = tiny_model()
    model.save_pretrained(tmp_path)
    assert attention_of_tower(type(model).from_pretrained(tmp_path, attn_implementation=chosen)) == chosen
    assert attention_of_tower(type(model).from_pretrained(tmp_path)) == WINDOWS_TOGETHER
    chosen_for_language = type(model).from_pretrained(tmp_path, attn_implementation={"text_config": chosen})
    assert attention_of_tower(chosen_for_language) == WINDOWS_TOGETHER
    chosen_for_tower = type(model).from_pretrained(tmp_path, attn_implementation={"vision_config": chosen})
    assert attention_of_tower(chosen_for_tower) == chosen


def test_the_configuration_of_a_model_makes_another() -> None:
    model = tiny_model()
    assert attention_of_tower(type(model)(model.config)) == WINDOWS_TOGETHER


def test_a_saved_model_does_not_ask_for_it(tmp_path: Path) -> None:
    model = tiny_model()
    model.save_pretrained(tmp_path)
    assert WINDOWS_TOGETHER not in (tmp_path / "config.json").read_text()


def test_a_gpu_packs_what_torch_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    capability = (8, 0)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: capability)
    gpu = torch.device("cuda")
    assert takes_packed(gpu, torch.bfloat16, 80) and takes_packed(gpu, torch.float16, 256)
    assert not takes_packed(torch.device("cpu"), torch.bfloat16, 80)
    assert not takes_packed(gpu, torch.float32, 80)
    assert not takes_packed(gpu, torch.bfloat16, 84) and not takes_packed(gpu, torch.bfloat16, 264)
    capability = (7, 5)
    assert not takes_packed(gpu, torch.bfloat16, 80)


def test_packed_sequences_go_to_torch_as_it_takes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its kernel stands in here by one that attends window by window."""
    lengths: list[int] = []
    signature = inspect.signature(varlen.varlen_attn)

    def packed(*values: Any, **names: Any) -> Tensor:
        given = signature.bind(*values, **names).arguments
        query, key, value, ends = (given[name] for name in ("query", "key", "value", "cu_seq_q"))
        assert given["cu_seq_k"] is ends and ends.dtype == torch.int32 and query.stride(-1) == value.stride(-1) == 1
        assert given["max_q"] == given["max_k"] == int(ends.diff().max())
        lengths.append(given["max_q"])
        outputs = [
            functional.scaled_dot_product_attention(*(states.transpose(0, 1) for states in parts))
            for parts in zip(*(states.split(ends.diff().tolist()) for states in (query, key, value)), strict=True)
        ]
        return torch.cat([output.transpose(0, 1) for output in outputs])

    model = tiny_model()
    expected, gradients = encoded(model)
    monkeypatch.setattr(windows, "takes_packed", lambda *_of: True)
    monkeypatch.setattr(varlen, "varlen_attn", packed)
    found, of_packed = encoded(model)
    assert lengths == [64, 396]  # windows, then whole images: a call a layer
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    for name, gradient in gradients.items():
        torch.testing.assert_close(of_packed[name], gradient, rtol=1e-4, atol=1e-5 * float(gradient.abs().max()))
