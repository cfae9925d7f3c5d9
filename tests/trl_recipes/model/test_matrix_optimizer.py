"""Muon and AdamW as one optimizer: which parameters it moves how, and that it goes on where it stopped."""

import copy

import pytest
import torch
from torch import Tensor, nn

from trl_recipes.model.matrix_optimizer import MatrixOptimizer, matrix_optimizer

BETAS = (0.9, 0.95)


def made() -> tuple[nn.Sequential, MatrixOptimizer]:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), nn.Linear(8, 4), nn.Linear(4, 4))
    module[3].requires_grad_(False)
    return module, matrix_optimizer(module, [module[0], module[3]], 1e-2, 2e-3, 0.1, BETAS)


def step(module: nn.Module, optimizer: MatrixOptimizer, inputs: Tensor) -> None:
    module(inputs).pow(2).mean().backward()
    optimizer.step()
    optimizer.zero_grad()


def test_matrices_of_layers_take_muons_steps_and_all_else_adamws() -> None:
    module, optimizer = made()
    matrices, decayed, plain = (group["params"] for group in optimizer.param_groups)
    assert [id(parameter) for parameter in matrices] == [id(module[0].weight)]
    assert [id(parameter) for parameter in decayed] == [id(module[2].weight)]
    assert len(plain) == 4 and all(parameter.ndim == 1 for parameter in plain)
    frozen, inputs = copy.deepcopy(module[3].state_dict()), torch.randn(16, 8)
    alone = copy.deepcopy(module)
    weights = dict(alone.named_parameters())
    muon = torch.optim.Muon([weights["0.weight"]], lr=1e-2, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW([weights["2.weight"]], lr=2e-3, betas=BETAS, weight_decay=0.1)
    vectors = [weights[name] for name in ("0.bias", "1.weight", "1.bias", "2.bias")]
    undecayed = torch.optim.AdamW(vectors, lr=2e-3, betas=BETAS, weight_decay=0.0)
    for _ in range(3):
        step(module, optimizer, inputs)
        alone(inputs).pow(2).mean().backward()
        for one in (muon, adamw, undecayed):
            one.step()
            one.zero_grad()
    for name, value in module.state_dict().items():
        assert torch.equal(value, alone.state_dict()[name]), name
    assert all(torch.equal(value, frozen[name]) for name, value in module[3].state_dict().items())


def test_a_loaded_state_goes_on_to_the_same_weights() -> None:
    module, optimizer = made()
    inputs = torch.randn(16, 8)
    step(module, optimizer, inputs)
    weights, state = copy.deepcopy(module.state_dict()), copy.deepcopy(optimizer.state_dict())
    step(module, optimizer, inputs)
    resumed, its = made()
    resumed.load_state_dict(weights)
    its.load_state_dict(state)
    step(resumed, its, inputs)
    assert all(torch.equal(value, module.state_dict()[name]) for name, value in resumed.state_dict().items())


def test_a_schedule_reaches_both_learning_rates() -> None:
    _, optimizer = made()
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([5e-3, 1e-3, 1e-3])


def test_vectors_are_no_matrices() -> None:
    with pytest.raises(ValueError, match="2D"):
        MatrixOptimizer([nn.Parameter(torch.zeros(3))], [], 1e-2, 1e-3, 0.0, BETAS)
