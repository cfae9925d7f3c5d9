"""A saved folder works by `trust_remote_code` in a process that has never seen the package."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

from modeling_fusargpt import AnyFusarGpt
from tests.tiny import (
    Backbone,
    question,
    random_image,
    random_prior,
    stir_tlm,
    tiny_inputs,
    tiny_model,
    tiny_processor,
)

READ = """
import json, sys

sys.modules["modeling_fusargpt"] = None  # any import of the package fails from here on
try:
    import modeling_fusargpt
except ImportError:
    pass
else:
    raise AssertionError("the package is importable")

import numpy as np
import torch
from PIL import Image
from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText, AutoProcessor

arrays, *folders = sys.argv[1:]
torch.set_num_threads(1)
with np.load(arrays) as stored:
    prior = {name: stored[name] for name in ("prior_embeddings", "prior_positions")}
    image, text = Image.fromarray(stored["image"]), str(stored["text"])
for folder in folders:
    config = AutoConfig.from_pretrained(folder, trust_remote_code=True)
    processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
    inner = AutoModel.from_pretrained(folder, trust_remote_code=True)
    model = AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=True)
    inputs = processor(images=[image], text=[text], priors=[prior], return_tensors="pt")
    with torch.no_grad():
        logits = model(**inputs).logits
        hidden = inner(**inputs).last_hidden_state
    model.save_pretrained(folder + "-again")
    processor.save_pretrained(folder + "-again")
    np.savez(folder + "-again/results.npz", logits=logits.numpy(), hidden=hidden.numpy())
    classes = {type(part).__name__: type(part).__module__ for part in (config, processor, inner, model)}
    print(json.dumps(classes))
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory):
    """A folder with a folder for each backbone, and the models in them."""
    folder, models = tmp_path_factory.mktemp("saved"), {}
    for backbone in get_args(Backbone):
        models[backbone] = tiny_model(backbone=backbone)
        stir_tlm(models[backbone])
        models[backbone].save_pretrained(folder / backbone)
        tiny_processor().save_pretrained(folder / backbone)
    return folder, models


@pytest.fixture(scope="module")
def classes_elsewhere(
    saved: tuple[Path, dict[str, AnyFusarGpt]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, str]]:
    """Modules by class, of what another process has loaded from each folder; starting one takes long."""
    folder, models = saved
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    prior, image = random_prior(6), random_image(32, 48)
    arrays: dict[str, Any] = {"image": np.asarray(image), "text": question(), **prior}
    np.savez(elsewhere / "arrays.npz", **arrays)
    environment = {"HF_HOME": str(elsewhere / "hf_home"), "HF_HUB_OFFLINE": "1", "PATH": os.environ["PATH"]}
    finished = subprocess.run(
        [sys.executable, "-I", "-c", READ, str(elsewhere / "arrays.npz"), *(str(folder / name) for name in models)],
        cwd=elsewhere,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert finished.returncode == 0, finished.stderr
    read = [json.loads(line) for line in finished.stdout.splitlines() if line.startswith("{")]
    return dict(zip(models, read, strict=True))


def test_a_saved_folder_carries_its_code_and_maps_every_auto_class(
    backbone: Backbone, saved: tuple[Path, dict[str, AnyFusarGpt]]
):
    folder = saved[0] / backbone
    auto_map = json.loads((folder / "config.json").read_text())["auto_map"]
    assert set(auto_map) == {"AutoConfig", "AutoModel", "AutoModelForImageTextToText", "AutoProcessor"}
    for reference in auto_map.values():
        module, name = reference.split(".")
        assert f"class {name}(" in (folder / f"{module}.py").read_text()


@pytest.mark.slow
@torch.no_grad()
def test_loads_and_runs_where_the_package_is_unknown(
    backbone: Backbone, saved: tuple[Path, dict[str, AnyFusarGpt]], classes_elsewhere: dict[str, dict[str, str]]
):
    folder, models = saved
    model, again = models[backbone], folder / f"{backbone}-again"
    classes = classes_elsewhere[backbone]
    assert set(classes) == {
        "FusarGptProcessor",
        type(model.config).__name__,
        type(model.model).__name__,
        type(model).__name__,
    }
    assert all(module.startswith("transformers_modules.") for module in classes.values())
    inputs = tiny_inputs(tiny_processor())
    with np.load(again / "results.npz") as read:
        torch.testing.assert_close(torch.from_numpy(read["logits"]), model(**inputs).logits, atol=1e-6, rtol=0)
        hidden = model.model(**inputs).last_hidden_state
        torch.testing.assert_close(torch.from_numpy(read["hidden"]), hidden, atol=1e-6, rtol=0)
    assert {path.name for path in again.glob("*.py")} == {path.name for path in (folder / backbone).glob("*.py")}
