from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError, StrictDataclassFieldValidationError

from modeling_fusargpt import FusarGptConfig, TlmConfig, TokenwiseLinearModulation
from tests.tiny import tiny_config


def test_the_tlm_follows_the_paper_by_default():
    config = FusarGptConfig().tlm_config
    assert isinstance(config, TlmConfig)
    assert (config.prior_size, config.sigma, config.gaussian_grid, config.fusion) == (64, 2.0, "patch", "tlm")


@pytest.mark.parametrize(("channels", "width"), [(16, 128), (32, 128), (100, 400)])
def test_the_hidden_width_follows_the_tokens_unless_given(channels: int, width: int):
    assert TokenwiseLinearModulation(TlmConfig(), channels, 2).input_projection.out_features == width
    assert TokenwiseLinearModulation(TlmConfig(hidden_size=24), channels, 2).input_projection.out_features == 24


def test_a_misspelt_key_is_named():
    with pytest.raises(ValueError, match=r"unknown keys \['sgima'\]; expected .*sigma"):
        FusarGptConfig(tlm_config={"sgima": 3.0})


@pytest.mark.parametrize("wrong", [{"sigma": 0.0}, {"sigma": -1}, {"hidden_size": 0}, {"prior_size": -64}])
def test_values_out_of_range_are_named(wrong: dict[str, Any]):
    ((name, value),) = wrong.items()
    with pytest.raises(StrictDataclassClassValidationError, match=rf"tlm_config.{name}: found {value}"):
        TlmConfig(**wrong)


@pytest.mark.parametrize("wrong", [{"fusion": "film"}, {"gaussian_grid": "pixel"}, {"sigma": "wide"}])
def test_unknown_choices_are_rejected(wrong: dict[str, Any]):
    with pytest.raises(StrictDataclassFieldValidationError, match=next(iter(wrong))):
        TlmConfig(**wrong)


def test_round_trip_through_a_file(tmp_path: Path):
    config = tiny_config(tlm_config={"sigma": 3.5, "gaussian_grid": "token", "fusion": "concat", "hidden_size": 24})
    config.save_pretrained(tmp_path)
    loaded = FusarGptConfig.from_pretrained(tmp_path)
    assert isinstance(loaded.tlm_config, TlmConfig)
    assert loaded.to_dict() == config.to_dict()


def test_a_dtype_is_no_unknown_key():
    assert TlmConfig(dtype="bfloat16").dtype == torch.bfloat16
