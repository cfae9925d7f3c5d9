"""transformers' own methods for adapters, on our models, with the releases of transformers and peft that are here."""

import json
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from packaging.version import Version
from peft import LoraConfig, PeftModel, get_peft_model
from transformers.integrations.peft import MIN_PEFT_VERSION

from fusargpt.checkpoints import NANO, NANO_SSDD
from fusargpt.inference.loading import load
from modeling_fusargpt import FusarGptForConditionalGeneration
from modeling_fusargpt.artefacts import ArtefactError
from tests.modeling_fusargpt.chain import load_any
from tests.tiny import Backbone, plain_backbone, stir_tlm, tiny_inputs, tiny_model, tiny_processor, without_prior

INPUTS = tiny_inputs(tiny_processor())


def lora(**options: Any) -> LoraConfig:
    """An adapter that says something."""
    return LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False, **options)


@torch.no_grad()
def logits(model: Any, inputs: Any = INPUTS) -> torch.Tensor:
    return model.eval()(**inputs).logits


@pytest.fixture
def base(backbone: Backbone, tmp_path: Path) -> Path:
    model = tiny_model(backbone=backbone)
    stir_tlm(model)
    model.save_pretrained(tmp_path / "base")
    tiny_processor().save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def test_adapters_are_added_switched_off_and_saved_one_by_one(base: Path, tmp_path: Path) -> None:
    model: Any = load_any(str(base))
    plain = logits(model)
    torch.manual_seed(0)
    model.add_adapter(lora(modules_to_save=["tlm"]), "boats")
    model.add_adapter(lora(modules_to_save=["tlm"]), "planes")
    assert model.active_adapters() == ["planes"]
    with torch.no_grad():
        model.model.tlm.modules_to_save["planes"].output_bias.add_(0.5)
    said = {}
    for name in ("boats", "planes"):
        model.set_adapter(name)
        said[name] = logits(model)
        model.save_pretrained(tmp_path / name)
    assert (said["boats"] - said["planes"]).abs().max() > 1e-3 < (said["boats"] - plain).abs().max()
    model.disable_adapters()
    assert torch.equal(logits(model), plain)
    model.enable_adapters()
    assert torch.equal(logits(model), said["planes"])

    # Each is one of peft's, and one of ours.
    for name, expected in said.items():
        assert not (tmp_path / name / "model.safetensors").exists()
        torch.testing.assert_close(logits(load_any(str(tmp_path / name))), expected)
        torch.testing.assert_close(logits(PeftModel.from_pretrained(load_any(str(base)), tmp_path / name)), expected)

    model.delete_adapter("planes")
    model.load_adapter(str(tmp_path / "planes"), "again")
    model.set_adapter("again")
    torch.testing.assert_close(logits(model), said["planes"])
    model.set_adapter("boats")  # which transformers has just reported as missing and new
    assert torch.equal(logits(model), said["boats"])
    model.delete_adapter(["boats", "again"])
    assert torch.equal(logits(model), plain)
    with pytest.raises(ValueError, match="the model has no adapter; add or load one first"):
        model.set_adapter("boats")


def test_what_cannot_be_done_with_an_adapter_is_named(base: Path, tmp_path: Path) -> None:
    model = load_any(str(base))
    with pytest.raises(TypeError, match="adapter_config: found dict, expected a PeftConfig"):
        model.add_adapter({"r": 4})
    model.add_adapter(lora())
    with pytest.raises(ValueError, match="there is an adapter default already"):
        model.add_adapter(lora())
    with pytest.raises(ValueError, match="found the adapter name 'boats', expected default"):
        model.set_adapter("boats")
    model.add_adapter(lora(), "second")
    model.set_adapter(["default", "second"])
    with pytest.raises(ArtefactError, match="found default and second active together, expected one; set_adapter"):
        model.save_pretrained(tmp_path / "out")


def test_an_adapter_on_a_model_of_the_package_names_it_as_others_find_it(tmp_path: Path) -> None:
    model = FusarGptForConditionalGeneration.from_pretrained(NANO)
    torch.manual_seed(0)
    model.add_adapter(lora())
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "adapter_config.json").read_text())["base_model_name_or_path"] == "fusargpt-nano"
    torch.testing.assert_close(load_any(str(tmp_path)).state_dict(), model.state_dict(), check_dtype=False)
    (tmp_path / "adapter_config.json").write_text(
        (tmp_path / "adapter_config.json").read_text().replace('"fusargpt-nano"', '"fusargpt-mega"')
    )
    with pytest.raises(
        ArtefactError, match=r"found fusargpt-mega, expected a Hub id, .* comes with the package fusarg"
    ):
        load_any(str(tmp_path))


def test_no_adapter_is_loaded_with_a_warning() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load(NANO_SSDD, device="cpu")
        PeftModel.from_pretrained(FusarGptForConditionalGeneration.from_pretrained(NANO), NANO_SSDD)
    assert [str(warning.message) for warning in caught if not issubclass(warning.category, DeprecationWarning)] == []


def test_a_plain_model_takes_adapters_by_peft_whatever_transformers_asks_for(
    backbone: Backbone, tmp_path: Path
) -> None:
    model = plain_backbone(tiny_model(backbone=backbone))
    inputs = without_prior(INPUTS)
    if Version(version("peft")) < Version(MIN_PEFT_VERSION):
        # As docs/how-to/convert.md says of transformers 5.24. Where it no longer holds, adapters.py can go.
        with pytest.raises(ValueError, match="The version of PEFT you are using is not compatible"):
            model.add_adapter(lora())
        model = plain_backbone(tiny_model(backbone=backbone))
    adapted = get_peft_model(model, lora())
    expected = logits(adapted, inputs)
    adapted.save_pretrained(str(tmp_path))
    again = PeftModel.from_pretrained(plain_backbone(tiny_model(backbone=backbone)), tmp_path)
    torch.testing.assert_close(logits(again, inputs), expected)
