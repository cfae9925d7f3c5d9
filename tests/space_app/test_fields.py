import numpy as np
import pytest

from fusargpt.alphaearth.field import PUBLISHED_ROOTS, AlphaEarth
from fusargpt.errors import InputError
from fusargpt.geo.prior import load_prior
from fusargpt.inference.predict import FusarGpt
from space_app.fields import EXAMPLES, SIMULATED, VARIABLE, fetch_anchors, offered_roots, open_fields
from space_app.scenes import read_scene


def test_the_published_fields_and_the_examples_are_offered(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert offered_roots() == {SIMULATED: str(EXAMPLES / "aef"), **PUBLISHED_ROOTS}


def test_a_variable_replaces_the_list(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(VARIABLE, "Ours = s3://bucket/folder ; Near=/data/aef")
    assert offered_roots() == {"Ours": "s3://bucket/folder", "Near": "/data/aef"}
    monkeypatch.setenv(VARIABLE, "")
    assert offered_roots() == {}


@pytest.mark.parametrize(
    ("value", "message"), [("s3://bucket", "expected name=root"), ("a=b;a=c", "stands there twice")]
)
def test_a_variable_that_cannot_be_read_is_refused(monkeypatch: pytest.MonkeyPatch, value: str, message: str):
    monkeypatch.setenv(VARIABLE, value)
    with pytest.raises(InputError, match=message):
        offered_roots()


@pytest.fixture
def fields():
    return open_fields({SIMULATED: str(EXAMPLES / "aef")})


def test_the_examples_priors_are_what_the_field_holds(predictor: FusarGpt, fields: dict[str, AlphaEarth]):
    for name in ("harbour", "airfield", "inland"):
        scene = read_scene(predictor, str(EXAMPLES / f"{name}.tif"))
        fetched, kept = fetch_anchors(fields, SIMULATED, scene, 2024, 8), load_prior(EXAMPLES / f"{name}.npz")
        np.testing.assert_array_equal(fetched.positions, kept.positions)
        np.testing.assert_allclose(fetched.embeddings, kept.embeddings, atol=0.01)


@pytest.mark.parametrize(
    ("name", "year", "per_side", "message"),
    [
        ("file:///etc", 2024, 8, "this page offers Simulated"),
        (None, 2024, 8, "this page offers Simulated"),
        (SIMULATED, None, 8, "Year: found None"),
        (SIMULATED, 2024.5, 8, "Year: found 2024.5"),
        (SIMULATED, 2024, 33, "Anchors a side: found 33; expected 1 to 32"),
        (SIMULATED, 2019, 8, f"not in the AlphaEarth field at {SIMULATED}; found 2024"),
    ],
)
def test_what_is_not_offered_is_refused_without_the_server_s_paths(
    predictor: FusarGpt, fields: dict[str, AlphaEarth], name: str, year: float | None, per_side: int, message: str
):
    scene = read_scene(predictor, str(EXAMPLES / "harbour.tif"))
    with pytest.raises(InputError) as caught:
        fetch_anchors(fields, name, scene, year, per_side)
    assert message in str(caught.value)
    assert str(EXAMPLES) not in str(caught.value)


def test_an_image_without_a_place_has_no_anchors_to_fetch(predictor: FusarGpt, fields: dict[str, AlphaEarth]):
    scene = read_scene(predictor, str(EXAMPLES / "harbour.png"))
    with pytest.raises(InputError, match="does not say where it lies; type its place"):
        fetch_anchors(fields, SIMULATED, scene, 2024, 8)
