"""Towers of models: FUSAR-KLIP, CLIP, any vision model, and open_clip behind its extra."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import BlipVisionConfig, BlipVisionModel, ViTConfig, ViTModel
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from fusargpt.checkpoints import KLIP_NANO
from fusargpt.errors import InputError
from fusargpt.foundation.arms import given
from fusargpt.foundation.entries import DUAL_ENCODER, FUSARKLIP, VISION, enter
from fusargpt.foundation.load import Towers, load_tower
from fusargpt.foundation.towers.fusarklip import FusarKlipTower, SentenceEnds
from fusargpt.tasks.part_texts import BEGINNINGS
from modeling_fusarklip import FusarKlipProcessor
from tests.fusargpt.foundation.known_places import known
from tests.modeling_fusarklip.tiny_klip import stir_klip, tiny_klip, tiny_klip_processor
from tests.tiny_clip import save_tiny_clip

VIEWS = [place.view for place in known("test")[:5]]
TEXTS = ["two ships in the north", "forest", "no roads"]


@pytest.fixture(scope="module")
def klip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("klip")
    model = tiny_klip()
    stir_klip(model)
    model.save_pretrained(folder)
    tiny_klip_processor().save_pretrained(folder)
    return folder


def test_fusarklip_has_all_arms_and_random_weights_beside(klip: Path) -> None:
    entries = enter(str(klip), ["random"], ["true", "none", "blind"])
    assert [(entry.kind, entry.arm, entry.speaks, entry.matches) for entry in entries[:-1]] == [
        (FUSARKLIP, "true", True, True),
        (FUSARKLIP, "none", True, True),
        (FUSARKLIP, "blind", True, True),
        (f"random {FUSARKLIP}", "true", True, True),
        (f"random {FUSARKLIP}", "none", True, True),
    ]
    assert len({entry.label for entry in entries}) == len(entries)
    towers = Towers("cpu")
    trained, random = (towers.get(entries[index]).features(VIEWS) for index in (0, 3))
    assert trained.embeddings.shape == random.embeddings.shape
    assert not np.allclose(trained.embeddings, random.embeddings, atol=0.01)


def test_a_model_of_the_package_is_named_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    entry, _ = enter("fusarklip-nano", [], ["none"])
    assert entry.model == "fusarklip-nano", "outputs hold no path of this copy"
    assert Towers("cpu").get(entry).features(VIEWS).embeddings.shape == (5, 64)


def test_fusarklip_is_shown_prior_and_acquisition(klip: Path) -> None:
    tower = FusarKlipTower.load(str(klip), "cpu", random=False)
    features = tower.features(VIEWS)
    assert features.tokens.shape == (5, 6, 6, 32)
    assert features.embeddings.shape == (5, 16) and features.pooled.shape == (5, 48)
    assert np.linalg.norm(features.embeddings, axis=1) == pytest.approx(1, abs=1e-5)
    assert np.linalg.norm(tower.texts(TEXTS), axis=1) == pytest.approx(1, abs=1e-5)
    for arm in ("none", "shuffled", "blind"):
        assert not np.allclose(tower.features(given(VIEWS, arm, 0)).embeddings, features.embeddings, atol=1e-4)
    assert tower.resize == "24 x 24, the whole picture"


def test_a_view_is_seen_once_and_matched_as_the_model_matches(klip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tower = FusarKlipTower.load(str(klip), "cpu", random=False)
    pairs = [(view, text) for view in VIEWS for text in TEXTS]
    seen: list[int] = []
    look = tower._tokens  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(tower, "_tokens", lambda views: (seen.append(len(views)), look(views))[1])
    matched = tower.match([view for view, _ in pairs], [text for _, text in pairs])
    assert seen == [len(VIEWS)]
    alone = np.concatenate([tower.match([view], [text]) for view, text in pairs])
    assert matched == pytest.approx(alone, abs=1e-5)
    assert len({round(float(value), 5) for value in matched}) > len(VIEWS)


def test_a_sentence_goes_on_up_to_its_full_stop() -> None:
    tower = FusarKlipTower.load(str(KLIP_NANO), "cpu", random=False)
    said = tower.go_on(VIEWS, BEGINNINGS["target_count"])
    assert all(text and "." not in text and "the image holds" not in text.lower() for text in said)
    assert [tower.go_on([view], BEGINNINGS["target_count"])[0] for view in VIEWS] == said
    processor = FusarKlipProcessor.from_pretrained(str(KLIP_NANO))
    for text, ends in (("ships. one", True), ("1.5 km", False), ("ships.", False), ("1.5 km. one", True)):
        ids = processor(text=[f"two {text}"])["input_ids"][:, :-1]
        assert SentenceEnds(processor, 2)(ids, ids.float()).tolist() == [ends], text


def test_texts_that_are_too_long_are_said(klip: Path) -> None:
    tower = FusarKlipTower.load(str(klip), "cpu", random=False)
    with pytest.raises(InputError, match="expected 32 at most"):
        tower.texts(["ship " * 40])


def test_clip_is_asked_by_texts_and_gets_no_prior(tmp_path: Path) -> None:
    save_tiny_clip(tmp_path)
    (entry, _) = enter(str(tmp_path), [], ["true", "blind"])
    assert (entry.kind, entry.arm, entry.speaks, entry.matches) == (DUAL_ENCODER, "none", True, False)
    features = load_tower(entry, "cpu").features(VIEWS)
    assert features.embeddings.shape == (5, 16)
    assert features.pooled.shape == (5, 16 + 32)
    assert features.tokens.ndim == 4


def test_any_vision_model_gives_its_hidden_states(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=32, patch_size=8
    )
    ViTModel(config).save_pretrained(tmp_path)
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    (entry, _) = enter(str(tmp_path), [], ["true"])
    assert (entry.kind, entry.arm, entry.speaks) == (VISION, "none", False)
    tower = load_tower(entry, "cpu")
    features = tower.features(VIEWS)
    assert features.tokens.shape == (5, 4, 4, 16)
    # Mean of the patches, then the class token.
    assert features.pooled.shape == (5, 32)
    assert tower.resize == "its own processor's: 32 x 32"


def test_a_model_of_another_kind_is_said(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="the model cannot be loaded"):
        enter(str(tmp_path), [], ["true"])
    config = BlipVisionConfig(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
    BlipVisionModel(config).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="a model of type blip_vision_model; expected one of hand"):
        enter(str(tmp_path), [], ["true"])


def test_open_clip_models_are_used_as_the_package_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package brings torchvision and is not installed here: its functions are stood in for."""

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.visual = torch.nn.Module()
            self.visual.forward = lambda pixels: (pixels.mean((2, 3)), pixels.flatten(2).transpose(1, 2)[:, :17])

        def encode_text(self, tokens: torch.Tensor, normalize: bool) -> torch.Tensor:
            assert normalize
            return torch.nn.functional.normalize(tokens.float()[:, :3] + 1, dim=-1)

    class Tokenizer:
        context_length = 6

        def __call__(self, texts: list[str]) -> torch.Tensor:
            rows = [[1, *map(len, text.split()), 2][:6] for text in texts]
            return torch.tensor([row + [0] * (6 - len(row)) for row in rows])

    def preprocess(picture: object) -> torch.Tensor:
        return torch.from_numpy(np.asarray(picture, np.float32)[:24, :24].transpose(2, 0, 1) / 255 + 0.1)

    package = SimpleNamespace(
        create_model_and_transforms=lambda architecture, pretrained: (Model(), None, preprocess),
        get_tokenizer=lambda architecture: Tokenizer(),
    )
    monkeypatch.setitem(__import__("sys").modules, "open_clip", package)
    (entry, _) = enter("open_clip:ViT-B-32/openai", [], ["true"])
    tower = load_tower(entry, "cpu")
    features = tower.features(VIEWS)
    assert features.embeddings.shape == (5, 3)
    assert features.tokens.shape == (5, 4, 4, 3)
    assert tower.texts(["two ships"]).shape == (1, 3)  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="longer than the 6 tokens"):
        tower.texts(["two ships in the far north"])  # type: ignore[attr-defined]
    for name, said in (("ViT-B-32", "expected open_clip:ARCHITECTURE/WEIGHTS"), ("ViT/a.pt", "weights in a pickle")):
        with pytest.raises(InputError, match=said):
            load_tower(enter(f"open_clip:{name}", [], ["true"])[0], "cpu")
