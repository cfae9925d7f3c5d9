"""A saved folder works by `trust_remote_code` in a process that has never seen the packages."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.modeling_fusarklip.tiny_klip import TEXTS, pictures, stir_klip, tiny_klip, tiny_klip_processor
from tests.paths import ROOT
from tests.tiny import random_prior

READ = """
import json, sys

for name in ("fusargpt", "modeling_fusargpt", "modeling_fusarklip", "trl_recipes", "space_app"):
    sys.modules[name] = None  # any import of ours fails from here on

import numpy as np
import torch
from PIL import Image
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForImageClassification,
    AutoModelForImageTextToText,
    AutoModelForZeroShotImageClassification,
    AutoProcessor,
    pipeline,
)

arrays, folder = sys.argv[1:]
torch.set_num_threads(1)
with np.load(arrays) as stored:
    prior = {name: stored[name] for name in ("prior_embeddings", "prior_positions")}
    image, texts = Image.fromarray(stored["image"]), [str(text) for text in stored["texts"]]
asked = {"trust_remote_code": True}
config = AutoConfig.from_pretrained(folder, **asked)
processor = AutoProcessor.from_pretrained(folder, **asked)
model = AutoModel.from_pretrained(folder, **asked)
others = [
    kind.from_pretrained(folder, **asked)
    for kind in (
        AutoModelForZeroShotImageClassification, AutoModelForImageTextToText, AutoModelForImageClassification
    )
]
told = [{"resolution_m": 5.0, "sensor": "Gaofen-3"}]
inputs = processor(images=[image], text=texts, priors=[prior], geography=told)
with torch.no_grad():
    logits = model(**inputs).logits_per_image
    matches = model.match(**inputs)
asked_of = pipeline("zero-shot-image-classification", model=folder, device="cpu", **asked)
(label, *_) = asked_of(image, candidate_labels=texts, hypothesis_template="{}")
model.save_pretrained(folder + "-again")
processor.save_pretrained(folder + "-again")
np.savez(folder + "-again/results.npz", logits=logits.numpy(), matches=matches.numpy())
classes = {type(part).__name__: type(part).__module__ for part in (config, processor, model, *others)}
print(json.dumps({"classes": classes, "label": label["label"]}))
"""


@pytest.mark.slow
@torch.no_grad()
def test_loads_and_runs_where_the_packages_are_unknown(tmp_path: Path):
    model, processor = tiny_klip(), tiny_klip_processor()
    stir_klip(model)
    folder, again = tmp_path / "saved", tmp_path / "saved-again"
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    prior, (image,) = random_prior(6), pictures(1)
    arrays: dict[str, Any] = {"image": np.asarray(image), "texts": np.array(TEXTS), **prior}
    np.savez(tmp_path / "arrays.npz", **arrays)
    finished = subprocess.run(
        [sys.executable, "-I", "-c", READ, str(tmp_path / "arrays.npz"), str(folder)],
        cwd=tmp_path,
        env={"HF_HOME": str(tmp_path / "hf_home"), "HF_HUB_OFFLINE": "1", "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert finished.returncode == 0, finished.stderr
    found = json.loads(finished.stdout.splitlines()[-1])
    assert set(found["classes"]) == {
        "FusarKlipConfig",
        "FusarKlipProcessor",
        "FusarKlipModel",
        "FusarKlipForConditionalGeneration",
        "FusarKlipForImageClassification",
    }
    assert all(module.startswith("transformers_modules.") for module in found["classes"].values())
    told = [{"resolution_m": 5.0, "sensor": "Gaofen-3"}]
    inputs = processor(images=[image], text=TEXTS, priors=[prior], geography=told)
    with np.load(again / "results.npz") as read:
        logits = model(**inputs).logits_per_image
        torch.testing.assert_close(torch.from_numpy(read["logits"]), logits, atol=1e-5, rtol=0)
        torch.testing.assert_close(torch.from_numpy(read["matches"]), model.match(**inputs), atol=1e-6, rtol=0)
    plain = model(**processor(images=[image], text=TEXTS)).logits_per_image[0]
    assert found["label"] == TEXTS[int(plain.argmax())]
    assert {path.name for path in again.glob("*.py")} == {path.name for path in folder.glob("*.py")}


def test_the_model_folder_holds_remote_code_and_its_card_alone():
    names = {path.name for path in (ROOT / "modeling_fusarklip").iterdir() if path.name != "__pycache__"}
    assert names == {
        "README.md",
        "__init__.py",
        "batches.py",
        "configuration_fusarklip.py",
        "geography.py",
        "inputs.py",
        "losses.py",
        "modeling_fusarklip.py",
        "momentum.py",
        "processing_fusarklip.py",
        "tlm.py",
        "towers_fusarklip.py",
        "transformers_release.py",
        "two_pass.py",
        "vision_fusarklip.py",
    }
