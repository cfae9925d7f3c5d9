"""Questions that evaluations have answered: which are asked, that answers are the model's own, what is scored."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from trl.trainer.sft_config import SFTConfig

from fusargpt.errors import InputError
from fusargpt.geo.prior import Prior
from fusargpt.inference.predict import FusarGpt
from modeling_fusargpt import AnyFusarGpt, FusarGptProcessor
from modeling_fusargpt.processing_fusargpt import batch_priors
from tests.tiny import Backbone, stir_tlm, tiny_model, tiny_processor
from tests.trl_recipes.stages import arguments, write_base
from tests.trl_recipes.triplets import QUESTIONS, assistant, triplet, user, write_triplets
from trl_recipes.arguments import parse
from trl_recipes.data.collator import TripletCollator
from trl_recipes.data.visual_tokens import cache_visual_tokens
from trl_recipes.model.checkpoint import load_model
from trl_recipes.running.answer_scores import AnswerScores, choose_rows
from trl_recipes.sft import main

EVALUATED = {"eval_strategy": "steps", "eval_steps": 1, "dataset_test_split": "train", "eval_answer_tokens": 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory):
    """A tiny model in base/, and eight triplets with tasks in data/."""
    folder = tmp_path_factory.mktemp("evaluation")
    write_base(folder)
    write_triplets(folder / "data", tasks=True)
    return folder


@given(st.lists(st.sampled_from(["count", "detect", "other", None]), max_size=40), st.integers(0, 50))
@settings(max_examples=60)
def test_rows_are_spread_over_the_tasks_that_can_be_scored(tasks: list[str | None], count: int):
    chosen = choose_rows(tasks, count)
    scored = [row for row, task in enumerate(tasks) if task in ("count", "detect")]
    assert chosen == sorted(set(chosen)) and set(chosen) <= set(scored)
    assert len(chosen) == min(count, len(scored)) and chosen == choose_rows(tasks, count)
    asked = {task: sum(tasks[row] == task for row in chosen) for task in ("count", "detect")}
    left = {task: tasks.count(task) - number for task, number in asked.items()}
    # A task is asked less often than another, by more than one, only when all its rows are asked.
    assert all(not left[task] or asked[task] >= max(asked.values()) - 1 for task in asked)


def rows_of(folder: Path) -> Dataset:
    return Dataset.from_parquet(str(folder / "data" / "train-00000-of-00001.parquet"))


def stirred_model(backbone: Backbone) -> AnyFusarGpt:
    model = tiny_model(backbone=backbone)
    stir_tlm(model)
    return model


@pytest.fixture(scope="module")
def stirred() -> tuple[AnyFusarGpt, FusarGptProcessor]:
    return stirred_model("qwen2_5"), tiny_processor()


@pytest.mark.parametrize("backbone", ["qwen2_5", "qwen3"])
@pytest.mark.parametrize("cached", [False, True])
def test_answers_are_those_that_the_model_gives_when_asked(
    folder: Path, tmp_path: Path, cached: bool, backbone: Backbone
):
    model, processor = stirred_model(backbone), tiny_processor()
    rows = rows_of(folder)
    features, read = None, [rows]
    if cached:
        config = SFTConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, disable_tqdm=True)
        features, read = cache_visual_tokens(model, processor, tmp_path / "features", 2**30, config, [rows])
    scores = AnswerScores(TripletCollator(processor, features=features), read[0], 8, max_new_tokens=12, batch_size=3)
    asked = [scores.rows[place] for place in range(8)]
    answers = [
        text
        for start in (0, 3, 6)
        for text in scores._answers(model, scores.collator.questions(asked[start : start + 3]))  # pyright: ignore[reportPrivateUsage]  # before they are scored
    ]
    priors = [
        batch_priors([{name: row[name] for name in ("prior_embeddings", "prior_positions")}]) for row in rows.to_list()
    ]
    records: list[dict[str, Any]] = list(rows)  # pyright: ignore[reportAssignmentType]
    alone = FusarGpt(model, processor).answers(
        [row["image"] for row in records],
        [row["prompt"][-1]["content"] for row in records],
        [Prior(prior["prior_embeddings"][0], prior["prior_positions"][0]) for prior in priors],
        max_new_tokens=12,
        batch_size=1,
    )
    assert answers == alone and len(set(answers)) > 1


def test_right_answers_score_all_and_wrong_ones_nothing(
    folder: Path, stirred: tuple[AnyFusarGpt, FusarGptProcessor], monkeypatch: pytest.MonkeyPatch
):
    model, processor = stirred
    scores = AnswerScores(TripletCollator(processor), rows_of(folder), 6, max_new_tokens=1, batch_size=4)
    given_answers = iter(scores.references)
    monkeypatch.setattr(scores, "_answers", lambda model, inputs: [next(given_answers) for _ in inputs["input_ids"]])
    right = scores(model, lambda inputs: inputs)
    assert right["count_accuracy"] == right["describe_exact"] == 1
    assert right["describe_bleu4"] == pytest.approx(1)
    assert right["count_mae"] == 0
    monkeypatch.setattr(scores, "_answers", lambda model, inputs: ["nothing"] * len(inputs["input_ids"]))
    wrong = scores(model, lambda inputs: inputs)
    assert wrong["count_accuracy"] == wrong["describe_exact"] == wrong["count_readable"] == 0


def test_system_turns_are_asked_with_the_question(stirred: tuple[AnyFusarGpt, FusarGptProcessor]):
    processor = stirred[1]
    row = {**triplet(0), "prompt": [{"role": "system", "content": "Be short."}, user(QUESTIONS[0])]}
    inputs = TripletCollator(processor).questions([row, triplet(1)])
    first, second = processor.tokenizer.batch_decode(inputs["input_ids"])
    assert "system\nBe short.<|im_end|>" in first and first.endswith("<|im_start|>assistant\n")
    assert second.startswith("<|endoftext|>") and inputs["attention_mask"][1, 0] == 0


def test_a_reference_that_no_metric_reads_is_named_before_the_first_step(folder: Path, tmp_path: Path):
    rows = rows_of(folder).map(lambda row: {"completion": [assistant("many")]} if row["task"] == "count" else row)
    (tmp_path / "data").mkdir()
    rows.to_parquet(tmp_path / "data" / "train-00000-of-00001.parquet")
    fields = {"train": "tlm", "dataset_name": tmp_path / "data", **EVALUATED}
    with pytest.raises(InputError, match=r"test split: completion: references\[0\]: found 'many'"):
        main(arguments(folder, tmp_path / "out", **fields))


def evaluations(output_dir: Path) -> list[dict[str, Any]]:
    history = json.loads((output_dir / "trainer_state.json").read_text())["log_history"]
    return [entry for entry in history if "eval_loss" in entry]


def test_the_best_checkpoint_can_be_one_of_a_task(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The second of three evaluations is the best, and what is saved at the end is the TLM of then."""
    accuracies = iter([0.1, 0.9, 0.5])
    monkeypatch.setattr(AnswerScores, "__call__", lambda *_: {"count_accuracy": next(accuracies)})
    fields = {"train": "tlm", "save": "trained", "max_steps": 3, "save_strategy": "steps", "save_steps": 1}
    best = {"metric_for_best_model": "eval_count_accuracy", "load_best_model_at_end": True}
    main(arguments(folder, tmp_path / "out", **fields, **EVALUATED, **best))
    assert [entry["eval_count_accuracy"] for entry in evaluations(tmp_path / "out")] == [0.1, 0.9, 0.5]
    state = json.loads((tmp_path / "out" / "trainer_state.json").read_text())
    assert state["best_metric"] == 0.9 and state["best_model_checkpoint"].endswith("checkpoint-2")
    saved = load_model(str(tmp_path / "out")).model.tlm.state_dict()
    for step, same in ((2, True), (3, False)):
        there = load_model(str(tmp_path / "out" / f"checkpoint-{step}")).model.tlm.state_dict()
        assert all(torch.equal(value, there[name]) for name, value in saved.items()) == same


def test_pairs_of_one_sequence_are_asked_one_by_one(folder: Path, tmp_path: Path):
    fields = {"train": "lora", "feature_cache": tmp_path / "features", "pairs_per_sequence": 2, "eval_answers": 5}
    main(arguments(folder, tmp_path / "out", **{**fields, **EVALUATED, "max_steps": 1}))
    (entry,) = evaluations(tmp_path / "out")
    assert {"eval_count_accuracy", "eval_describe_rouge_l", "eval_loss_count", "eval_loss_describe"} <= set(entry)


def test_no_answers_are_asked_for_on_demand(folder: Path, tmp_path: Path):
    main(arguments(folder, tmp_path / "out", train="tlm", **EVALUATED, eval_answers=0, max_steps=1))
    (entry,) = evaluations(tmp_path / "out")
    assert "eval_loss_count" in entry and "eval_count_accuracy" not in entry


@pytest.mark.parametrize("metric", ["eval_count_mae", "eval_loss_detect"])
def test_a_best_model_by_its_errors_has_the_fewest(folder: Path, tmp_path: Path, metric: str):
    fields = {"train": "tlm", "metric_for_best_model": metric}
    with pytest.raises(InputError, match="greater_is_better: found true"):
        parse(arguments(folder, tmp_path / "out", **fields))
    parse(arguments(folder, tmp_path / "out", **fields, greater_is_better=False))


@pytest.mark.parametrize("fields", [{"eval_answers": -1}, {"eval_answers": 1.5}, {"eval_answer_tokens": 0}])
def test_fields_are_checked(folder: Path, tmp_path: Path, fields: dict[str, Any]):
    (name,) = fields
    with pytest.raises(InputError, match=f"{name}: found"):
        parse(arguments(folder, tmp_path / "out", train="tlm", **fields))
