"""What a run on a lent machine brings back is small files, and a model folder again."""

import json
import time
from pathlib import Path

import pytest
import torch

from benchmarks import train_on_gpu
from benchmarks.train_on_gpu import PACKED, RUN, Run, assemble, best, main, pack
from modeling_fusargpt import FusarGptForConditionalGeneration
from trl_recipes.mini.stages import Stage
from trl_recipes.small import model as small_model
from trl_recipes.small.sizes import NANO


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With one finished stage."""
    monkeypatch.setattr(small_model, "CORPUS_SCENES", 20)
    small_model.build(NANO, tmp_path / "build" / "tower", seed=0)
    return tmp_path / "build"


def test_what_comes_back_is_a_model_again(
    build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(train_on_gpu, "SHARD_BYTES", 4 * 2**20)
    run = Run(build, tmp_path / "out", time.monotonic() + 60)
    pack(run)
    files = sorted((tmp_path / "out").iterdir())
    assert {path.name for path in files} > {PACKED, RUN} and 4 <= len(files) <= 8
    assert all(path.stat().st_size < 5 * 2**20 for path in files)
    assert main(["assemble", str(tmp_path / "out"), "--model", str(tmp_path / "model")]) == 0
    assert "the model of tower" in capsys.readouterr().out
    folders = (build / "tower", tmp_path / "model")
    before, after = (FusarGptForConditionalGeneration.from_pretrained(folder, dtype="bfloat16") for folder in folders)
    for (name, one), (_, other) in zip(before.named_parameters(), after.named_parameters(), strict=True):
        assert torch.equal(one, other), name
    assert len(list((tmp_path / "model").glob("*.safetensors"))) == 1


def test_a_run_without_a_finished_stage_brings_its_logs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pack(Run(tmp_path / "build", tmp_path / "out", time.monotonic()))
    assert json.loads((tmp_path / "out" / RUN).read_text())["stage"] is None
    assert main(["assemble", str(tmp_path / "out"), "--model", str(tmp_path / "model")]) == 2
    assert "no stage was finished" in capsys.readouterr().err


def test_time_that_is_over_leaves_the_last_stage(build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Stage("pointing", ("-c", "import time; time.sleep(60)"), build / "pointing")
    monkeypatch.setattr(train_on_gpu, "stages", lambda *_: [slow])
    run = train_on_gpu.train(build, None, tmp_path / "out", minutes=0.35, tiny=True, workers=0)
    assert "pointing: not done after" in run.trouble[0]
    told = json.loads((tmp_path / "out" / RUN).read_text())
    assert told["stage"] == "tower" and told["trouble"] == run.trouble


def test_the_last_stage_is_what_counts(build: Path) -> None:
    assert best(build) == ("tower", build / "tower")
    checkpoint = build / "pretrain" / "checkpoint-40"
    checkpoint.mkdir(parents=True)
    (checkpoint / "trainer_state.json").write_text("{}")
    assert best(build) == ("pretrain, checkpoint-40", checkpoint)


def test_what_did_not_come_back_is_said(tmp_path: Path) -> None:
    with pytest.raises(train_on_gpu.InputError, match=r"no run\.json and folder\.zip"):
        assemble(tmp_path, tmp_path / "model")
