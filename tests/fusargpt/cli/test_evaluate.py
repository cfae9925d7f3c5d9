"""`fusargpt evaluate` from the command line to its files, with tiny models."""

import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import BertConfig, CLIPImageProcessorPil, CLIPVisionConfig, LlamaConfig, LlavaConfig
from transformers.models.llava.modeling_llava import LlavaForConditionalGeneration
from transformers.models.llava.processing_llava import LlavaProcessor

from fusargpt.cli import evaluate
from fusargpt.cli.main import main
from fusargpt.evaluation.priors import SETTINGS
from fusargpt.geo.blank import blank
from fusargpt.inference import loading
from fusargpt.inference.predict import FusarGpt
from fusargpt.inference.questions import FusarGptAnswerer
from fusargpt.tasks import prompts
from tests.fusargpt.metrics.triplets import ANSWERS, SPOILT, read_results, spoil, write, write_backbone, write_model
from tests.phone import out_of_reach
from tests.space_app.browser import MISSING, find_browser
from tests.tiny import tiny_model, tiny_processor, tiny_tokenizer

MODEL, TRUE, NONE, SHUFFLED = "tiny", "tiny, prior true", "tiny, prior none", "tiny, prior shuffled"
BLIND = "tiny, prior blind"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models, a dataset, and one finished evaluation."""
    folder = tmp_path_factory.mktemp("evaluate")
    write_model(folder / MODEL)
    write_backbone(folder / "backbone")
    (folder / "data").mkdir()
    write(folder / "data")
    arguments = ("--prior", "true,none,shuffled,blind", "--baseline", folder / "backbone", "--baseline", "majority")
    assert run(folder, *arguments, "--out", folder / "done") == 0
    return folder


def run(place: Path, *arguments: object, model: str = MODEL, data: str = "data") -> int:
    chosen = [str(place / model), str(place / data), "--max-new-tokens", "10", "--device", "cpu"]
    return main(["evaluate", *chosen, *map(str, arguments)])


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The line with which `fusargpt evaluate` refuses the arguments."""
    capsys.readouterr()
    assert main(["evaluate", *map(str, arguments)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("fusargpt evaluate: error: ") and error.count("\n") == 1, error
    return error


def answers(folder: Path, label: str) -> dict[str, str]:
    return {found["id"]: found["answer"] for found in read_results(folder)["predictions"][label]}


def test_every_answer_is_kept_with_what_it_was_worth(place: Path):
    results = read_results(place / "done")
    assert list(results["predictions"]) == [TRUE, NONE, SHUFFLED, BLIND, "backbone", "majority"]
    for found in results["predictions"].values():
        assert len(found) == 3 * len(prompts.TASKS)
        for one in found:
            assert set(one) >= {"id", "task", "prompt", "answer", "parsed", "reference", "parts", "seconds"}
            image = int(one["id"].split("-")[1])
            assert one["reference"] == ANSWERS[one["task"]][image]
    scores = results["scores"]["count"]["accuracy"]
    assert {score["n"] for score in scores.values()} == {3}
    assert set(results["differences"]["count"]["accuracy"]) == {NONE, SHUFFLED, BLIND, "backbone", "majority"}
    assert results["settings"]["seed"] == 0 and results["versions"]["transformers"]


def test_the_prior_is_given_taken_away_and_exchanged(place: Path):
    true, none, shuffled = (answers(place / "done", label) for label in (TRUE, NONE, SHUFFLED))
    assert true != none != shuffled != true
    # Of three priors in a circle chip-0 got one of the other two.
    predictor = loading.load(place / MODEL, "cpu")
    results = read_results(place / "done")["predictions"]
    assert none["chip-0-count"] == asked_alone(predictor, place, "chip-0-count", results[NONE], prior=None)
    others = [asked_alone(predictor, place, "chip-0-count", results[NONE], prior=index) for index in (1, 2)]
    assert shuffled["chip-0-count"] in others


def test_another_engine_answers_and_is_kept_apart(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    from fusargpt.serving import engines

    monkeypatch.setattr(engines, "choose_engine", lambda name: name)
    monkeypatch.setattr(engines, "load_engine", lambda engine, model: loading.load(model, "cpu"))
    command = [place / MODEL, place / "data", "--max-new-tokens", 10, "--out", tmp_path / "out"]
    assert main(["evaluate", *map(str, command), "--engine", "vllm"]) == 0
    assert answers(tmp_path / "out", TRUE) == answers(place / "done", TRUE)
    assert read_results(tmp_path / "out")["settings"]["engine"] == "vllm"
    assert "engine" in refused(capsys, *command)
    assert "takes no --quantization" in refused(capsys, *command, "--engine", "vllm", "--quantization", "int8")


def test_blind_is_the_own_prior_with_nothing_to_see(place: Path):
    predictor = loading.load(place / MODEL, "cpu")
    found = read_results(place / "done")["predictions"][BLIND]
    unseen = answers(place / "done", BLIND)
    for name in ("chip-0-count", "chip-1-describe"):
        own = int(name.split("-")[1])
        assert unseen[name] == asked_alone(predictor, place, name, found, own, blank)
    assert unseen != answers(place / "done", TRUE)


def asked_alone(
    predictor: FusarGpt,
    place: Path,
    name: str,
    found: list[dict[str, Any]],
    prior: Any,
    seen: Callable[[Image.Image], Image.Image] = lambda image: image,
) -> str:
    from datasets import load_dataset

    from fusargpt.inference.rows import read_prior

    data: Any = load_dataset(str(place / "data"), split="test")
    row = next(row for row in data if row["id"] == name)
    question = next(one["prompt"] for one in found if one["id"] == name)
    other = None if prior is None else read_prior(data[prior * len(prompts.TASKS)])
    return predictor.answer(seen(row["image"].convert("RGB")), question, other, max_new_tokens=10)


def test_other_models_are_told_the_form_of_the_answer(place: Path):
    results = read_results(place / "done")
    asked = {label: {one["id"]: one["prompt"] for one in found} for label, found in results["predictions"].items()}
    assert asked[TRUE]["chip-0-count"] == asked["majority"]["chip-0-count"] == prompts.prompt("count")
    assert asked["backbone"]["chip-0-count"] == f"{prompts.prompt('count')} Answer with the number alone, in digits."
    assert "with corners in pixels of the image, which is 48 x 32, or None." in asked["backbone"]["chip-0-detect"]
    assert '[{"bbox_2d": [x1, y1, x2, y2], "label": "ship"}]' in asked["backbone"]["chip-0-detect"]
    assert "one class alone: aircraft, ship; or None." in asked["backbone"]["chip-0-classify"]
    assert [entry["with_form"] for entry in results["entries"]] == [False, False, False, False, True, False]


def test_the_majority_answer_is_that_of_the_training_split(place: Path):
    found = answers(place / "done", "majority")
    assert {found[f"chip-{image}-count"] for image in range(3)} == {"2"}
    assert all('"bbox_2d"' in found[f"chip-{image}-detect"] for image in range(3))


def test_the_report_is_one_file_that_loads_nothing(place: Path):
    html = (place / "done" / "report.html").read_text()
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", html) and "<script" not in html and "url(" not in html
    for label in (TRUE, NONE, SHUFFLED, BLIND, "backbone", "majority"):
        assert label in html
    # Of three images one is best and one worst, with a ship or more in each.
    assert html.count('class="true"') >= 2


@pytest.mark.slow
def test_the_report_is_whole_on_a_phone(place: Path):
    browser = find_browser()
    if browser is None:
        pytest.skip(MISSING)
    assert out_of_reach(place / "done" / "report.html", browser) == []


def test_a_run_that_was_cut_goes_on(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    shutil.copytree(place / "done", tmp_path / "cut")
    before = read_results(place / "done")
    journal = next((tmp_path / "cut" / "predictions").glob("*shuffled.jsonl"))
    journal.write_bytes(journal.read_bytes()[:-200])
    kept = len(journal.read_text().splitlines()) - 2
    asked: list[str] = []
    plain = FusarGptAnswerer.answers

    def count(self: Any, questions: Any, *options: int):
        def counted():
            for question in questions:
                asked.append(question.item.id)
                yield question

        return plain(self, counted(), *options)

    monkeypatch.setattr(FusarGptAnswerer, "answers", count)
    arguments = ("--prior", "true,none,shuffled,blind", "--baseline", place / "backbone", "--baseline", "majority")
    assert run(place, *arguments, "--out", tmp_path / "cut", "--batch-size", "1") == 0
    assert len(asked) == 15 - kept
    after = read_results(tmp_path / "cut")
    assert after["scores"] == before["scores"]


def test_answers_do_not_depend_on_the_size_of_a_batch(place: Path, tmp_path: Path):
    assert run(place, "--batch-size", 1, "--out", tmp_path / "one") == 0
    assert answers(tmp_path / "one", TRUE) == answers(place / "done", TRUE)


def test_a_folder_with_other_settings_is_refused(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    base = (place / MODEL, place / "data")
    message = refused(capsys, *base, "--out", place / "done", "--limit", 1)
    assert "with tasks" in message or "with limit null, now 1; choose another place" in message
    (tmp_path / "notes.txt").touch()
    assert "not empty, and no evaluation" in refused(capsys, *base, "--out", tmp_path)


def break_two(rows: list[dict[str, Any]]) -> None:
    rows[0]["image"] = {"bytes": b"no image", "path": None}
    rows[6]["completion"][0]["content"] = "several"
    rows[7]["prior_positions"] = rows[7]["prior_positions"] + 3


@pytest.mark.slow
def test_items_that_fail_cost_no_others(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    write(tmp_path, break_two)
    plain = FusarGptAnswerer.answers

    def stumble(self: Any, questions: Any, *options: int):
        def taken():
            for question in questions:
                if question.item.id == "chip-2-count":
                    raise torch.OutOfMemoryError("too large")
                yield question

        return plain(self, taken(), *options)

    monkeypatch.setattr(FusarGptAnswerer, "answers", stumble)
    assert run(place, "--out", tmp_path / "out", data=str(tmp_path)) == 1
    failures = {failure["id"]: failure["reason"] for failure in read_results(tmp_path / "out")["failures"]}
    assert set(failures) == {"chip-0-describe", "chip-1-count", "chip-1-localize", "chip-2-count"}
    assert failures["chip-2-count"] == "too large" and "whole number" in failures["chip-1-count"]
    assert len(answers(tmp_path / "out", TRUE)) == 11
    error = capsys.readouterr().err
    assert "4 questions failed; the same command tries them again:" in error
    monkeypatch.undo()
    run(place, "--out", tmp_path / "out", data=str(tmp_path))
    assert len(answers(tmp_path / "out", TRUE)) == 12


def test_what_a_model_writes_is_text_in_the_report(place: Path, tmp_path: Path):
    def inject(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            row["id"] = f"<script>{row['id']}</script>"

    write(tmp_path, inject)
    assert run(place, "--tasks", "describe,detect", "--out", tmp_path / "out", data=str(tmp_path)) == 0
    html = (tmp_path / "out" / "report.html").read_text()
    assert "<script>" not in html and "&lt;script&gt;chip-0-" in html


def write_llava(folder: Path) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    tokenizer.chat_template = (
        "{% for message in messages %}{% for part in message['content'] %}"
        "{{ '<image>' if part['type'] == 'image' else part['text'] }}{% endfor %}{% endfor %}"
    )
    images = CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    size: dict[str, Any] = dict.fromkeys(("hidden_size", "intermediate_size"), 16)
    size |= dict.fromkeys(("num_hidden_layers", "num_attention_heads"), 2)
    fields: dict[str, Any] = {"image_token_id": tokenizer.convert_tokens_to_ids("<image>")}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**size, image_size=16, patch_size=8),
        text_config=LlamaConfig(**size, vocab_size=len(tokenizer), num_key_value_heads=2),
        **fields,
        vision_feature_layer=-1,
    )
    torch.manual_seed(0)
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    LlavaProcessor(
        images, tokenizer, patch_size=8, vision_feature_select_strategy="default", num_additional_image_tokens=1
    ).save_pretrained(folder)


@pytest.mark.slow
def test_any_model_that_answers_about_images_can_be_asked(place: Path, tmp_path: Path):
    write_llava(tmp_path / "llava")
    arguments = ("--tasks", "count", "--prior", "true,none")
    assert run(place, *arguments, "--out", tmp_path / "three", model=str(tmp_path / "llava")) == 0
    assert run(place, *arguments, "--batch-size", 1, "--out", tmp_path / "one", model=str(tmp_path / "llava")) == 0
    found = answers(tmp_path / "three", "llava")
    assert len(found) == 3 and found == answers(tmp_path / "one", "llava")


def test_a_model_without_a_fusion_is_asked_once(place: Path, tmp_path: Path):
    alike = tiny_model(tlm_config={"fusion": "none"})
    alike.save_pretrained(tmp_path / "alike")
    tiny_processor().save_pretrained(tmp_path / "alike")
    baseline = ("--baseline", tmp_path / "alike")
    assert run(place, "--tasks", "count", "--prior", "true,none", *baseline, "--out", tmp_path / "out") == 0
    assert list(read_results(tmp_path / "out")["predictions"]) == [TRUE, NONE, "alike"]


def test_boxes_of_a_plain_qwen3_are_thousandths(place: Path, tmp_path: Path):
    write_backbone(tmp_path / "qwen3", "qwen3")
    model = str(tmp_path / "qwen3")
    assert run(place, "--tasks", "detect", "--limit", 1, "--out", tmp_path / "out", model=model) == 0
    (found,) = read_results(tmp_path / "out")["predictions"]["qwen3"]
    assert found["seen"] == [1000, 1000]
    assert "with corners in thousandths of the image's width and height" in found["prompt"]


@pytest.mark.slow
def test_a_parquet_file_and_the_simulator_are_asked_too(place: Path, tmp_path: Path):
    file = place / "data" / "test-00000-of-00001.parquet"
    assert run(place, "--limit", 2, "--out", tmp_path / "file", data=str(file)) == 0
    assert read_results(tmp_path / "file")["settings"]["questions"] == dict.fromkeys(prompts.TASKS, 2)
    arguments = [str(place / MODEL), "simulator", "--limit", "2", "--tasks", "count", "--max-new-tokens", "2"]
    assert main(["evaluate", *arguments, "--out", str(tmp_path / "simulated"), "--device", "cpu"]) == 0
    assert list(answers(tmp_path / "simulated", TRUE)) == [
        "simulated-v1-20000000-sar-count",
        "simulated-v1-20000001-sar-count",
    ]


def test_a_dataset_that_is_no_folder_is_not_looked_for_on_the_hub(place: Path, capsys: pytest.CaptureFixture[str]):
    assert "nowhere: there is no such folder; expected a dataset's folder" in refused(capsys, place / MODEL, "nowhere")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tasks", "counting"], "--tasks: found 'counting'; expected of describe, count"),
        (["--prior", "false"], "--prior: found 'false'; expected of true, none, shuffled"),
        (["--limit", "0"], "--limit: found 0; expected at least 1"),
        (["--split", "tset"], "split 'tset' cannot be read: "),
        (["--config", "captions"], "split 'test' cannot be read: "),
        (["--baseline", "absent"], "absent: no such model folder"),
        (["--device", "gpu0"], "device: found 'gpu0', which torch cannot use"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
):
    assert message in refused(capsys, place / MODEL, place / "data", *arguments, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda rows: [row.update(task="counting") for row in rows],
            "none of 15 rows can be asked; chip-0-describe: task: found 'counting'; expected one of describe",
        ),
        (lambda rows: rows.clear(), "split 'test' cannot be read: "),
        (lambda rows: [row.update(task="count", completion=row["prompt"]) for row in rows], "none of 15 rows can be"),
    ],
)
def test_rows_of_which_none_can_be_asked_are_refused_in_one_line(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Any, message: str
):
    write(tmp_path, change)
    assert message in refused(capsys, place / MODEL, tmp_path, "--out", tmp_path / "out")


@pytest.mark.slow
def test_bad_rows_cost_themselves_alone(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write(tmp_path / "bad", spoil)
    assert run(place, "--out", tmp_path / "out", data=str(tmp_path / "bad")) == 1
    error = capsys.readouterr().err
    assert f"{len(SPOILT)} questions failed; the same command tries them again:" in error
    for expected in SPOILT:
        assert f"  {expected}" in error, error
    results = read_results(tmp_path / "out")
    assert [failure["id"] for failure in results["failures"]].count("row 1") == 1
    good = {name: answer for name, answer in answers(place / "done", TRUE).items() if name.startswith("chip-2")}
    found = answers(tmp_path / "out", TRUE)
    assert len(good) == 5 and {name: found[name] for name in good} == good
    assert len(found) == 15 - len(SPOILT)


@pytest.mark.slow
def test_two_runs_on_one_folder(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    plain = FusarGptAnswerer.answers

    def second(self: Any, *arguments: Any):
        monkeypatch.setattr(FusarGptAnswerer, "answers", plain)
        assert run(place, "--out", tmp_path / "out") == 2
        return plain(self, *arguments)

    monkeypatch.setattr(FusarGptAnswerer, "answers", second)
    assert run(place, "--out", tmp_path / "out") == 0
    assert f"{tmp_path / 'out'}: another run is at work on it (process " in capsys.readouterr().err
    assert not (tmp_path / "out" / ".lock").exists()


@pytest.mark.slow
def test_a_disk_that_is_full_at_the_end_costs_no_answer(
    place: Path, small_disk: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """And the same command asks nothing again."""
    out = small_disk / "out"
    asked: list[int] = []
    plain = FusarGptAnswerer.answers

    def fill(self: Any, *arguments: Any):
        for answered in plain(self, *arguments):
            asked.append(len(answered))
            if sum(asked) == 15:
                (small_disk / "other").write_bytes(bytes(shutil.disk_usage(small_disk).free - 20_000))
            yield answered

    monkeypatch.setattr(FusarGptAnswerer, "answers", fill)
    assert run(place, "--out", out, "--batch-size", 5) == 2
    error = capsys.readouterr().err
    assert re.search(
        rf"fusargpt evaluate: error: {out}/(results.json|report.html): no room left in {out} .*; the answers are kept",
        error,
    )
    (small_disk / "other").unlink()
    asked.clear()
    assert run(place, "--out", out, "--batch-size", 5) == 0 and not asked


def test_a_closed_folder_is_said_before_anything_is_asked(
    place: Path, closed_folder: Path, capsys: pytest.CaptureFixture[str]
):
    assert "cannot be made a folder (Read-only file system); choose another place" in refused(
        capsys, place / MODEL, place / "data", "--out", closed_folder / "out"
    )


def test_a_dataset_without_the_columns_of_triplets_is_refused(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "test.csv").write_text("id,question\n1,How many?\n")
    message = refused(capsys, place / MODEL, tmp_path, "--out", tmp_path / "out")
    assert "no column image, task, prompt, completion, prior_embeddings, prior_positions; found id, question" in message


def test_the_majority_answer_needs_a_training_split(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "data").mkdir()
    write(tmp_path / "data")
    (tmp_path / "data" / "train-00000-of-00001.parquet").unlink()
    base = (place / MODEL, tmp_path / "data", "--baseline", "majority")
    assert "split 'train' cannot be read: " in refused(capsys, *base, "--out", tmp_path / "out")


def test_a_model_that_does_not_see_is_refused(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    BertConfig().save_pretrained(tmp_path / "bert")
    message = refused(capsys, tmp_path / "bert", place / "data", "--out", tmp_path / "out")
    assert "a model of type bert; expected one that answers about images" in message


def test_the_choices_are_those_of_the_benchmark():
    assert evaluate.PRIORS == SETTINGS


def test_without_the_extra_the_user_learns_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    for name in ("report", "score_panels"):
        monkeypatch.delitem(sys.modules, f"fusargpt.evaluation.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert "evaluation needs jinja2; this brings it: " in refused(capsys, "owner/model", "owner/data")


@pytest.mark.slow
def test_constrained_answers_are_readable_and_those_of_other_models_free(place: Path, tmp_path: Path):
    model = str(place / MODEL)
    arguments = [model, str(place / "data"), "--baseline", str(place / "backbone"), "--max-new-tokens", "90"]
    out = ["--out", str(tmp_path / "out"), "--device", "cpu", "--answer-form", "never"]
    assert main(["evaluate", *arguments, *out, "--constrained"]) == 0
    results = read_results(tmp_path / "out")
    assert results["settings"]["constrained"] is True
    for entry in (TRUE, "backbone"):
        for found in results["predictions"][entry]:
            assert found["task"] == "describe" or not found["problems"], found
    # Free answers are not taken for constrained ones.
    assert main(["evaluate", *arguments, *out]) == 2


def test_constrained_says_what_to_install(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "llguidance", None)
    assert "[constrained]'" in refused(capsys, place / MODEL, place / "data", "--constrained")
