"""The folders that are pushed to the Hub, as they stand: what is in them, and that they work where nothing else is."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from fusargpt.checkpoints import NANO_BACKBONE
from fusargpt.triplets.card import build_of
from tests.paths import DATASET, ROOT
from tests.tiny import stir_tlm, tiny_inputs, tiny_model, tiny_processor

CODE = ROOT / "modeling_fusargpt"
# Any import of ours fails from here on; -I keeps the clone off the path.
UNKNOWN = """
import sys
for name in ("fusargpt", "modeling_fusargpt", "trl_recipes", "space_app"):
    sys.modules[name] = None
"""


def run_elsewhere(program: str, folder: Path, *arguments: str) -> str:
    environment = {"HF_HOME": str(folder / "hf_home"), "HF_HUB_OFFLINE": "1", "PATH": os.environ["PATH"]}
    result = subprocess.run(
        [sys.executable, "-I", "-c", UNKNOWN + program, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_model_folder_holds_remote_code_and_its_card_alone() -> None:
    names = {path.name for path in CODE.iterdir() if path.name != "__pycache__"}
    assert names == {
        "README.md",
        "__init__.py",
        "adapters.py",
        "artefacts.py",
        "configuration_fusargpt.py",
        "modeling_fusargpt.py",
        "modeling_fusargpt_qwen3.py",
        "prepared.py",
        "processing_fusargpt.py",
        "tlm.py",
        "transformers_release.py",
        "windows.py",
    }


def test_the_dataset_folder_holds_data_and_its_card_alone() -> None:
    files = [path.relative_to(DATASET) for path in DATASET.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".parquet", ".md", ".jpg"}
    card = yaml.safe_load((DATASET / "README.md").read_text().split("---")[1])
    for config in card["configs"]:
        assert config["description"] == build_of((DATASET / config["config_name"]).glob("*.parquet"))
    listed = {file["path"] for config in card["configs"] for file in config["data_files"]}
    assert {str(path) for path in files if path.suffix == ".parquet"} == {
        str(path.relative_to(DATASET)) for pattern in listed for path in DATASET.glob(pattern)
    }


MODEL = """
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForImageTextToText, AutoProcessor

folder, inputs, out = sys.argv[1:]
torch.set_num_threads(1)
model = AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=True)
inner = AutoModel.from_pretrained(folder, trust_remote_code=True)
processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
with torch.no_grad():
    tensors = load_file(inputs)
    save_file({"logits": model(**tensors).logits, "hidden": inner(**tensors).last_hidden_state}, out)
print(type(model).__module__, type(inner).__module__, type(processor).__module__)
"""


@pytest.mark.slow
@pytest.mark.parametrize("where", ["beside the weights", "in a folder of their own"])
@torch.no_grad()
def test_the_model_folder_is_remote_code_wherever_it_lies(where: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    model = tiny_model()
    stir_tlm(model)
    weights = tmp_path / "weights"
    model.save_pretrained(weights)
    tiny_processor().save_pretrained(weights)
    for saved in weights.glob("*.py"):
        saved.unlink()
    if where == "beside the weights":
        shutil.copytree(CODE, weights, dirs_exist_ok=True)
    else:
        shutil.copytree(CODE, tmp_path / "code")
        for path in (weights / "config.json", weights / "processor_config.json"):
            content = json.loads(path.read_text())
            references = content["auto_map"]
            content["auto_map"] = {name: f"{tmp_path / 'code'}--{reference}" for name, reference in references.items()}
            path.write_text(json.dumps(content))
    inputs = tiny_inputs(tiny_processor())
    save_file(dict(inputs), tmp_path / "inputs.safetensors")
    (tmp_path / "elsewhere").mkdir()
    out = tmp_path / "outputs.safetensors"
    said = run_elsewhere(MODEL, tmp_path / "elsewhere", str(weights), str(tmp_path / "inputs.safetensors"), str(out))
    assert all(module.startswith("transformers_modules.") for module in said.split())
    found = load_file(out)
    torch.testing.assert_close(found["logits"], model(**inputs).logits, atol=1e-6, rtol=0)
    torch.testing.assert_close(found["hidden"], model.model(**inputs).last_hidden_state, atol=1e-6, rtol=0)


BACKBONE = """
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

torch.set_num_threads(1)
model = AutoModelForImageTextToText.from_pretrained(sys.argv[1], trust_remote_code=True)
processor = AutoProcessor.from_pretrained(sys.argv[1], trust_remote_code=True)
messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "How many ships are there?"}]}]
text = processor.apply_chat_template(messages, add_generation_prompt=True)
inputs = processor(images=[Image.new("RGB", (168, 168))], text=[text], return_tensors="pt")
print(type(model).__module__, model.generate(**inputs, max_new_tokens=2, do_sample=False).shape[0])
"""


@pytest.mark.slow
def test_what_comes_with_the_package_answers_in_plain_transformers(tmp_path: Path) -> None:
    """The backbone, which once brought no code, stands for nano, whose code is the same."""
    module, count = run_elsewhere(BACKBONE, tmp_path, str(NANO_BACKBONE)).split()
    assert module.startswith("transformers_modules.") and count == "1"


DATA = """
import json
from datasets import load_dataset

counts = {}
for config in ("captions", "instructions"):
    for split, rows in load_dataset(sys.argv[1], config).items():
        row = rows[0]
        counts[f"{config}/{split}"] = [len(rows), len(row["prior_embeddings"]), row["image"].size[0], row["task"]]
print(json.dumps(counts))
"""


@pytest.mark.slow
def test_the_dataset_folder_loads_from_wherever_it_lies(tmp_path: Path) -> None:
    shutil.copytree(DATASET, tmp_path / "sample")
    counts = json.loads(run_elsewhere(DATA, tmp_path, str(tmp_path / "sample")).splitlines()[-1])
    assert {name: rows for name, (rows, *_) in counts.items()} == {
        "captions/train": 16,
        "captions/validation": 4,
        "captions/test": 8,
        "instructions/train": 64,
        "instructions/validation": 16,
        "instructions/test": 32,
    }
    assert all(anchors == 64 and side == 168 for _, anchors, side, _ in counts.values())
