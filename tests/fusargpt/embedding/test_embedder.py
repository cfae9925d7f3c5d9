"""Models as embedders: FUSAR-KLIP, and a CLIP of transformers; what they refuse."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fusargpt.checkpoints import NANO
from fusargpt.embedding import model_folder
from fusargpt.embedding.embedder import Embedder
from fusargpt.errors import InputError
from fusargpt.geo.acquisition import Acquisition
from fusargpt.geo.prior import Prior
from fusargpt.inference.loading import load
from tests.modeling_fusarklip.tiny_klip import stir_klip, tiny_klip, tiny_klip_processor
from tests.tiny import random_image, random_prior
from tests.tiny_clip import LONGEST, save_tiny_clip


@pytest.fixture(scope="module")
def klip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "klip"
    model = tiny_klip()
    stir_klip(model)
    model.save_pretrained(folder)
    tiny_klip_processor().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_clip(tmp_path_factory.mktemp("models") / "clip")


def prior(seed: int = 0) -> Prior:
    arrays = random_prior(6, seed)
    return Prior(arrays["prior_embeddings"], arrays["prior_positions"])


PICTURES = [random_image(40, 30, seed) for seed in range(3)]


@pytest.mark.parametrize("kind", ["klip", "clip"])
def test_images_and_texts_are_unit_vectors_of_one_space(kind: str, request: pytest.FixtureRequest):
    embedder = Embedder.load(request.getfixturevalue(kind), "cpu")
    images, texts = embedder.images(PICTURES), embedder.texts(["no ships", "water"])
    assert images.shape == (3, 16) and texts.shape == (2, 16) and images.dtype == texts.dtype == np.float32
    for vectors in (images, texts):
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    # A batch is what its parts are.
    assert np.allclose(embedder.images(PICTURES[1:2]), images[1:2], atol=1e-5)
    assert np.allclose(embedder.texts(["water"]), texts[1:], atol=1e-5)
    patches = embedder.patches(PICTURES)
    assert patches.shape[0] == 3 and patches.shape[1] == patches.shape[2] == embedder.side // (
        4 if kind == "klip" else 8
    )


def test_vectors_are_those_of_the_model(klip: Path):
    embedder = Embedder.load(klip, "cpu")
    model, processor = tiny_klip(), tiny_klip_processor()
    stir_klip(model)
    with torch.inference_mode():
        logits = model(**processor(images=PICTURES, text=["two ships", "forest"])).logits_per_image
    cosines = embedder.images(PICTURES) @ embedder.texts(["two ships", "forest"]).T
    assert np.allclose(logits, embedder.scale * cosines, atol=1e-4)


def test_prior_and_acquisition_change_what_klip_sees(klip: Path):
    embedder = Embedder.load(klip, "cpu")
    alone = embedder.images(PICTURES)
    with_prior = embedder.images(PICTURES, [prior(), None, None])
    assert not np.allclose(with_prior[0], alone[0], atol=1e-4) and np.allclose(with_prior[1:], alone[1:], atol=1e-5)
    known = Acquisition(resolution_m=5.0, sensor="Sentinel-1A", polarization="VV")
    told = embedder.images(PICTURES, None, [None, known, Acquisition(sensor="a sensor that it was not told of")])
    assert not np.allclose(told[1], alone[1], atol=1e-4) and np.allclose(told[[0, 2]], alone[[0, 2]], atol=1e-5)


def test_matching_is_a_probability_of_each_pair(klip: Path):
    embedder = Embedder.load(klip, "cpu")
    matches = embedder.match(PICTURES, [prior(), None, None], ["ships", "water", "ships"])
    assert matches.shape == (3,) and ((matches > 0) & (matches < 1)).all()
    assert embedder.match(PICTURES[1:2], None, ["water"])[0] == pytest.approx(matches[1], abs=1e-5)


def test_a_head_that_was_not_trained_matches_nothing(tmp_path: Path):
    tiny_klip(losses_config={"itm": 0.0}).save_pretrained(tmp_path)
    tiny_klip_processor().save_pretrained(tmp_path)
    embedder = Embedder.load(tmp_path, "cpu")
    assert not embedder.can_match
    with pytest.raises(InputError, match="trained without matching"):
        embedder.match(PICTURES[:1], None, ["water"])


def test_clip_sees_the_image_alone_and_matches_nothing(clip: Path):
    embedder = Embedder.load(clip, "cpu")
    assert not embedder.takes_prior and not embedder.can_match
    with pytest.raises(InputError, match="this model sees the image alone"):
        embedder.images(PICTURES, [prior(), None, None])
    with pytest.raises(InputError, match="no head that matches"):
        embedder.match(PICTURES[:1], None, ["water"])


@pytest.mark.parametrize("kind", ["klip", "clip"])
def test_texts_that_say_nothing_or_too_much_are_refused(kind: str, request: pytest.FixtureRequest):
    embedder = Embedder.load(request.getfixturevalue(kind), "cpu")
    with pytest.raises(InputError, match=r"tokens, but the model reads \d+ at most; shorten 'water water"):
        embedder.texts(["water " * 40])
    for text, said in (
        (" ", "found an empty one"),
        ("zebra crossing", "knows no word of 'zebra crossing'"),
        ("ships\udce9", r"text: found \\udce9 at character 6, half of a character"),
    ):
        with pytest.raises(InputError, match=said):
            embedder.texts([text])
    with pytest.raises(InputError, match="there are none"):
        embedder.texts([])
    assert embedder.unknown_words("no zebra zebra ships") == ["zebra"]
    assert embedder.texts(["water " * (LONGEST - 2)]).shape == (1, 16)


def test_images_have_to_be_rgb_of_8_bit(klip: Path):
    embedder = Embedder.load(klip, "cpu")
    for mode in ("L", "I;16"):
        with pytest.raises(InputError, match="image: found a picture of mode"):
            embedder.images([Image.new(mode, (30, 30))])
    with pytest.raises(ValueError, match="found 3 images and 2 priors"):
        embedder.images(PICTURES, [None, None])


def test_a_fingerprint_is_of_the_weights_and_not_of_the_place(klip: Path, clip: Path, tmp_path: Path):
    again, other = tmp_path / "again", tmp_path / "other"
    save_tiny_clip(again)
    save_tiny_clip(other, seed=1)
    assert model_folder.fingerprint(str(again)) == model_folder.fingerprint(str(clip))
    assert len({model_folder.fingerprint(str(folder)) for folder in (clip, klip, other)}) == 3


def test_a_model_of_the_other_kind_is_told_what_it_is(klip: Path):
    with pytest.raises(InputError, match=r"of type fusargpt \(it answers questions: .*\); expected one that embeds"):
        Embedder.load(NANO)
    with pytest.raises(InputError, match=r"a model of type fusarklip \(it embeds: fusargpt embed, search"):
        load(klip)


def test_a_model_that_is_not_there_or_damaged_is_one_line(klip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(InputError, match="no such model folder"):
        Embedder.load(tmp_path / "none" / "here")
    missing = tmp_path / "fusarklip-nano"
    monkeypatch.setattr(model_folder, "KLIP_NANO", missing)
    with pytest.raises(InputError, match=r"^fusarklip-nano is not in this copy of the package; name a FUSAR-KLIP"):
        Embedder.load(missing)
    (tmp_path / "damaged").mkdir()
    for file in klip.iterdir():
        (tmp_path / "damaged" / file.name).write_bytes(file.read_bytes()[:-200])
    with pytest.raises(InputError, match="damaged: the model cannot be loaded"):
        Embedder.load(tmp_path / "damaged")
    # A tokenizer that cannot fill up a batch is told when it is loaded, not after the tiles of a scene.
    shutil.copytree(klip, tmp_path / "unfilled")
    path = tmp_path / "unfilled" / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "pad_token": None}))
    with pytest.raises(InputError, match=r"unfilled: the model cannot be loaded: .*padding token"):
        Embedder.load(tmp_path / "unfilled")
