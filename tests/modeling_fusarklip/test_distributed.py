"""Two processes with half a batch each do what one does with all of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.modeling_fusarklip.distributed_klip import model_of, whole_batch
from tests.paths import ROOT


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path: Path):
    command = [sys.executable, "-m", "tests.modeling_fusarklip.distributed_klip"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen([*command, str(rank), str(tmp_path)], cwd=ROOT, env=environment, stderr=subprocess.PIPE)
        for rank in (0, 1)
    ]
    errors = [process.communicate(timeout=300)[1].decode() for process in started]
    assert [process.returncode for process in started] == [0, 0], errors
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert len(first) == 4
    for case, found in first.items():
        contrastive, with_facts = case.split()
        model, inputs = model_of(contrastive), whole_batch(with_facts == "True")
        model(**inputs, return_loss=True).loss.backward()
        loss = model(**inputs, return_loss=True).loss
        loss.backward()
        torch.testing.assert_close(found["loss"], loss.detach(), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(found["queue"], model.queue.images, atol=1e-6, rtol=0)
        assert torch.equal(found["queue"], second[case]["queue"])
        expected = {name: value.grad for name, value in model.named_parameters() if value.grad is not None}
        assert set(expected) <= set(found["gradients"])
        for name, gradient in found["gradients"].items():
            of_one = expected.get(name, torch.zeros_like(gradient))
            torch.testing.assert_close(gradient, of_one, atol=1e-5, rtol=1e-4, msg=f"{case} {name}")
            torch.testing.assert_close(gradient, second[case]["gradients"][name])
