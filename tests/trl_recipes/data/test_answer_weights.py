"""What answers weigh in the loss: by their length, over a whole step however it is split, and in training alone."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fusargpt.errors import InputError
from tests.trl_recipes.stages import arguments, result, write_base
from tests.trl_recipes.triplets import write_triplets
from trl_recipes.arguments import AnswerWeight, parse
from trl_recipes.data.answer_weights import token_weights
from trl_recipes.sft import main, make_trainer

IGNORED = -100
LENGTHS = st.lists(st.lists(st.integers(1, 9), max_size=4), min_size=1, max_size=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    write_base(folder)
    write_triplets(folder / "data", tasks=True)
    return folder


@pytest.mark.parametrize(("weight", "power"), [("tokens", 1.0), ("square_root", 0.5), ("answers", 0.0)])
@given(lengths=LENGTHS)
def test_an_answer_weighs_what_its_length_says(weight: AnswerWeight, power: float, lengths: list[list[int]]) -> None:
    """Answers of each row, one ignored token before each of them, and padding behind."""
    width = max(sum(row) + len(row) for row in lengths) + 1
    labels = torch.full((len(lengths), width), IGNORED)
    spans = []
    for number, row in enumerate(lengths):
        start = 1
        for length in row:
            labels[number, start : start + length] = 7
            spans.append((number, start, length))
            start += length + 1
    weights = token_weights(labels, weight, IGNORED)
    assert weights.shape == labels.shape and not weights[labels == IGNORED].any()
    for number, start, length in spans:
        answer = weights[number, start : start + length]
        assert answer.sum().item() == pytest.approx(length**power) and len(answer.unique()) == 1


def train_step(folder: Path, out: Path, **fields: Any) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    (logged,), weights = result_of(folder, out, train="tlm", max_steps=1, **fields)
    return logged, weights


def result_of(folder: Path, out: Path, **fields: Any) -> tuple[list[dict[str, Any]], dict[str, torch.Tensor]]:
    main(arguments(folder, out, **fields))
    return result(out)


def test_the_loss_is_the_mean_of_answers_over_the_whole_step(folder: Path, tmp_path: Path) -> None:
    whole, moved = train_step(folder, tmp_path / "whole", answer_weight="answers", per_device_train_batch_size=8)
    split, same = train_step(
        folder,
        tmp_path / "split",
        answer_weight="answers",
        per_device_train_batch_size=2,
        gradient_accumulation_steps=4,
    )
    assert split["loss"] == pytest.approx(whole["loss"], rel=1e-5)
    for name, value in moved.items():
        torch.testing.assert_close(same[name], value, rtol=1e-4, atol=1e-6)
    # By hand: every row is one answer, whose mean over its tokens counts once.
    recipe, config = parse(arguments(folder, tmp_path / "read", train="tlm"))
    trainer: Any = make_trainer(recipe, config)
    rows = list(trainer.train_dataset)
    with torch.no_grad():
        means = [trainer.model(**without_tasks(trainer.data_collator([row]))).loss.item() for row in rows]
    assert whole["loss"] == pytest.approx(sum(means) / len(means), rel=1e-4)
    plain, others = train_step(folder, tmp_path / "plain", per_device_train_batch_size=8)
    assert plain["loss"] != pytest.approx(whole["loss"], rel=1e-3)
    assert any(not torch.equal(value, others[name]) for name, value in moved.items())
    # What is said of each task is of tokens, whatever they weigh.
    assert {name: plain[name] for name in plain if name.startswith("loss_")} == {
        name: whole[name] for name in whole if name.startswith("loss_")
    }


def without_tasks(batch: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in batch.items() if name != "task_ids"}


def test_evaluations_weigh_tokens(folder: Path, tmp_path: Path) -> None:
    fields = {
        "learning_rate": 0.0,
        "eval_strategy": "steps",
        "eval_steps": 1,
        "dataset_test_split": "train",
        "eval_answers": 0,
        "max_steps": 1,
        "train": "tlm",
    }
    losses = []
    for weight in ("tokens", "answers"):
        trainer = make_trainer(*parse(arguments(folder, tmp_path / weight, answer_weight=weight, **fields)))
        trainer.train()
        losses.append([entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry])
    assert len(losses[0]) == 1 and losses[0] == losses[1]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"answer_weight": "boxes"}, "answer_weight: found 'boxes', expected one of tokens, square_root, answers"),
        ({"loss_type": "dft", "answer_weight": "answers"}, "answer_weight: found answers with another loss"),
    ],
)
def test_what_it_cannot_do_is_refused(folder: Path, tmp_path: Path, fields: dict[str, Any], told: str) -> None:
    with pytest.raises((InputError, ValueError), match=told):
        make_trainer(*parse(arguments(folder, tmp_path / "out", train="tlm", **fields)))
