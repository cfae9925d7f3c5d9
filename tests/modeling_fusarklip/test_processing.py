import math
from datetime import date
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from transformers import AutoProcessor

from modeling_fusarklip import FusarKlipProcessor
from tests.modeling_fusarklip.tiny_klip import IMAGE_SIZE, MAX_TOKENS, TOKENS, pictures, tiny_klip_processor
from tests.tiny import random_prior

PROCESSOR = tiny_klip_processor()


def test_what_is_not_given_is_not_returned():
    assert set(PROCESSOR(images=pictures(2))) == {"pixel_values"}
    assert set(PROCESSOR(text="forest")) == {"input_ids", "attention_mask"}
    together = PROCESSOR(images=pictures(1)[0], text=["two ships", "forest"])
    assert together["pixel_values"].shape == (1, 3, IMAGE_SIZE, IMAGE_SIZE)
    assert together["input_ids"].tolist() == [
        [TOKENS["[CLS]"], TOKENS["two"], TOKENS["ships"], TOKENS["[SEP]"]],
        [TOKENS["[CLS]"], TOKENS["forest"], TOKENS["[SEP]"], TOKENS["[PAD]"]],
    ]


def test_priors_are_batched_in_the_order_of_the_images():
    last = random_prior(5, seed=1)
    batch = PROCESSOR(images=pictures(3), priors=[random_prior(2), None, last])
    assert batch["prior_mask"].sum(1).tolist() == [2, 0, 5]
    torch.testing.assert_close(batch["prior_embeddings"][2], torch.from_numpy(last["prior_embeddings"]))


def test_geography_becomes_codes_and_0_where_it_is_unknown():
    told: list[dict[str, object] | None] = [
        {"sensor": "sentinel-1b", "polarization": "VH", "acquired": "2024-06-30", "resolution_m": 10},
        {"sensor": "Gaofen-3", "polarization": "", "acquired": date(2020, 1, 2)},
        None,
        {"sensor": None, "acquired": "2023-12-01T10:00:00Z", "lon": 5.0, "lat": 50.0},
    ]
    batch = PROCESSOR(images=pictures(4), geography=told)
    assert batch["sensor"].tolist() == [1, 2, 0, 0] and batch["polarization"].tolist() == [3, 0, 0, 0]
    assert batch["month"].tolist() == [6, 1, 0, 12]
    assert batch["resolution_m"].tolist() == [10, 0, 0, 0]
    assert "location" not in batch  # off by default


def test_the_resolution_is_that_of_the_image_as_the_tower_sees_it():
    wide = Image.new("RGB", (IMAGE_SIZE * 4, IMAGE_SIZE))
    batch = PROCESSOR(images=[wide, *pictures(1)], geography=[{"resolution_m": 3.0}] * 2)
    assert batch["resolution_m"].tolist() == [6, 3]


@given(st.floats(-180, 180), st.floats(-90, 90))
def test_a_location_is_a_unit_vector_or_a_sentence_never_both(lon: float, lat: float):
    told = [{"lon": lon, "lat": lat}, None]
    vector, nothing = tiny_klip_processor(location="token")(images=pictures(2), geography=told)["location"]
    x, y, z = vector.tolist()
    assert math.hypot(x, y, z) == pytest.approx(1, abs=1e-5) and not nothing.any()
    assert math.degrees(math.asin(max(-1, min(1, z)))) == pytest.approx(lat, abs=0.05)
    if abs(lat) < 89:
        assert math.cos(math.radians(lon) - math.atan2(y, x)) == pytest.approx(1, abs=1e-4)
    processor = tiny_klip_processor(location="text")
    batch = processor(images=pictures(2), text=["forest", "forest"], geography=told)
    assert "location" not in batch
    said = processor.tokenizer.decode(batch["input_ids"][0], skip_special_tokens=True)
    assert said.startswith("at") and said.endswith("forest") and ("south" in said) == (lat < 0)
    assert batch["attention_mask"][1].sum() == 3


def test_coordinates_never_stand_on_both_sides():
    located = "At 121.50 degrees east, 31.20 degrees north. two ships"
    with pytest.raises(
        ValueError, match=r"text\[1\]: found coordinates in the text, expected none; location is 'token'"
    ):
        tiny_klip_processor(location="token")(text=["forest", located])
    with pytest.raises(ValueError, match="geography: found 2 entries for 1 texts"):
        tiny_klip_processor(location="text")(
            images=pictures(2), text="forest", geography=[{"lon": 1.0, "lat": 2.0}] * 2
        )


def test_spans_and_counterfactuals_move_with_the_sentence_of_a_place():
    processor = tiny_klip_processor(location="text")
    batch = processor(
        images=pictures(1),
        text="two ships",
        geography=[{"lon": 1.0, "lat": 2.0}],
        spans=[[(8, 0, 9)]],
        counterfactuals=["three ships"],
    )
    parts, ids = batch["part_ids"][0], batch["input_ids"][0]
    assert ids[parts == 9].tolist() == [TOKENS["two"], TOKENS["ships"]] and set(parts.tolist()) == {0, 9}
    false = batch["counterfactual_input_ids"][0]
    assert (false != ids).nonzero()[:, 0].tolist() == (ids == TOKENS["two"]).nonzero()[-1].tolist()


def test_counterfactuals_are_rows_of_their_own():
    batch = PROCESSOR(images=pictures(3), text=["one ship"] * 3, counterfactuals=[None, "two ships", None])
    assert batch["counterfactual_attention_mask"].sum(1).tolist() == [0, 4, 0]
    assert "counterfactual_input_ids" not in PROCESSOR(text="one ship", counterfactuals=[None])


def row(**more: Any) -> dict[str, Any]:
    prior = random_prior(4)
    return {
        "image": pictures(1)[0],
        **prior,
        "sensor": "Sentinel-1A",
        "polarization": "VV",
        "resolution_m": 5.0,
        "acquired": "2024-06-30",
        "bounds": [10.0, 50.0, 10.1, 50.1],
        "crs": "EPSG:4326",
        **more,
    }


def test_records_are_read_directly():
    written = BytesIO()
    pictures(1)[0].save(written, "PNG")
    rows = [
        row(),
        row(image={"bytes": written.getvalue(), "path": None}, sensor="a balloon", acquired="", resolution_m=None),
        row(prior_embeddings=None, prior_positions=None, polarization=""),
    ]
    batch = PROCESSOR.from_rows(rows, ["forest"] * 3)
    assert torch.equal(batch["pixel_values"][0], batch["pixel_values"][1])
    assert batch["prior_mask"].sum(1).tolist() == [4, 4, 0]
    assert batch["sensor"].tolist() == [1, 0, 1] and batch["month"].tolist() == [6, 0, 6]
    assert batch["resolution_m"].tolist() == [5, 0, 5] and batch["polarization"].tolist() == [4, 4, 0]
    one = PROCESSOR.from_row(row(), ["forest", "two ships"])
    assert one["pixel_values"].shape[0] == 1 and one["input_ids"].shape[0] == 2
    located = tiny_klip_processor(location="token").from_row(row())["location"]
    assert located[0, 2].item() == pytest.approx(math.sin(math.radians(50.05)), abs=1e-6)


DEEP = Image.fromarray(np.zeros((8, 8), np.uint16))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"images": []}, "images: found none, expected one or more"),
        ({"images": [np.zeros((8, 8, 3), np.uint8)]}, r"images\[0\]: found ndarray, expected a PIL image"),
        ({"images": [DEEP]}, "images: found a picture of mode I;16, expected 8 bit"),
        ({"images": None, "text": None}, "images, text: found neither"),
        ({"text": ["forest", "  "]}, r"text\[1\]: found '  ', expected a text that says something"),
        ({"text": ["forest", None]}, r"text\[1\]: found NoneType, expected a text"),
        ({"text": "ships " * MAX_TOKENS}, r"text\[0\]: found 34 tokens, expected 32 at most; .* never cut"),
        ({"priors": [None]}, "priors: found 1 entries, expected one for each of the 2 images"),
        ({"priors": [None, {"embeddings": []}]}, r"priors\[1\]: found \['embeddings'\], expected None or a mapping"),
        ({"geography": [None]}, "geography: found 1 entries"),
        ({"geography": [None, {"longitude": 3}]}, r"geography\[1\]: found \['longitude'\], expected None or a mapping"),
        (
            {"geography": [{"lon": 181.0, "lat": 0.0}, None]},
            r"geography\[0\]\['lon'\]: found 181, expected degrees east",
        ),
        ({"geography": [{"lon": 0.0, "lat": -90.5}, None]}, r"geography\[0\]\['lat'\]: found -90.5"),
        ({"geography": [{"lon": math.nan, "lat": 0.0}, None]}, r"geography\[0\]\['lon'\]: found nan"),
        ({"geography": [{"lon": 3.0}, None]}, r"geography\[0\]: found one of lon and lat, expected both"),
        ({"geography": [{"resolution_m": 0}, None]}, r"geography\[0\]\['resolution_m'\]: found 0, expected"),
        ({"geography": [{"resolution_m": math.inf}, None]}, r"geography\[0\]\['resolution_m'\]: found inf"),
        ({"geography": [{"resolution_m": "5 m"}, None]}, r"geography\[0\]\['resolution_m'\]: found '5 m'"),
        (
            {"geography": [{"sensor": "Landsat-8"}, None]},
            r"geography\[0\]\['sensor'\]: found 'Landsat-8', expected None",
        ),
        ({"geography": [{"polarization": "XX"}, None]}, r"geography\[0\]\['polarization'\]: found 'XX'"),
        ({"geography": [{"acquired": "June"}, None]}, r"geography\[0\]\['acquired'\]: found 'June', expected a date"),
        ({"image_facts": np.zeros((2, 8), int)}, r"image_facts: found shape \[2, 8\] of int64, expected integers"),
        ({"text_facts": np.zeros((2, 16))}, r"text_facts: found shape \[2, 16\] of float64"),
        ({"part_weights": np.ones((1, 16))}, r"part_weights: found shape \[1, 16\]"),
        ({"spans": [[]]}, "spans: found 1 entries, expected one for each of the 2 texts"),
        ({"spans": [[(16, 0, 3)], []]}, r"spans\[0\]: found \(16, 0, 3\), expected \(dimension 0 to 15"),
        ({"spans": [[(0, 0, 30)], []]}, r"spans\[0\]: found \(0, 0, 30\), .* a text of 6 characters"),
        ({"counterfactuals": [None]}, "counterfactuals: found 1 entries"),
        ({"counterfactuals": ["", None]}, r"text\[0\]: found ''"),
        ({"return_tensors": "np"}, "return_tensors: found 'np'"),
    ],
)
def test_bad_input_is_named_in_a_line(wrong: dict[str, Any], said: str):
    asked: dict[str, Any] = {"images": pictures(2), "text": ["forest", "port"], **wrong}
    with pytest.raises(ValueError, match=said) as error:
        PROCESSOR(**asked)
    assert "\n" not in str(error.value)


def test_unknown_arguments_are_refused():
    with pytest.raises(TypeError, match="prior"):
        PROCESSOR(images=pictures(1), prior=[None])  # pyright: ignore[reportCallIssue]
    with pytest.raises(ValueError, match="location: found 'both', expected 'off'"):
        tiny_klip_processor(location="both")
    with pytest.raises(ValueError, match=r"rows\[0\]\['image'\]: found NoneType, expected a PIL image"):
        PROCESSOR.from_row({"sensor": ""})


def test_round_trip_through_a_folder(tmp_path: Path):
    processor = tiny_klip_processor(sensors=["A", "B"], location="token", max_text_tokens=20)
    processor.save_pretrained(tmp_path)
    loaded = AutoProcessor.from_pretrained(tmp_path)
    assert isinstance(loaded, FusarKlipProcessor)
    assert (loaded.sensors, loaded.location, loaded.max_text_tokens) == (["A", "B"], "token", 20)
    asked: dict[str, Any] = {
        "images": pictures(1),
        "text": "two ships",
        "geography": [{"sensor": "B", "lon": 1, "lat": 2}],
    }
    ours, again = processor(**asked), loaded(**asked)
    assert set(ours) == set(again) and all(torch.equal(ours[name], again[name]) for name in ours)
