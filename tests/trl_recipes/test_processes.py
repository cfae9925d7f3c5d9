"""A stage is the same however its steps are spread: over micro-batches, over processes under DDP, and under FSDP2.

Each strategy is launched once, as a user launches it, with two processes on the CPU that run all stages in turn.
"""

import json
import os
import subprocess
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from fusargpt.errors import InputError
from tests.paths import ROOT
from tests.trl_recipes.stages import arguments, write_base
from tests.trl_recipes.triplets import write_triplets
from trl_recipes.arguments import Quantization, RecipeArguments
from trl_recipes.model.checkpoint import load_model
from trl_recipes.model.sharding import check_sharding
from trl_recipes.sft import main

STEPS = 4
# What is trained and saved differs, and so does what FSDP2 has to gather.
STAGES: dict[str, dict[str, object]] = {
    "tlm": {"train": "tlm", "save": "trained"},
    "tlm+lora": {"train": "tlm+lora", "save": "full", "activation_checkpointing": True},
    "lora": {"train": "lora", "save": "trained", "feature_cache": "features"},
    "all": {"train": "all", "save": "full", "prior": "none"},
}


def recipes(folder: Path, name: str, **fields: object) -> list[str]:
    """Arguments of every stage, whose results go to a folder of their own in name/."""
    (folder / name).mkdir()
    paths = []
    for stage, own in STAGES.items():
        own = {**own, "feature_cache": folder / name / "features"} if "feature_cache" in own else own
        paths += arguments(folder, folder / name / stage, **own, max_steps=STEPS, **fields)
    return paths


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory):
    """Tiny base and data, and in one/ every stage as one process runs it, in batches of four."""
    folder = tmp_path_factory.mktemp("processes")
    write_base(folder)
    write_triplets(folder / "data", rows=12)  # a whole number of batches
    for path in recipes(folder, "one"):
        printed = StringIO()
        with redirect_stdout(printed):
            main([path])
        Path(path).with_suffix(".txt").write_text(printed.getvalue())
    return folder


def losses(output_dir: Path) -> list[float]:
    history = json.loads((output_dir / "trainer_state.json").read_text())["log_history"]
    return [entry["loss"] for entry in history if "loss" in entry]


def check_equal(one: Path, other: Path) -> None:
    """Losses of every step to 1e-4, and the model that is left, whatever the form in which it is."""
    assert len(losses(one)) == STEPS
    assert losses(other) == pytest.approx(losses(one), abs=1e-4)
    expected = load_model(str(one)).state_dict()
    for name, weight in load_model(str(other)).state_dict().items():
        # A shift of all keys changes no attention, so that AdamW goes by the sign of what rounding leaves.
        if not name.endswith("k_proj.bias") and "attn.qkv.bias" not in name:
            torch.testing.assert_close(weight, expected[name], atol=2e-3, rtol=0, msg=name)


@pytest.mark.slow
def test_micro_batches_of_a_step_weigh_by_their_answer_tokens(folder: Path):
    for path in recipes(folder, "accumulated", per_device_train_batch_size=1, gradient_accumulation_steps=4)[:2]:
        main([path])
    for stage in list(STAGES)[:2]:
        check_equal(folder / "one" / stage, folder / "accumulated" / stage)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_two_processes_train_what_one_does(folder: Path, strategy: str):
    paths = recipes(folder, strategy, per_device_train_batch_size=2)
    launcher = (sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch")
    config = ROOT / "trl_recipes" / "accelerate" / f"{strategy}.yaml"
    options = ("--config_file", config, "--num_processes", "2", "--mixed_precision", "no", "--main_process_port", "0")
    result = subprocess.run(
        [*map(str, (*launcher, *options)), "-m", "tests.trl_recipes.several_stages", *paths],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_DATASETS_CACHE": str(folder / strategy / "datasets")},
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert result.returncode == 0, result.stderr[-4000:]
    for stage in STAGES:
        check_equal(folder / "one" / stage, folder / strategy / stage)
        table = [line for line in (folder / "one" / f"{stage}.txt").read_text().splitlines() if line[16:].strip()]
        assert "\n".join(line for line in table if not line.startswith(("{", "The stage's result"))) in result.stdout
    assert result.stdout.count("\nall  ") == len(STAGES)  # one process prints


def accelerator(**found: Any) -> Any:
    return SimpleNamespace(**{"num_processes": 2, "device": torch.device("cpu"), "is_fsdp2": True, **found})


@pytest.mark.parametrize(
    ("found", "quantization", "message"),
    [
        # accelerate would train with DDP, and say nothing.
        ({"distributed_type": "MULTI_CPU"}, "none", "fsdp_config: found 2 processes on cpu, expected several on GPUs"),
        ({"distributed_type": "FSDP", "is_fsdp2": False}, "none", "fsdp_version: found 1, expected 2"),
        ({"distributed_type": "FSDP"}, "nf4", "quantization: found nf4 under FSDP2, expected none"),
    ],
)
def test_what_cannot_be_sharded_is_refused(
    monkeypatch: pytest.MonkeyPatch, found: dict[str, Any], quantization: Quantization, message: str
):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    recipe = RecipeArguments("model", ["data"], "lora", save="trained", quantization=quantization)
    with pytest.raises(InputError, match=message):
        check_sharding(accelerator(**found), recipe)
    monkeypatch.delenv("ACCELERATE_USE_FSDP")
    check_sharding(accelerator(**found), recipe)
