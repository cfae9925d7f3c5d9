# pyright: reportPrivateUsage=false
"""A stage of reinforcement through TRL's real GRPOTrainer on a tiny model: what moves, and what reaches what."""

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from datasets import Dataset
from torch import Tensor
from trl.trainer.utils import RepeatSampler

from fusargpt.cli.main import main as fusargpt
from fusargpt.errors import InputError
from fusargpt.geo.prior import PRIOR_COLUMNS
from modeling_fusargpt import AnyFusarGpt
from tests.paths import RECIPES
from tests.trl_recipes.grpo.stages import ANSWERS, reinforcement, write_rows
from tests.trl_recipes.running.killing import at_call, half_written, run_until
from tests.trl_recipes.stages import write_base
from trl_recipes.data.rows import Row
from trl_recipes.grpo import rows as rows_module
from trl_recipes.grpo import sampling
from trl_recipes.grpo import trainer as trainer_module
from trl_recipes.grpo.arguments import parse
from trl_recipes.grpo.rows import QuestionSampler, questions
from trl_recipes.grpo.train import main, make_trainer
from trl_recipes.grpo.trainer import ReinforcementTrainer
from trl_recipes.model.checkpoint import load_model
from trl_recipes.model.parameters import part_of, without_adapters
from trl_recipes.running.atomic_runs import checkpoints

EVALUATED = {
    "eval_strategy": "steps",
    "eval_steps": 1,
    "dataset_test_split": "train[:5]",
    "eval_answer_tokens": 3,
    "eval_on_start": True,
}
REPLAY = {"replay_weight": 0.5, "replay_batch_size": 2, "pairs_per_sequence": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model in base/, whose TLM is not the identity, and ten rows of five tasks in rows/."""
    folder = tmp_path_factory.mktemp("reinforcement")
    write_base(folder)
    write_rows(folder / "rows")
    return folder


@pytest.fixture
def by_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rewards that a tiny model can earn: they depend on the length of an answer."""
    monkeypatch.setattr(rows_module, "reward", lambda task, answer, reference, ended=True: len(answer) % 5 / 5)


def trainer_of(folder: Path, tmp_path: Path, **fields: object) -> ReinforcementTrainer:
    return make_trainer(*parse(reinforcement(folder, tmp_path / "out", **fields)))


def rows_at_hand(trainer: ReinforcementTrainer) -> list[Row]:
    """Two questions, each as often as answers are drawn to it."""
    trainer.model.train()
    return next(iter(trainer.get_train_dataloader()))


def with_priors_exchanged(rows: list[Row]) -> list[Row]:
    """Each question with the prior of the other."""
    numbers = list(dict.fromkeys(row["number"] for row in rows))
    first = {row["number"]: row for row in rows}
    other = dict(zip(numbers, reversed(numbers), strict=True))
    return [{**row, **{name: first[other[row["number"]]][name] for name in PRIOR_COLUMNS}} for row in rows]


def loss_of(trainer: ReinforcementTrainer, rows: list[Row], drawn: dict[str, Any]) -> Tensor:
    """Log-probabilities of drawn answers as the loss has them, to the questions of `rows`."""
    trainer._rows = rows
    ids = torch.cat([drawn["prompt_ids"], drawn["completion_ids"]], dim=1)
    mask = torch.cat([drawn["prompt_mask"], drawn["completion_mask"]], dim=1)
    kept = drawn["completion_ids"].shape[1]
    with torch.no_grad():
        found, _, _ = trainer._get_per_token_logps_and_entropies(trainer.model, ids, mask, kept)
    return found


def test_only_lora_moves_and_all_else_stays_bit_for_bit(folder: Path, tmp_path: Path, by_length: None) -> None:
    trainer = trainer_of(folder, tmp_path, **REPLAY)
    before = {name: value.clone() for name, value in trainer.model.named_parameters()}
    trainer.train()
    changed = {name for name, value in trainer.model.named_parameters() if not torch.equal(value, before[name])}
    assert {part_of(name) for name in changed} == {"LoRA"}
    assert {name for name in before if "lora_B" in name} <= changed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("train", "expected"),
    [("tlm", {"TLM"}), ("tlm+lora", {"TLM", "LoRA"}), ("language", {"language model", "lm_head"})],
)
def test_the_reward_moves_what_the_recipe_says(
    folder: Path, tmp_path: Path, by_length: None, train: str, expected: set[str]
) -> None:
    trainer = trainer_of(folder, tmp_path, train=train)
    before = {name: value.clone() for name, value in trainer.model.named_parameters()}
    trainer.train()
    changed = {name for name, value in trainer.model.named_parameters() if not torch.equal(value, before[name])}
    assert {part_of(name) for name in changed} == expected


def test_answers_have_the_log_probabilities_that_the_loss_gives_them(folder: Path, tmp_path: Path) -> None:
    trainer = trainer_of(folder, tmp_path, temperature=0.7)
    rows = rows_at_hand(trainer)
    drawn = trainer._generate_and_score_completions(rows)
    mask = drawn["completion_mask"].bool()
    assert len(rows) == 8 and mask.sum() > 8
    torch.testing.assert_close(
        loss_of(trainer, rows, drawn)[mask], drawn["sampling_per_token_logps"][mask], atol=2e-5, rtol=1e-5
    )
    # And those that each answer has alone, in a sequence of its own.
    model = without_adapters(trainer.model)
    for place, row in enumerate(rows):
        shown = trainer.collator.shown([row])
        prompt = drawn["prompt_ids"][place][drawn["prompt_mask"][place].bool()]
        answer = drawn["completion_ids"][place][mask[place]]
        ids = torch.cat([prompt, answer])[None]
        kind = (ids == trainer.collator.processor.image_token_id).int()
        with torch.no_grad():
            logits = model(input_ids=ids, mm_token_type_ids=kind, **shown).logits[0]
        alone = (logits[len(prompt) - 1 : -1] / 0.7).log_softmax(-1).gather(1, answer[:, None])[:, 0]
        torch.testing.assert_close(alone, drawn["sampling_per_token_logps"][place][mask[place]], atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("cached", [False, True])
def test_the_prior_reaches_what_is_drawn_and_the_loss(folder: Path, tmp_path: Path, cached: bool) -> None:
    fields = {"feature_cache": tmp_path / "features"} if cached else {}
    trainer = trainer_of(folder, tmp_path, **fields)
    rows = rows_at_hand(trainer)
    others = with_priors_exchanged(rows)
    torch.manual_seed(0)
    drawn = trainer._generate_and_score_completions(rows)
    torch.manual_seed(0)
    again = trainer._generate_and_score_completions(rows)
    torch.manual_seed(0)
    shuffled = trainer._generate_and_score_completions(others)
    assert torch.equal(drawn["sampling_per_token_logps"], again["sampling_per_token_logps"])
    first = [one["sampling_per_token_logps"][:, 0] for one in (drawn, shuffled)]
    assert not torch.isclose(*first, atol=1e-4).all()
    mask = drawn["completion_mask"].bool()
    own, theirs = loss_of(trainer, rows, drawn)[mask], loss_of(trainer, others, drawn)[mask]
    assert (own - theirs).abs().max() > 1e-4


def test_answers_that_earn_what_the_others_do_are_left_out_and_the_gradient_stays(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = trainer_of(folder, tmp_path)
    rows = rows_at_hand(trainer)
    drawn = trainer._generate_and_score_completions(rows)
    drawn["advantages"] = torch.tensor([1.0, -1, 0, 0, 0, 0, 0, 0])
    trainer.current_gradient_accumulation_steps = 1
    gradients: list[list[Tensor]] = []
    for kept in (trainer_module.informative, lambda inputs, advantages: inputs):
        monkeypatch.setattr(trainer_module, "informative", kept)
        trainer.model.zero_grad()
        trainer._compute_loss(trainer.model, dict(drawn)).backward()
        gradients.append([p.grad.clone() for p in trainer.model.parameters() if p.grad is not None])
    assert any(gradient.abs().max() > 0 for gradient in gradients[0])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


def test_a_drawn_token_of_images_ends_its_answer_which_is_worth_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = trainer_of(folder, tmp_path)
    image_token = trainer.collator.processor.image_token_id
    monkeypatch.setattr(sampling, "_drawn", lambda scores, rows: torch.full((len(rows),), image_token))
    rows = rows_at_hand(trainer)
    drawn = trainer._generate_and_score_completions(rows)
    assert drawn["completion_ids"].tolist() == [[image_token]] * len(rows)
    assert trainer._metrics["train"]["reward"] == [0.0]
    mask = drawn["completion_mask"].bool()
    torch.testing.assert_close(loss_of(trainer, rows, drawn)[mask], drawn["sampling_per_token_logps"][mask])


def test_true_answers_are_replayed_with_their_weight(folder: Path, tmp_path: Path) -> None:
    trainer = trainer_of(folder, tmp_path, **REPLAY)
    drawn = trainer._generate_and_score_completions(rows_at_hand(trainer))
    trainer.current_gradient_accumulation_steps = 1
    with torch.no_grad():
        both = trainer._compute_loss(trainer.model, dict(drawn))
        (replayed,) = trainer._metrics["train"]["replay_loss"]
        replay, trainer.replay = trainer.replay, None
        alone = trainer._compute_loss(trainer.model, dict(drawn))
    assert both.item() == pytest.approx(alone.item() + 0.5 * replayed)
    assert replay is not None and len(replay.rows) == 5  # two questions about each of five images
    seen = [[pair["completion"][0]["content"] for row in replay.batch(n, 0) for pair in row["pairs"]] for n in range(9)]
    assert set(ANSWERS.values()) == {answer for batch in seen for answer in batch}
    assert seen[3] == [pair["completion"][0]["content"] for row in replay.batch(3, 0) for pair in row["pairs"]]
    assert seen[0] != seen[1]


def test_of_some_tasks_alone_true_answers_are_replayed_where_they_are_named(folder: Path, tmp_path: Path) -> None:
    kept = {name: answer for name, answer in ANSWERS.items() if name in ("count", "describe")}
    replay = trainer_of(folder, tmp_path, **REPLAY, replay_tasks=list(kept)).replay
    assert replay is not None
    batches = [replay.batch(number, 0) for number in range(9)]
    answers = {pair["completion"][0]["content"] for batch in batches for row in batch for pair in row["pairs"]}
    assert answers == set(kept.values()) != set(ANSWERS.values())
    with pytest.raises(InputError, match="replay_tasks: found aircraft, of which dataset_name has no row"):
        trainer_of(folder, tmp_path, **REPLAY, replay_tasks=["count", "aircraft"])


def test_questions_are_asked_in_the_shares_of_their_tasks(folder: Path, tmp_path: Path) -> None:
    rows = rows_of(write_rows(tmp_path / "many", rows=400))
    asked = questions(rows, ["detect", "detect", "detect", "count"], seed=0)
    found = list(asked["task"])
    assert set(found) == {"detect", "count"} and 0.65 < found.count("detect") / len(found) < 0.85
    assert set(asked["number"]) == {row for row in range(400) if rows[row]["task"] in ("detect", "count")}
    with pytest.raises(InputError, match="tasks: found localize, of which dataset_name has no row"):
        questions(rows.filter(lambda row: row["task"] != "localize"), ["localize"], seed=0)
    with pytest.raises(InputError, match="rows have no column task"):
        questions(rows.remove_columns("task"), ["count"], seed=0)


def test_a_true_answer_that_cannot_be_read_is_refused_before_the_first_step(folder: Path, tmp_path: Path) -> None:
    rows = rows_of(folder / "rows").map(
        lambda row: {"completion": [{"role": "assistant", "content": "many"}]} if row["task"] == "count" else row
    )
    with pytest.raises(InputError, match="a completion of count: the true answer cannot be read"):
        questions(rows, ["count"], seed=0)


def test_the_order_of_questions_depends_on_seed_and_epoch_alone() -> None:
    def epoch(number: int, before: int = 0) -> list[int]:
        sampler = QuestionSampler(RepeatSampler(range(12), mini_repeat_count=2, batch_size=3, seed=1), seed=1)
        for _ in range(before):
            list(sampler)
        sampler.set_epoch(number)
        return list(sampler)

    assert epoch(1) == epoch(1, before=2) != epoch(0)
    assert sorted(set(epoch(2))) == list(range(12))


def rows_of(folder: Path) -> Dataset:
    return Dataset.from_parquet(str(folder / "train-00000-of-00001.parquet"))


def test_the_verb_runs_it_and_the_card_has_rewards_and_scores_before_and_after(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert fusargpt(["train", *reinforcement(folder, out, save="trained", **EVALUATED, **REPLAY)]) == 0
    history = json.loads((out / "trainer_state.json").read_text())["log_history"]
    assert [entry["step"] for entry in history if "eval_detect_f1@0.50" in entry] == [0, 1, 2]
    assert all(
        {"reward", "replay_loss", "entropy", "answers_per_second"} <= set(entry) for entry in history if "loss" in entry
    )
    card = (out / "README.md").read_text()
    assert "mean reward of drawn answers was 0 at step 1" in card
    assert "| `num_generations` | `4` |" in card and "| `tasks` | `['count', 'detect']` |" in card
    assert "before the stage" in card and "| detect | f1@0.50 | 1 |" in card
    assert (out / "curves.png").is_file() and (out / "adapter_model.safetensors").is_file()
    assert not {part_of(name) for name in moved(folder / "base", out)} - {"language model"}  # LoRA, merged


def moved(one: Path, other: Path) -> set[str]:
    models: list[AnyFusarGpt] = [load_model(str(path)) for path in (one, other)]
    state = dict(models[0].named_parameters())
    return {name for name, value in models[1].named_parameters() if not torch.equal(value, state[name])}


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields",
    [
        {"feature_cache": "features", **EVALUATED, **REPLAY},
        {"num_iterations": 2, "gradient_accumulation_steps": 2, "per_device_train_batch_size": 4, "beta": 0.1},
    ],
    ids=["replay", "two passes"],
)
def test_a_run_killed_again_and_again_ends_as_one_that_was_not(
    folder: Path, tmp_path: Path, fields: dict[str, Any], by_length: None
) -> None:
    fields = {**fields, "resume": True, "max_steps": 6, "logging_steps": 3, "save_strategy": "steps", "save_steps": 2}
    if "feature_cache" in fields:
        fields["feature_cache"] = tmp_path / "features"
    main(reinforcement(folder, tmp_path / "whole", **deepcopy(fields)))
    command = reinforcement(folder, tmp_path / "cut", **deepcopy(fields))
    kills: list[tuple[Callable[[], None], list[str]]] = [
        (at_call(ReinforcementTrainer, "training_step", 2), []),
        (half_written(torch, "save"), []),  # in the writing of checkpoint-2
        (
            at_call(ReinforcementTrainer, "training_step", 3 * fields.get("gradient_accumulation_steps", 1) + 1),
            ["checkpoint-2"],
        ),
    ]
    for patch, left in kills:
        run_until(command, patch, main)
        assert [path.name for path in checkpoints(tmp_path / "cut")] == left
    main(command)
    assert curve(tmp_path / "whole") == curve(tmp_path / "cut")
    weights = [
        {path.name: path.read_bytes() for path in run.rglob("*.safetensors")}
        for run in (tmp_path / "whole", tmp_path / "cut")
    ]
    assert weights[0] == weights[1]


def curve(output_dir: Path) -> list[str]:
    """All that was logged but for how long it took; NaN is as NaN."""
    history = json.loads((output_dir / "trainer_state.json").read_text())["log_history"]
    timed = ("runtime", "per_second", "step_time")
    return [str({name: value for name, value in entry.items() if not name.endswith(timed)}) for entry in history]


@pytest.mark.parametrize("name", ["stage3.yaml", "nano/stage3.yaml", "mini/stage3.yaml"])
def test_every_recipe_parses(name: str) -> None:
    stage, config = parse([str(RECIPES / name), "--use_cpu", "true"])
    written = yaml.safe_load((RECIPES / name).read_text())
    assert stage.tasks == written["tasks"] and config.learning_rate == written["learning_rate"]
    drawn, each = config.generation_batch_size, config.num_generations
    assert drawn is not None and each is not None and drawn % each == 0
    # The answers to a question stay in one batch, and are read with it once.
    assert config.per_device_train_batch_size == config.generation_batch_size


def test_it_is_not_planned_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert fusargpt(["plan", "trl_recipes/stage3.yaml"]) == 2
    error = capsys.readouterr().err
    assert "found system: fusar-gpt-grpo, expected a recipe of stage 1 or 2" in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"learning_rat": 1}, "learning_rat"),
        ({"tasks": ["describe"]}, "tasks: found describe, expected some of count, localize, classify, detect"),
        ({"tasks": []}, "tasks: found none"),
        ({"system": "fusar-klip"}, "system: found 'fusar-klip', expected fusar-gpt-grpo"),
        ({"replay_weight": -1.0}, "replay_weight: found -1.0"),
        ({"replay_batch_size": 4}, "replay_batch_size: found 4, which has no effect without replay_weight above 0"),
        ({"replay_tasks": ["count"]}, "replay_tasks: found ['count'], which has no effect without replay_weight above"),
        ({"replay_tasks": [], **REPLAY}, "replay_tasks: found none"),
        ({"pairs_per_sequence": 2}, "pairs_per_sequence: found 2, which has no effect without replay_weight above 0"),
        ({"lora_dropout": 0.1}, "lora_dropout: found 0.1, expected 0"),
        ({"answer_weight": "square_root"}, "answer_weight: found square_root, expected tokens"),
        ({"pointed_attention": 0.3}, "pointed_attention: found 0.3, expected 0"),
        ({"earlier_answers": "visible", **REPLAY}, "earlier_answers: found visible, expected hidden"),
        ({"beta": 0.1, "train": "language"}, "beta: found 0.1 with train: language, expected 0"),
        ({"top_p": 0.9}, "top_p: found 0.9, expected 1.0"),
        ({"use_vllm": True}, "use_vllm: found True, expected false"),
        ({"vllm_mode": "server"}, "vllm_mode: found 'server', expected colocate"),
        ({"repetition_penalty": 1.2}, "repetition_penalty: found 1.2"),
        ({"log_completions": True}, "log_completions: found True"),
        ({"mask_truncated_completions": True}, "mask_truncated_completions: found True"),
        (
            {"num_iterations": 2, "save_strategy": "steps", "save_steps": 3},
            "save_steps: found 3, expected a multiple of 2",
        ),
        ({"eval_answers": 3}, "eval_answers: found 3 without evaluations"),
        ({"max_length": None}, "max_length"),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value[:30],
)
def test_what_has_no_effect_or_would_be_wrong_is_refused(
    folder: Path, tmp_path: Path, fields: dict[str, object], message: str
) -> None:
    with pytest.raises((InputError, ValueError)) as caught:
        parse(reinforcement(folder, tmp_path / "out", **fields))
    assert message in str(caught.value)


def test_evaluations_need_questions(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="evaluations that answer no question"):
        trainer_of(folder, tmp_path, **EVALUATED, eval_answers=0)
