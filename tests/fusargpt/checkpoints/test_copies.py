"""The checkpoints that travel with the package."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoTokenizer

import modeling_fusargpt
import modeling_fusarklip
from fusargpt.checkpoints import DEFAULT, KLIP_NANO, MINI, NANO, NANO_BACKBONE, NANO_SSDD, SHIPPED, shipped
from fusargpt.embedding.embedder import Embedder
from fusargpt.errors import InputError
from fusargpt.inference.loading import load
from fusargpt.simulator.records import SPLIT_SEEDS, scene_fields
from fusargpt.simulator.simulated_scene import simulate_scene
from fusargpt.tasks.prompts import prompt
from tests.paths import ROOT
from trl_recipes.model.checkpoint import load_model
from trl_recipes.recipe_file import recipe_path

CODE = Path(modeling_fusargpt.__file__).parent
MODULES = [
    "adapters.py",
    "artefacts.py",
    "configuration_fusargpt.py",
    "modeling_fusargpt.py",
    "prepared.py",
    "processing_fusargpt.py",
    "tlm.py",
    "transformers_release.py",
    "windows.py",
]


@pytest.mark.parametrize("folder", [MINI, NANO, NANO_SSDD, NANO_BACKBONE], ids=lambda folder: folder.name)
@pytest.mark.parametrize("name", MODULES)
def test_its_code_is_the_packages(folder: Path, name: str) -> None:
    assert (folder / name).read_text() == (CODE / name).read_text(), (
        f"{folder / name} differs from modeling_fusargpt/{name}; copy the latter over it"
    )


def test_the_code_of_fusarklip_nano_is_the_packages_and_it_stays_small() -> None:
    code = Path(modeling_fusarklip.__file__).parent
    # What only training uses stays behind.
    names = sorted({path.name for path in code.glob("*.py")} - {"__init__.py", "two_pass.py"})
    assert sorted(path.name for path in KLIP_NANO.glob("*.py")) == names
    for name in names:
        assert (KLIP_NANO / name).read_text() == (code / name).read_text(), f"copy modeling_fusarklip/{name} over it"
    assert sum(path.stat().st_size for path in KLIP_NANO.iterdir() if path.suffix in (".safetensors", ".json")) < 15e6


def test_fusarklip_nano_tells_water_from_land_by_contrast_and_by_matching() -> None:
    embedder = Embedder.load(KLIP_NANO, "cpu")
    scenes = [simulate_scene(SPLIT_SEEDS["test"] + seed) for seed in range(24)]
    pictures = [scene_fields(scene)["image"].convert("RGB") for scene in scenes]
    at_sea = np.array([scene.kind == "sea" for scene in scenes])
    of_sea, of_land = "Nothing but water is seen.", "The terrain is mostly crops (70%) and trees (30%)."
    shown = embedder.images(pictures)
    sea, land = embedder.texts([of_sea, of_land])
    matched = [embedder.match(pictures, None, [text] * len(pictures)) for text in (of_sea, of_land)]
    for scores in (shown @ (sea - land), matched[0] - matched[1]):
        assert scores[at_sea].min() > np.median(scores[~at_sea])


@pytest.mark.parametrize("folder", [MINI, NANO, NANO_BACKBONE], ids=lambda folder: folder.name)
def test_it_brings_no_other_code_and_stays_small(folder: Path) -> None:
    assert sorted(path.name for path in folder.glob("*.py")) == MODULES
    size = sum(path.stat().st_size for path in folder.iterdir() if path.suffix in (".safetensors", ".json"))
    assert size < (30e6 if folder == MINI else 20e6)


@pytest.mark.parametrize("folder", [MINI, NANO, NANO_SSDD, NANO_BACKBONE], ids=lambda folder: folder.name)
def test_plain_transformers_pads_questions_on_the_left(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    short, long = tokenizer(["How many?", "How many ships are there?"], padding=True)["attention_mask"]
    assert short[0] == 0 and short[-1] == 1 and all(long)


@pytest.mark.parametrize("folder", [MINI, NANO], ids=lambda folder: folder.name)
def test_its_tlm_has_been_trained(folder: Path) -> None:
    assert load(folder).model.model.tlm.output_projection.weight.any()


def test_without_a_name_mini_is_loaded_and_sees_any_image_as_a_square_of_336_pixels() -> None:
    model = load()
    assert DEFAULT == MINI and model.seen_size(Image.new("RGB", (500, 350))) == (336, 336)
    assert model.model.num_parameters() < 25e6
    assert model.coarsest_pixel_m == 10 and model.decibel_limits("VV") == (-25, 0)
    assert model.answer(Image.new("RGB", (500, 350)), prompt("count", "ship")).isdigit()


def test_the_adapter_is_one_of_nanos_language_model_and_stays_small() -> None:
    assert json.loads((NANO_SSDD / "adapter_config.json").read_text())["base_model_name_or_path"] == "../fusargpt-nano"
    assert sum(path.stat().st_size for path in NANO_SSDD.iterdir()) < 3e6
    tuned, plain = (load_model(str(folder)).state_dict() for folder in (NANO_SSDD, NANO))
    assert tuned.keys() == plain.keys()
    changed = {name for name, value in tuned.items() if not torch.equal(value, plain[name])}
    assert len(changed) == 6 * 7 and all(".language_model.layers." in name for name in changed)


def test_the_adapter_answers_about_any_image_as_a_square() -> None:
    model = load(NANO_SSDD)
    assert model.seen_size(Image.new("RGB", (500, 350))) == (168, 168)
    assert model.answer(Image.new("RGB", (500, 350)), prompt("count", "ship")).isdigit()


def test_what_is_shipped_is_named_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert shipped("fusargpt-nano") == str(NANO) and shipped("owner/name") == "owner/name"
    assert all((folder / "README.md").is_file() for folder in SHIPPED.values())
    assert load("fusargpt-nano").seen_size(Image.new("RGB", (168, 168))) == (168, 168)
    for name in ("nano/stage2", "nano/stage2.yaml", "trl_recipes/nano/stage2.yaml"):
        assert recipe_path(name) == str(ROOT / "trl_recipes" / "nano" / "stage2.yaml")
    with pytest.raises(InputError, match=r"\.\./pyproject: no such recipe"):
        recipe_path("../pyproject")
    # A folder of the user's own wins.
    (tmp_path / "fusargpt-nano").mkdir()
    assert shipped("fusargpt-nano") == "fusargpt-nano"
