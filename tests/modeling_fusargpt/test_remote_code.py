"""A saved folder works by `trust_remote_code` in a process that has never seen the package."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from tests.tiny import question, random_image, random_prior, stir_tlm, tiny_inputs, tiny_model, tiny_processor

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

folder, arrays, results = sys.argv[1:]
torch.set_num_threads(1)
config = AutoConfig.from_pretrained(folder, trust_remote_code=True)
processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
inner = AutoModel.from_pretrained(folder, trust_remote_code=True)
model = AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=True)
with np.load(arrays) as stored:
    prior = {name: stored[name] for name in ("prior_embeddings", "prior_positions")}
    image, text = Image.fromarray(stored["image"]), str(stored["text"])
inputs = processor(images=[image], text=[text], priors=[prior], return_tensors="pt")
with torch.no_grad():
    logits = model(**inputs).logits
    hidden = inner(**inputs).last_hidden_state
model.save_pretrained(results)
processor.save_pretrained(results)
np.savez(results + "/results.npz", logits=logits.numpy(), hidden=hidden.numpy())
classes = {type(part).__name__: type(part).__module__ for part in (config, processor, inner, model)}
print(json.dumps(classes))
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    model, processor = tiny_model(), tiny_processor()
    stir_tlm(model)
    model.save_pretrained(folder / "model")
    processor.save_pretrained(folder / "model")
    return folder, model, processor


def test_a_saved_folder_carries_its_code_and_maps_every_auto_class(saved):
    folder = saved[0] / "model"
    auto_map = json.loads((folder / "config.json").read_text())["auto_map"]
    assert set(auto_map) == {"AutoConfig", "AutoModel", "AutoModelForImageTextToText", "AutoProcessor"}
    for reference in auto_map.values():
        module, name = reference.split(".")
        assert f"class {name}(" in (folder / f"{module}.py").read_text()


@torch.no_grad()
def test_loads_and_runs_where_the_package_is_unknown(saved, tmp_path):
    folder, model, processor = saved
    prior, image = random_prior(6), random_image(32, 48)
    arrays = tmp_path / "arrays.npz"
    np.savez(
        arrays,
        image=np.asarray(image),
        text=question(),
        prior_embeddings=prior["prior_embeddings"],
        prior_positions=prior["prior_positions"],
    )
    elsewhere, results = tmp_path / "elsewhere", tmp_path / "results"
    elsewhere.mkdir()
    environment = {"HF_HOME": str(tmp_path / "hf_home"), "HF_HUB_OFFLINE": "1", "PATH": os.environ["PATH"]}
    finished = subprocess.run(
        [sys.executable, "-I", "-c", READ, str(folder / "model"), str(arrays), str(results)],
        cwd=elsewhere,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert finished.returncode == 0, finished.stderr
    classes = json.loads(finished.stdout.splitlines()[-1])
    assert set(classes) == {
        "FusarGptConfig",
        "FusarGptProcessor",
        "FusarGptModel",
        "FusarGptForConditionalGeneration",
    }
    assert all(module.startswith("transformers_modules.") for module in classes.values())
    inputs = tiny_inputs(processor)
    with np.load(results / "results.npz") as read:
        torch.testing.assert_close(torch.from_numpy(read["logits"]), model(**inputs).logits, atol=1e-6, rtol=0)
        hidden = model.model(**inputs).last_hidden_state
        torch.testing.assert_close(torch.from_numpy(read["hidden"]), hidden, atol=1e-6, rtol=0)
    assert {path.name for path in results.glob("*.py")} == {path.name for path in (folder / "model").glob("*.py")}
