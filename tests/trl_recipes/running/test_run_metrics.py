"""What a run shows of itself: the numbers are right, they reach the reporters, and training does not change."""

import json
import os
import socket
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import TrainerCallback

from fusargpt.errors import InputError
from modeling_fusargpt import FusarGptForConditionalGeneration, FusarGptProcessor, TlmConfig
from modeling_fusargpt.tlm import TokenwiseLinearModulation
from tests.trl_recipes.stages import arguments, write_base
from tests.trl_recipes.triplets import TASKS, write_triplets
from trl_recipes import recipe_parser
from trl_recipes.arguments import parse
from trl_recipes.data.collator import TripletCollator
from trl_recipes.data.row_tasks import NO_TASK, answer_tasks
from trl_recipes.running import run_metrics, watched_trainer
from trl_recipes.sft import load_split, main

WATCHED = {"tokens_per_second", "images_per_second", "tlm_gamma", "tlm_beta", "tlm_tokens_modulated"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory):
    """A tiny model in base/; eight triplets with tasks in data/, the same without in plain/."""
    folder = tmp_path_factory.mktemp("watching")
    write_base(folder)
    write_triplets(folder / "data", tasks=True)
    write_triplets(folder / "plain")
    write_triplets(folder / "messages", kind="messages", tasks=True)
    return folder


class Clock:
    """Every look at it is a second after the one before."""

    def __init__(self) -> None:
        self.perf_counter = count(0.0).__next__


def history(output_dir: Path) -> list[dict[str, Any]]:
    return json.loads((output_dir / "trainer_state.json").read_text())["log_history"]


def steps(output_dir: Path) -> list[dict[str, Any]]:
    return [entry for entry in history(output_dir) if "loss" in entry]


def evaluated(output_dir: Path) -> list[dict[str, Any]]:
    return [entry for entry in history(output_dir) if "eval_loss" in entry]


def base(folder: Path) -> tuple[FusarGptForConditionalGeneration, TripletCollator, list[dict[str, Any]]]:
    """The model that training starts from, a collator without tasks, and the rows."""
    recipe, _ = parse(arguments(folder, folder / "read", train="tlm"))
    model = FusarGptForConditionalGeneration.from_pretrained(folder / "base", dtype="float32").eval()
    collator = TripletCollator(FusarGptProcessor.from_pretrained(folder / "base"))
    rows: Any = load_split(recipe, "train")
    return model, collator, list(rows)


@pytest.mark.parametrize("accumulated", [1, 2])
def test_the_loss_of_each_task_is_that_of_its_rows(folder: Path, tmp_path: Path, accumulated: int):
    fields = {"max_steps": 1, "per_device_train_batch_size": 8 // accumulated}
    main(arguments(folder, tmp_path / "out", train="tlm", **fields, gradient_accumulation_steps=accumulated))
    model, collator, rows = base(folder)
    (logged,) = steps(tmp_path / "out")
    for task in TASKS:
        with torch.no_grad():
            alone = model(**collator([row for row in rows if row["task"] == task])).loss.item()
        assert logged[f"loss_{task}"] == pytest.approx(alone, rel=1e-5)
    assert logged["loss_count"] != pytest.approx(logged["loss_describe"], rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("fields", [{"feature_cache": "features"}, {"kind": "messages"}])
def test_losses_by_task_come_from_every_form_of_row(folder: Path, tmp_path: Path, fields: dict[str, Any]):
    kind = fields.pop("kind", "data")
    if "feature_cache" in fields:
        fields = {"feature_cache": tmp_path / "features"}
    once = {"train": "tlm", "max_steps": 1, "per_device_train_batch_size": 8}
    main(arguments(folder, tmp_path / "plain", **once, dataset_name=folder / kind))
    main(arguments(folder, tmp_path / "out", **once, dataset_name=folder / kind, **fields))
    (plain,), (logged,) = steps(tmp_path / "plain"), steps(tmp_path / "out")
    assert {name: logged[f"loss_{name}"] for name in TASKS} == {name: plain[f"loss_{name}"] for name in TASKS}


@pytest.mark.slow
@pytest.mark.parametrize("earlier_answers", ["hidden", "visible"])
def test_pairs_in_one_sequence_keep_their_tasks(folder: Path, tmp_path: Path, earlier_answers: str):
    """All rows are about one image, so that two pairs share each sequence."""
    recipe, _ = parse(arguments(folder, tmp_path / "read", train="tlm"))
    rows = load_split(recipe, "train")
    first = rows[0]
    same = rows.map(lambda row: {name: first[name] for name in ("image", "prior_embeddings", "prior_positions")})
    (tmp_path / "one").mkdir()
    same.to_parquet(tmp_path / "one" / "train-00000-of-00001.parquet")
    once = {"train": "tlm", "max_steps": 1, "per_device_train_batch_size": 8, "dataset_name": tmp_path / "one"}
    main(arguments(folder, tmp_path / "alone", **once))
    pairs = {"pairs_per_sequence": 2, "earlier_answers": earlier_answers}
    main(arguments(folder, tmp_path / "out", **once, **pairs))
    (alone,), (logged,) = steps(tmp_path / "alone"), steps(tmp_path / "out")
    # The first pair of a conversation sees nothing but itself; the second sees the first, unless it is hidden.
    assert logged["loss_count"] == pytest.approx(alone["loss_count"], rel=1e-5)
    same_loss = logged["loss_describe"] == pytest.approx(alone["loss_describe"], rel=1e-5)
    assert same_loss == (earlier_answers == "hidden")


def test_answers_are_told_apart_by_the_tokens_between_them():
    labels = torch.tensor([[-100, 5, 6, -100, 7, -100], [8, -100, -100, 9, 9, 9]])
    expected = [[NO_TASK, 1, 1, NO_TASK, 0, NO_TASK], [2, NO_TASK, NO_TASK, NO_TASK, NO_TASK, NO_TASK]]
    assert answer_tasks(labels, [[1, 0], [2, NO_TASK]], -100).tolist() == expected


def test_without_a_task_column_there_is_no_loss_by_task(folder: Path, tmp_path: Path):
    main(arguments(folder, tmp_path / "out", train="tlm", dataset_name=folder / "plain"))
    (first, _) = steps(tmp_path / "out")
    assert set(first) >= WATCHED and not [name for name in first if name.startswith("loss_")]


def test_data_sets_with_and_without_tasks_train_together(folder: Path, tmp_path: Path):
    both = [str(folder / "data"), str(folder / "plain")]
    main(arguments(folder, tmp_path / "out", train="tlm", dataset_name=both, per_device_train_batch_size=16))
    assert {"loss_count", "loss_describe"} <= set(steps(tmp_path / "out")[0])


def test_a_task_column_of_numbers_is_named(folder: Path, tmp_path: Path):
    recipe, _ = parse(arguments(folder, tmp_path / "read", train="tlm"))
    rows = load_split(recipe, "train")
    (tmp_path / "numbers").mkdir()
    numbered = rows.remove_columns("task").add_column("task", list(range(len(rows))))
    numbered.to_parquet(tmp_path / "numbers" / "train-00000-of-00001.parquet")
    with pytest.raises(InputError, match=r"column task: found .*int64.*expected the task's name"):
        main(arguments(folder, tmp_path / "out", train="tlm", dataset_name=tmp_path / "numbers"))


def test_the_tlms_health_is_that_of_the_modulation(folder: Path, tmp_path: Path):
    main(arguments(folder, tmp_path / "out", train="tlm", max_steps=1, per_device_train_batch_size=8))
    model, collator, rows = base(folder)
    batch = collator(rows)
    priors = [batch[name] for name in ("prior_embeddings", "prior_positions", "prior_mask")]
    grids = [(height, width) for _, height, width in batch["image_grid_thw"].tolist()]
    zeros = torch.zeros(sum(height * width // 4 for height, width in grids), 32)
    with torch.no_grad():
        # x (1 + gamma) + beta of tokens that are 0, and of tokens that are 1.
        beta = model.model.tlm(zeros, grids, *priors)
        gamma = model.model.tlm(zeros + 1, grids, *priors) - 1 - beta
    (logged,) = steps(tmp_path / "out")
    assert logged["tlm_gamma"] == pytest.approx(gamma.abs().mean().item(), rel=1e-4)
    assert logged["tlm_beta"] == pytest.approx(beta.abs().mean().item(), rel=1e-4)


def test_tokens_near_anchors_count_as_modulated():
    model = TokenwiseLinearModulation(TlmConfig(), 32, merge_size=2)
    health = run_metrics.TlmHealth(model)
    embeddings = torch.nn.functional.normalize(torch.ones(1, 1, 64), dim=-1)
    # One anchor in the corner: normalised twice, its weight is a half where the Gaussian is epsilon squared, at
    # 2 sqrt(2 ln 1e12) patches, 7.4 tokens.
    model(torch.zeros(400, 32), [(40, 40)], embeddings, torch.zeros(1, 1, 2), torch.ones(1, 1, dtype=torch.bool))
    read = health.read(health.take(torch.device("cpu")).tolist())
    assert read["tlm_tokens_modulated"] == pytest.approx(np.pi * 7.4**2 / 4 / 400, abs=0.02)
    model(torch.zeros(400, 32), [(40, 40)], embeddings, torch.zeros(1, 1, 2), torch.zeros(1, 1, dtype=torch.bool))
    assert health.read(health.take(torch.device("cpu")).tolist())["tlm_tokens_modulated"] == 0


@pytest.mark.parametrize("fusion", ["sum", "concat"])
def test_fusions_that_only_add_have_no_gamma(fusion: Literal["sum", "concat"]):
    model = TokenwiseLinearModulation(TlmConfig(fusion=fusion), 32, merge_size=2)
    health = run_metrics.TlmHealth(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(0.1)
    added = model(torch.zeros(4, 32), [(4, 4)], torch.ones(1, 1, 64), torch.zeros(1, 1, 2), torch.ones(1, 1).bool())
    read = health.read(health.take(torch.device("cpu")).tolist())
    assert read["tlm_beta"] == pytest.approx(added.abs().mean().item(), rel=1e-5) and "tlm_gamma" not in read


def test_a_run_without_prior_reports_no_tlm(folder: Path, tmp_path: Path):
    main(arguments(folder, tmp_path / "out", train="language", prior="none"))
    assert not [name for name in steps(tmp_path / "out")[0] if name.startswith("tlm_")]


def test_tokens_and_images_are_counted_without_padding(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A second passes between two looks at the clock, so that rates are counts; evaluations do not stop it."""
    monkeypatch.setattr(run_metrics, "time", Clock())
    fields = {"max_steps": 1, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
    main(arguments(folder, tmp_path / "out", train="tlm", **fields))
    _, collator, rows = base(folder)
    tokens = sum(collator([row])["input_ids"].numel() for row in rows)
    (logged,) = steps(tmp_path / "out")
    assert (logged["tokens_per_second"], logged["images_per_second"]) == (tokens, 8)


@pytest.mark.slow
def test_a_resumed_run_counts_what_it_trains_itself(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    fields = {"train": "tlm", "max_steps": 3, "save_strategy": "steps", "save_steps": 1, "resume": True}
    rates = {}
    for name in ("whole", "cut"):
        monkeypatch.setattr(run_metrics, "time", Clock())
        main(arguments(folder, tmp_path / name, **fields))
        if name == "cut":
            for path in [path for path in (tmp_path / name).glob("*") if path.is_file()]:
                path.unlink()
            (tmp_path / name / "checkpoint-3" / "trainer_state.json").unlink()
            monkeypatch.setattr(run_metrics, "time", Clock())
            main(arguments(folder, tmp_path / name, **fields))
        rates[name] = [
            [entry[rate] for rate in ("tokens_per_second", "loss_count")] for entry in steps(tmp_path / name)
        ]
    assert rates["cut"] == rates["whole"]


class Blind:
    """Stands in for `Watch` and sees nothing."""

    def __init__(self, *_: Any) -> None:
        self.throughput: Any = TrainerCallback()
        self.throughput.start = lambda: None

    def see_batch(self, inputs: dict[str, Any]) -> None:
        inputs.pop("task_ids", None)

    def report(self, *_: Any) -> dict[str, float]:
        return {}


@pytest.mark.slow
def test_watching_and_evaluating_change_no_bit_of_what_is_trained(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    fields = {"train": "tlm+lora", "max_steps": 3, "lora_dropout": 0.3, "lora_r": 2}
    watched = {"eval_strategy": "steps", "eval_steps": 1, "dataset_test_split": "train", "eval_answer_tokens": 2}
    main(arguments(folder, tmp_path / "watched", **fields, **watched))
    with monkeypatch.context() as patch:
        patch.setattr(watched_trainer, "Watch", Blind)
        main(arguments(folder, tmp_path / "blind", **fields, dataset_name=folder / "plain"))
    weights = [
        FusarGptForConditionalGeneration.from_pretrained(tmp_path / name, dtype="float32").state_dict()
        for name in ("watched", "blind")
    ]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    assert len(evaluated(tmp_path / "watched")) == 3
    names = ("loss", "grad_norm")
    logged = [[[entry[name] for name in names] for entry in steps(tmp_path / run)] for run in ("watched", "blind")]
    assert logged[0] == logged[1]
    assert not WATCHED & set(steps(tmp_path / "blind")[0])


@pytest.fixture(scope="module")
def reported(folder: Path):
    """What two steps have left that reported to TensorBoard and were evaluated after each."""
    fields = {"report_to": "tensorboard", "eval_strategy": "steps", "eval_steps": 1, "dataset_test_split": "train"}
    main(arguments(folder, folder / "reported", train="tlm", **fields, eval_answer_tokens=2))
    return folder / "reported"


def test_tensorboard_gets_the_same_numbers(reported: Path):
    (events,) = reported.rglob("events.out.tfevents.*")
    read: Any = EventAccumulator(str(events)).Reload()
    first, second = steps(reported)
    for name in {"loss", "loss_count", "loss_describe"} | WATCHED:
        scalars = read.Scalars(f"train/{name}")
        assert [scalar.step for scalar in scalars] == [1, 2]
        assert [scalar.value for scalar in scalars] == pytest.approx([first[name], second[name]], rel=1e-6)
    assert {"eval/loss", "eval/loss_count", "eval/count_accuracy", "eval/describe_bleu4"} <= set(read.Tags()["scalars"])


def test_a_reporter_that_is_not_installed_is_named(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(recipe_parser, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"report_to: tensorboard is not installed.*\[tensorboard\]"):
        parse(arguments(folder, tmp_path / "out", train="tlm", report_to="tensorboard"))


def test_the_curves_lie_beside_what_was_trained(folder: Path, reported: Path, tmp_path: Path):
    with Image.open(reported / "curves.png") as picture:
        # Loss, loss by task, scores, TLM and throughput, in two columns.
        assert picture.height == 3 * 253 and picture.width < 900
    main(arguments(folder, tmp_path / "silent", train="tlm", logging_strategy="no"))
    assert not (tmp_path / "silent" / "curves.png").exists()


def run_as(rank: int, port: int, given: list[str]) -> None:
    """One of two processes of a run, forked from one that has run stages of its own."""
    # accelerate has no other way to begin anew.
    AcceleratorState._reset_state(reset_partial_state=True)  # pyright: ignore[reportPrivateUsage]
    run_metrics.time = Clock()
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    main(given)


@pytest.mark.slow
def test_two_processes_report_what_one_does(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """At a learning rate of 0, so that they stay the same model; five questions, which two cannot share evenly."""
    monkeypatch.setattr(run_metrics, "time", Clock())
    fields = {"train": "tlm", "max_steps": 1, "learning_rate": 0.0, "eval_strategy": "steps", "eval_steps": 1}
    fields |= {"dataset_test_split": "train", "eval_answers": 5, "eval_answer_tokens": 3}
    main(arguments(folder, tmp_path / "one", **fields, per_device_train_batch_size=8))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    given = arguments(folder, tmp_path / "two", **fields, per_device_train_batch_size=4, ddp_backend="gloo")
    context = get_context("fork")  # which has imported all of it
    processes = [context.Process(target=run_as, args=(rank, port, given)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    (one,), (two,) = steps(tmp_path / "one"), steps(tmp_path / "two")
    for name in ("loss_count", "loss_describe", *WATCHED):
        assert two[name] == pytest.approx(one[name], rel=1e-4), name
    (one,), (two,) = evaluated(tmp_path / "one"), evaluated(tmp_path / "two")
    compared = {name for name in one if name.startswith(("eval_count", "eval_describe", "eval_loss"))}
    assert len(compared) > 7
    for name in compared:
        assert two[name] == pytest.approx(one[name], rel=1e-4, nan_ok=True), name
