"""The TLM against the authors' numbers, a naive reading of the formulas, and its own promises."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from modeling_fusargpt import TlmConfig, TokenwiseLinearModulation
from modeling_fusargpt.tlm import gaussian_alignment

GOLDEN = load_file(Path(__file__).parent / "data" / "tlm_golden.safetensors")
CASES = sorted({key.split(".")[0] for key in GOLDEN})
FUSIONS = ["tlm", "sum", "concat", "none"]


def stirred(channels: int = 16, merge_size: int = 2, seed: int = 0, **config: Any) -> TokenwiseLinearModulation:
    generator = torch.Generator().manual_seed(seed)
    tlm = TokenwiseLinearModulation(TlmConfig(**config), channels, merge_size)
    with torch.no_grad():
        for parameter in tlm.parameters():
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return tlm


def priors(images: int, anchors: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    embeddings = functional.normalize(torch.randn(images, anchors, 64, generator=generator), dim=-1)
    positions = torch.rand(images, anchors, 2, generator=generator)
    return embeddings, positions, torch.ones(images, anchors, dtype=torch.bool)


def naive_weights(positions: Tensor, mask: Tensor, grid: tuple[int, int], merge: int, sigma: float, mode: str):
    """[h w, S] as DESIGN writes it: every distance, two normalisations, one resize."""
    height, width = grid if mode == "patch" else (grid[0] // merge, grid[1] // merge)
    y = positions[:, 0, None, None] * (height - 1) - torch.arange(height)[None, :, None]
    x = positions[:, 1, None, None] * (width - 1) - torch.arange(width)[None, None, :]
    weights = torch.exp(-(y**2 + x**2) / (2 * sigma**2))
    if mode == "token":
        weights = weights * mask[:, None, None]
        return (weights / (weights.sum(0) + 1e-6)).flatten(1).T
    weights = weights / (weights.sum(0) + 1e-6) * mask[:, None, None]
    weights = weights / (weights.sum(0) + 1e-6)
    size = (height // merge, width // merge)
    return functional.interpolate(weights[None], size=size, mode="bilinear", align_corners=False)[0].flatten(1).T


def align(positions: Tensor, mask: Tensor, grids: list[tuple[int, int]], merge: int, sigma: float, mode: str):
    return gaussian_alignment(positions, mask, torch.ones_like(mask), grids, merge, sigma, mode)


@pytest.mark.parametrize("case", CASES)
def test_reproduces_the_authors_numbers(case: Any):
    golden = {key.split(".")[1]: value for key, value in GOLDEN.items() if key.startswith(f"{case}.")}
    tlm = TokenwiseLinearModulation(TlmConfig(sigma=golden["sigma"].item()), golden["tokens"].shape[1], 2)
    weights = {
        "input_projection.weight": golden["w1"],
        "input_projection.bias": golden["b1"],
        "output_projection.weight": golden["w2"],
        "output_bias": golden["b2"],
    }
    tlm.load_state_dict(weights)
    height, width = golden["patch_grid_hw"].tolist()
    modulated = tlm(
        golden["tokens"],
        [(height, width)],
        golden["embeddings"][None],
        golden["positions_yx"][None],
        golden["mask"][None],
    )
    torch.testing.assert_close(modulated, golden["modulated"], atol=1e-5, rtol=0)


@settings(deadline=None, max_examples=40)
@given(
    merge=st.sampled_from([1, 2, 3, 4]),
    tokens=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    anchors=st.integers(1, 6),
    sigma=st.floats(0.3, 6.0),
    mode=st.sampled_from(["patch", "token"]),
    seed=st.integers(0, 1000),
)
def test_alignment_is_what_the_formulas_say(
    merge: int, tokens: tuple[int, int], anchors: int, sigma: float, mode: str, seed: int
):
    generator = torch.Generator().manual_seed(seed)
    positions = torch.rand(1, anchors, 2, generator=generator)
    mask = torch.rand(1, anchors, generator=generator) < 0.8
    grid = (tokens[0] * merge, tokens[1] * merge)
    (weights,) = align(positions, mask, [grid], merge, sigma, mode)
    expected = naive_weights(positions[0], mask[0], grid, merge, sigma, mode)
    torch.testing.assert_close(weights, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("mode", ["patch", "token"])
def test_alignment_of_several_grids_at_once_equals_one_by_one(mode: str):
    _, positions, mask = priors(3, 5)
    grids = [(4, 12), (10, 6), (2, 2)]
    together = align(positions, mask, grids, 2, 2.0, mode)
    for image, grid in enumerate(grids):
        (alone,) = align(positions[image : image + 1], mask[image : image + 1], [grid], 2, 2.0, mode)
        assert together[image].shape == (grid[0] * grid[1] // 4, 5)
        torch.testing.assert_close(together[image], alone, atol=1e-6, rtol=0)


def test_the_two_gaussian_grids_differ():
    _, positions, mask = priors(1, 3)
    (patch,) = align(positions, mask, [(12, 12)], 2, 2.0, "patch")
    (token,) = align(positions, mask, [(12, 12)], 2, 2.0, "token")
    assert (patch - token).abs().max() > 0.05


@pytest.mark.parametrize("mode", ["patch", "token"])
def test_first_coordinate_runs_down_the_rows(mode: str):
    bottom_left = torch.tensor([[[1.0, 0.0]]])
    (weights,) = align(bottom_left, torch.tensor([[True]]), [(8, 12)], 2, 0.5, mode)
    nearest = divmod(weights[:, 0].argmax().item(), 6)
    assert nearest == (3, 0)


@pytest.mark.parametrize("mode", ["patch", "token"])
def test_modulation_fades_far_from_every_anchor(mode: str):
    tlm = stirred(gaussian_grid=mode)
    tokens = torch.randn(40 * 40, 16)
    embeddings = priors(1, 1)[0]
    modulated = tlm(tokens, [(80, 80)], embeddings, torch.zeros(1, 1, 2), torch.ones(1, 1, dtype=torch.bool))
    moved = (modulated - tokens).abs().amax(1).unflatten(0, (40, 40))
    assert moved[0, 0] > 0.05
    assert torch.equal(modulated[-1], tokens[-1])


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("mode", ["patch", "token"])
def test_images_of_different_size_in_a_batch_equal_one_by_one(fusion: str, mode: str):
    tlm = stirred(fusion=fusion, gaussian_grid=mode)
    grids, anchors = [(6, 10), (12, 4), (4, 4)], [7, 2, 4]
    sizes = [height * width // 4 for height, width in grids]
    tokens = torch.randn(sum(sizes), 16, generator=torch.Generator().manual_seed(1))
    alone, batch = [], (torch.zeros(3, 7, 64), torch.zeros(3, 7, 2), torch.zeros(3, 7, dtype=torch.bool))
    for image, of_image in enumerate(torch.split(tokens, sizes)):
        fields = priors(1, anchors[image], seed=image)
        alone.append(tlm(of_image, [grids[image]], *fields))
        for padded, field in zip(batch, fields, strict=True):
            padded[image, : anchors[image]] = field[0]
    torch.testing.assert_close(tlm(tokens, grids, *batch), torch.cat(alone), atol=1e-5, rtol=0)


def test_padding_is_no_anchor_even_where_anchors_are_far():
    """Hundreds of padded slots at (0, 0) would otherwise take part in the first of the two normalisations."""
    tlm = stirred()
    tokens = torch.randn(18 * 18, 16)
    embeddings, positions, mask = priors(1, 1)
    positions = torch.full_like(positions, 0.3)
    alone = tlm(tokens, [(36, 36)], embeddings, positions, mask)
    padding = (0, 0, 0, 500)
    padded = tlm(
        tokens,
        [(36, 36)],
        functional.pad(embeddings, padding),
        functional.pad(positions, padding),
        functional.pad(mask, (0, 500)),
    )
    torch.testing.assert_close(padded, alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_is_exactly_the_identity_without_an_anchor_that_counts(fusion: str):
    tlm = stirred(fusion=fusion)
    tokens = torch.randn(15, 16)
    embeddings, positions, mask = priors(1, 4)
    assert torch.equal(tlm(tokens, [(6, 10)], embeddings, positions, ~mask), tokens)
    assert torch.equal(tlm(tokens, [(6, 10)], *(field[:, :0] for field in (embeddings, positions, mask))), tokens)


@pytest.mark.parametrize("anything", [float("nan"), float("inf")])
@pytest.mark.parametrize("fusion", ["tlm", "sum", "concat"])
def test_masked_anchors_may_hold_anything(fusion: str, anything: float):
    tlm = stirred(fusion=fusion)
    tokens = torch.randn(15, 16)
    embeddings, positions, mask = priors(1, 4)
    mask[0, 2:] = False
    embeddings[0, 2:], positions[0, 2:] = anything, anything
    expected = tlm(tokens, [(6, 10)], embeddings[:, :2], positions[:, :2], mask[:, :2])
    torch.testing.assert_close(tlm(tokens, [(6, 10)], embeddings, positions, mask), expected)


@pytest.mark.parametrize("fusion", ["tlm", "sum", "concat"])
@pytest.mark.parametrize("anchors", [2, 300])
def test_projecting_before_or_after_the_sum_over_anchors_agree(fusion: str, anchors: int):
    """Few anchors are projected first, many are summed first; a dense loop over the formula tells both right."""
    tlm = stirred(fusion=fusion)
    tokens = torch.randn(15, 16)
    embeddings, positions, mask = priors(1, anchors)
    (weights,) = align(positions, mask, [(6, 10)], 2, 2.0, "patch")
    hidden = functional.silu(tlm.input_projection(embeddings[0]))
    field = weights @ (tlm.output_projection(hidden) + tlm.output_bias)
    if fusion == "tlm":
        gamma, beta = field.chunk(2, -1)
        expected = tokens * (1 + gamma) + beta
    elif fusion == "sum":
        expected = tokens + field
    else:
        expected = tokens + weights.sum(1, keepdim=True) * tlm.fusion_projection(torch.cat([tokens, field], -1))
    projected = []
    tlm.output_projection.register_forward_hook(lambda module, inputs, output: projected.append(output[..., 0].numel()))
    torch.testing.assert_close(tlm(tokens, [(6, 10)], embeddings, positions, mask), expected, atol=1e-5, rtol=0)
    assert projected == [min(anchors, len(tokens))]


@pytest.mark.parametrize("fusion", ["tlm", "sum", "concat"])
@pytest.mark.parametrize("anchors", [2, 300])
def test_every_parameter_gets_a_gradient(fusion: str, anchors: int):
    tlm = stirred(fusion=fusion)
    tlm(torch.randn(15, 16), [(6, 10)], *priors(1, anchors)).square().sum().backward()
    for name, parameter in tlm.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_anchors_are_summed_in_float32_under_autocast():
    """Where every anchor says the same, the field is the coverage times that, to float32's precision."""
    tlm = stirred()
    torch.nn.init.zeros_(tlm.input_projection.weight)
    torch.nn.init.zeros_(tlm.output_bias)
    embeddings, positions, mask = priors(1, 20)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        beta = tlm(torch.zeros(10 * 10, 16), [(20, 20)], embeddings, positions, mask)
    (weights,) = align(positions, mask, [(20, 20)], 2, 2.0, "patch")
    says_the_same = beta / weights.sum(1, keepdim=True)
    assert beta.abs().max() > 0.05
    torch.testing.assert_close(says_the_same, says_the_same[:1].expand(100, 16), atol=1e-6, rtol=1e-5)


def test_bfloat16_weights_and_tokens():
    tlm, fields = stirred(), priors(1, 20)
    tokens = torch.randn(100, 16)
    expected = tlm(tokens, [(20, 20)], *fields)
    actual = tlm.to(torch.bfloat16)(tokens.to(torch.bfloat16), [(20, 20)], *fields)
    assert actual.dtype == torch.bfloat16
    torch.testing.assert_close(actual.float(), expected, atol=0.05, rtol=0.02)


def test_bfloat16_keeps_modulations_below_its_resolution():
    """1 + 0.002 is 1 in bfloat16; computed there, a small gamma would vanish even for tokens that can show it."""
    tlm = stirred()
    torch.nn.init.zeros_(tlm.output_projection.weight)
    with torch.no_grad():
        tlm.output_bias.fill_(0).chunk(2)[0].fill_(0.002)
    tokens = torch.full((15, 16), 3.0)
    anchor = (priors(1, 1)[0], torch.full((1, 1, 2), 0.5), torch.ones(1, 1, dtype=torch.bool))
    modulated = tlm.to(torch.bfloat16)(tokens, [(6, 10)], *anchor)
    assert modulated[7].mean().item() == pytest.approx(3.006, abs=1e-4)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_compiles_in_one_graph(fusion: str):
    tlm, fields = stirred(fusion=fusion), priors(2, 5)
    tokens = torch.randn(15 + 12, 16)
    grids = [(6, 10), (12, 4)]
    compiled = torch.compile(tlm, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(tokens, grids, *fields), tlm(tokens, grids, *fields))


def test_fusion_none_has_no_parameters_and_ignores_the_prior():
    tlm = TokenwiseLinearModulation(TlmConfig(fusion="none"), 16, 2)
    tokens = torch.randn(15, 16)
    assert list(tlm.parameters()) == []
    assert torch.equal(tlm(tokens, [(6, 10)], *priors(1, 4)), tokens)
