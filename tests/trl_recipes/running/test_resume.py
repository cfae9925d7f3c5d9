"""A stage killed at any moment, and started again with the same command, ends as one that was not: bit for bit."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from fusargpt.errors import InputError
from tests.trl_recipes.running.killing import at_call, half_written, run_until
from tests.trl_recipes.stages import arguments, write_base
from tests.trl_recipes.triplets import write_triplets
from trl_recipes import sft
from trl_recipes.data import feature_cache
from trl_recipes.running import atomic_runs, resumable
from trl_recipes.running.atomic_runs import MANIFESTS, RESULT, checkpoints, finished_by, holding, publish
from trl_recipes.running.trainer import StageTrainer
from trl_recipes.sft import main

TIMED = ("runtime", "per_second")
# Four steps an epoch: saved in the middle of one and at its end, and logged in between.
FIELDS = {
    "resume": True,
    "per_device_train_batch_size": 2,
    "max_steps": 10,
    "logging_steps": 3,
    "save_strategy": "steps",
    "save_steps": 2,
    "save_total_limit": 1,
    "lr_scheduler_type": "cosine",
}
TLM = {"train": "tlm", "save": "trained"}
LORA = {
    "train": "lora",
    "lora_dropout": 0.2,
    "bf16": True,
    "pairs_per_sequence": 2,
    "per_device_train_batch_size": 1,
    "eval_strategy": "epoch",
    "dataset_test_split": "train[:3]",
    "eval_answer_tokens": 4,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("resume")
    write_base(folder)
    write_triplets(folder / "data", tasks=True)
    return folder


def curve(output_dir: Path) -> list[dict[str, float]]:
    """All that was logged but for how long it took."""
    history = json.loads((output_dir / "trainer_state.json").read_text())["log_history"]
    return [{name: value for name, value in entry.items() if not name.endswith(TIMED)} for entry in history]


def weights(output_dir: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in output_dir.rglob("*.safetensors")}


def check_same(one: Path, other: Path) -> None:
    assert curve(one) == curve(other)
    assert weights(one) == weights(other)
    names = [sorted(str(path.relative_to(run)) for path in run.rglob("*")) for run in (one, other)]
    assert names[0] == names[1]


FEW_KILLS = [
    (half_written(torch, "save"), []),  # in the writing of the first checkpoint
    (at_call(resumable, "rotate", 2), ["checkpoint-2", "checkpoint-4"]),  # at the end of an epoch
    (at_call(sft, "publish"), ["checkpoint-10"]),  # the result is written, but for its place
]
MANY_KILLS = [
    (at_call(feature_cache.os, "fsync"), []),  # in the computing of visual tokens
    (at_call(StageTrainer, "training_step", 2), []),  # before the first checkpoint
    (half_written(torch, "save"), []),
    (at_call(resumable, "rotate"), ["checkpoint-2"]),
    (at_call(atomic_runs, "_sync"), ["checkpoint-2"]),  # checkpoint-4 is written, but for its name
    (at_call(resumable, "rotate"), ["checkpoint-2", "checkpoint-4"]),
    (at_call(atomic_runs.shutil, "rmtree"), ["checkpoint-4", "checkpoint-6"]),  # the first of two is being removed
    (at_call(sft, "publish"), ["checkpoint-10"]),  # after the last step
    (at_call(Path, "rename", 2), ["checkpoint-10"]),  # one file of the result is in its place
]


@pytest.mark.slow
@pytest.mark.parametrize(("fields", "kills"), [(TLM, FEW_KILLS), (LORA, MANY_KILLS)], ids=["tlm", "lora"])
def test_a_run_killed_again_and_again_ends_as_one_that_was_not(
    folder: Path, tmp_path: Path, fields: dict[str, Any], kills: Any
):
    commands = {}
    for name in ("whole", "cut"):
        own = {"feature_cache": tmp_path / f"features of the {name}"} if fields is LORA else {}
        commands[name] = arguments(folder, tmp_path / name, **FIELDS | fields | own)
    main(commands["whole"])
    cut = tmp_path / "cut"
    for patch, left in kills:
        run_until(commands["cut"], patch)
        assert [path.name for path in checkpoints(cut)] == left
        assert sorted(path.name for path in cut.glob("checkpoint-*")) == sorted(left)  # none but whole ones
        assert not any((cut / name).exists() for name in MANIFESTS)
    main(commands["cut"])
    check_same(tmp_path / "whole", cut)
    assert not list(cut.glob("partial-*"))
    with pytest.raises(FileExistsError, match="holds a finished stage"):
        main(commands["cut"])


@pytest.mark.slow
def test_a_killed_run_with_a_worker_resumes_when_the_worker_is_gone(folder: Path, tmp_path: Path):
    # Workers that live on from one epoch to the next draw their seed in the first one alone.
    fields = FIELDS | LORA | {"dataloader_num_workers": 1, "dataloader_persistent_workers": True, "max_steps": 6}
    fields |= {"pairs_per_sequence": 1, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}
    main(arguments(folder, tmp_path / "whole", **fields))
    command = arguments(folder, tmp_path / "cut", **fields)
    run_until(command, at_call(StageTrainer, "training_step", 6))  # a step in the second epoch, begun at checkpoint-2
    assert [path.name for path in checkpoints(tmp_path / "cut")] == ["checkpoint-2"]
    main(command)
    check_same(tmp_path / "whole", tmp_path / "cut")


def test_a_result_is_finished_when_all_of_it_is_in_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    files = ("adapter_config.json", "adapter_model.safetensors", "config.json", "tokenizer.json")
    rename, left = Path.rename, []

    def interrupted(path: Path, target: Path) -> Path:
        if not left:
            raise KeyboardInterrupt
        left.pop()
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    for moved in range(len(files)):
        left[:] = range(moved)
        (tmp_path / RESULT).mkdir()
        for name in files:
            (tmp_path / RESULT / name).write_text("new")
        with pytest.raises(KeyboardInterrupt):
            publish(tmp_path)
        assert finished_by(tmp_path) is None
        with holding(tmp_path):
            assert finished_by(tmp_path) is None and not list(tmp_path.glob("partial-*"))
    left[:] = range(len(files))
    (tmp_path / RESULT).mkdir()
    (tmp_path / RESULT / "adapter_config.json").write_text("new")
    publish(tmp_path)
    assert finished_by(tmp_path) == "adapter_config.json"


def test_two_runs_do_not_share_a_folder(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(atomic_runs, "WAIT_SECONDS", 0.1)
    command = arguments(folder, tmp_path / "out", **FIELDS, **TLM)
    with holding(tmp_path / "out"):
        (tmp_path / "out" / "partial-checkpoint-2").mkdir()
        with pytest.raises(
            InputError, match=r"output_dir: .*out: another run is at work on it \(process \d+ .*\); wait"
        ):
            main(command)
        assert (tmp_path / "out" / "partial-checkpoint-2").is_dir()
