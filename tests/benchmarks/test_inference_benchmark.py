"""What the benchmark of inference calls the release's computation is the authors'."""

from typing import Any

import pytest
import torch

from benchmarks.inference import SETTINGS, ReleaseModulation, batched_generate, release_loop, scenes
from fusargpt.checkpoints import NANO
from fusargpt.inference.loading import load
from modeling_fusargpt import TlmConfig, TokenwiseLinearModulation
from tests.modeling_fusargpt.test_tlm import CASES, GOLDEN


@pytest.mark.parametrize("case", CASES)
def test_the_fields_on_the_patch_grid_are_the_authors(case: Any):
    golden = {key.split(".")[1]: value for key, value in GOLDEN.items() if key.startswith(f"{case}.")}
    tlm = TokenwiseLinearModulation(TlmConfig(sigma=golden["sigma"].item()), golden["tokens"].shape[1], 2)
    names = ("input_projection.weight", "input_projection.bias", "output_projection.weight", "output_bias")
    tlm.load_state_dict(dict(zip(names, (golden[name] for name in ("w1", "b1", "w2", "b2")), strict=True)))
    height, width = golden["patch_grid_hw"].tolist()
    prior = (golden[name][None] for name in ("embeddings", "positions_yx", "mask"))
    modulated = ReleaseModulation(tlm)(golden["tokens"], [(height, width)], *prior)
    torch.testing.assert_close(modulated, golden["modulated"], atol=1e-5, rtol=0)


def test_all_paths_answer_alike_and_the_model_is_left_as_it_was():
    predictor = load(NANO, "cpu")
    tlm = predictor.model.model.tlm
    images, texts, priors = (list(column) for column in zip(*scenes(0, 2, SETTINGS["five tasks"]), strict=True))
    expected = release_loop(predictor, scenes(0, 2, SETTINGS["five tasks"]), 24)
    assert predictor.answer_tokens(images, texts, priors, 24, 10) == expected
    assert batched_generate(predictor, scenes(0, 2, SETTINGS["five tasks"]), 24, 6) == expected
    assert predictor.model.model.tlm is tlm
