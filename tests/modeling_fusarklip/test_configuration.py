from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.errors import StrictDataclassClassValidationError, StrictDataclassFieldValidationError
from transformers import AutoConfig, CLIPConfig

from modeling_fusarklip import FusarKlipConfig, GeographyConfig, LossesConfig, TlmConfig
from tests.modeling_fusarklip.tiny_klip import tiny_klip_config


def test_the_defaults_are_the_published_sizes_without_coordinates():
    config = FusarKlipConfig()
    assert (config.vision.hidden_size, config.vision.num_hidden_layers, config.text.vocab_size) == (768, 12, 30524)
    assert (config.image_text_hidden_size, config.max_text_tokens, config.geography_layer) == (256, 256, 0)
    assert (config.geography.location, config.geography.drop_field, config.geography.drop_all) == ("off", 0.3, 0.2)
    losses = config.losses
    assert (losses.contrastive, losses.itc, losses.itm, losses.mlm, losses.lm, losses.mim) == ("softmax", 1, 1, 1, 0, 0)


@pytest.mark.parametrize("part", ["tlm_config", "geography_config", "losses_config"])
def test_a_misspelt_key_is_named(part: str):
    arguments: dict[str, Any] = {part: {"wieght": 1}}
    with pytest.raises(ValueError, match=rf"{part}: unknown keys \['wieght'\]; expected .*"):
        FusarKlipConfig(**arguments)


@pytest.mark.parametrize(
    ("kind", "wrong", "said"),
    [
        (LossesConfig, {"itc": -1}, "losses_config.itc: found -1, expected 0 or a positive number"),
        (LossesConfig, {"mask_part": 1.5}, r"losses_config.mask_part: found 1.5, expected a number within \[0, 1\]"),
        (LossesConfig, {"itm": float("nan")}, "losses_config.itm: found nan"),
        (LossesConfig, {"momentum": 2.0}, "losses_config.momentum: found 2.0"),
        (LossesConfig, {"momentum": 0.9, "contrastive": "sigmoid"}, "losses_config.momentum: found 0.9, expected None"),
        (GeographyConfig, {"drop_all": 2}, "geography_config.drop_all: found 2, expected a probability"),
        (GeographyConfig, {"sensors": ["A", "A"]}, "geography_config.sensors: found .*, expected names that differ"),
        (GeographyConfig, {"resolution_octaves": 0}, "geography_config.resolution_octaves: found 0"),
        (TlmConfig, {"sigma": 0.0}, "tlm_config.sigma: found 0.0, expected a positive number"),
    ],
)
def test_values_out_of_range_are_named(kind: type, wrong: dict[str, Any], said: str):
    with pytest.raises(StrictDataclassClassValidationError, match=said):
        kind(**wrong)


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (LossesConfig, {"contrastive": "triplet"}),
        (LossesConfig, {"queue_size": "long"}),
        (GeographyConfig, {"location": "both"}),
        (TlmConfig, {"fusion": "film"}),
    ],
)
def test_unknown_choices_are_rejected(kind: type, wrong: dict[str, Any]):
    with pytest.raises(StrictDataclassFieldValidationError, match=next(iter(wrong))):
        kind(**wrong)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"geography_layer": 3}, "geography_layer: found 3, expected 0 to 2"),
        ({"mask_token_id": 1000}, "mask_token_id: found 1000, expected one of"),
        ({"max_text_tokens": 33}, "max_text_tokens: found 33, expected 3 to text_config.max_position_embeddings, 32"),
        (
            {"vision_config": {"image_size": [24, 12]}},
            r"vision_config.image_size: found \[24, 12\], expected one number",
        ),
    ],
)
def test_sizes_that_do_not_fit_are_named(wrong: dict[str, Any], said: str):
    with pytest.raises(StrictDataclassClassValidationError, match=said):
        tiny_klip_config(**wrong)


def test_round_trip_through_a_file(tmp_path: Path):
    config = tiny_klip_config(
        tlm_config={"sigma": 3.5, "fusion": "concat"},
        geography_config={"sensors": ["A", "B"], "location": "token"},
        losses_config={"contrastive": "sigmoid", "itm": 0.5, "queue_size": 64},
    )
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert isinstance(loaded, FusarKlipConfig) and loaded.to_diff_dict() == config.to_diff_dict()
    assert isinstance(loaded.tlm, TlmConfig) and isinstance(loaded.losses, LossesConfig)
    assert loaded.geography.sensors == ["A", "B"]


def test_a_folder_of_another_kind_is_refused(tmp_path: Path):
    CLIPConfig().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="model_type: found 'clip', expected 'fusarklip' or 'blip'"):
        FusarKlipConfig.from_pretrained(tmp_path)
