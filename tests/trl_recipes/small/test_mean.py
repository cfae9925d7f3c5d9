"""The mean of stages' weights: what of them it is, and that it is a model again."""

from pathlib import Path

import pytest
import torch

from fusargpt.conversion.model_card import CARD
from modeling_fusargpt import FusarGptForConditionalGeneration, FusarGptProcessor
from tests.trl_recipes.stages import write_base
from trl_recipes.small.mean import main


def moved(base: Path, out: Path, seed: int) -> Path:
    """A stage of `base` that has moved its language model alone."""
    model = FusarGptForConditionalGeneration.from_pretrained(base, dtype="float32")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.model.language_model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator))
    model.save_pretrained(out)
    FusarGptProcessor.from_pretrained(base).save_pretrained(out)
    return out


def test_it_is_the_mean_of_what_moved_and_the_rest_bit_for_bit(tmp_path: Path) -> None:
    write_base(tmp_path)
    base = tmp_path / "base"
    stages = [moved(base, tmp_path / f"run{seed}", seed) for seed in range(3)]
    assert main([*map(str, stages), "--out", str(tmp_path / "mean")]) == 0
    weights = [
        FusarGptForConditionalGeneration.from_pretrained(folder, dtype="float32").state_dict()
        for folder in (*stages, tmp_path / "mean")
    ]
    *parts, mean = weights
    for name, value in mean.items():
        if "language_model" in name:
            torch.testing.assert_close(value, torch.stack([part[name] for part in parts]).mean(0))
            assert not torch.equal(value, parts[0][name]), name
        else:
            assert torch.equal(value, parts[0][name]), name
    assert "mean of the weights of `run0` and `run1` and `run2`" in (tmp_path / "mean" / CARD).read_text()


def test_what_has_no_mean_is_refused(tmp_path: Path, mini: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_base(tmp_path)
    base = tmp_path / "base"
    for given, told in (
        ([base], "found 1 stage; expected two or more"),
        ([base, mini], "expected runs of one model"),
        ([base, tmp_path / "nowhere"], "there is no folder"),
    ):
        assert main([*map(str, given), "--out", str(tmp_path / "mean")]) == 2
        assert told in capsys.readouterr().err and not (tmp_path / "mean").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "kept").write_text("")
    assert main([str(base), str(base), "--out", str(tmp_path / "full")]) == 2
    assert (tmp_path / "full" / "kept").exists()
