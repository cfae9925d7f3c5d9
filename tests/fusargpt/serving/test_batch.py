"""Batches over folders and datasets: the answers of `FusarGpt.answers`, gone on with where cut, no good work lost."""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import ray
from PIL import Image

from fusargpt.cli.batch import main
from fusargpt.errors import InputError
from fusargpt.geo.prior import Prior, load_prior, save_prior
from fusargpt.inference.confidences import ScoredAnswer
from fusargpt.inference.counts import CountDistribution
from fusargpt.inference.loading import load
from fusargpt.inference.predict import FusarGpt
from fusargpt.serving.batch import BatchSettings, Report, run_batch
from fusargpt.serving.batch_inputs import ImageFolder, TripletDataset
from fusargpt.tasks import prompts
from tests.answering import by_batches
from tests.fusargpt.metrics.triplets import SPOILT, spoil, write
from tests.fusargpt.serving.questions import DATASET
from tests.tiny import random_image, random_prior, stir_tlm, tiny_model, tiny_processor

QUESTION = "How many ships?"
TOKENS = 6


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("model")
    tiny = tiny_model()
    stir_tlm(tiny)
    tiny.save_pretrained(folder)
    tiny_processor().save_pretrained(folder)
    return str(folder)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Five images, one in a folder below; two have a prior beside them."""
    folder = tmp_path / "images"
    (folder / "below").mkdir(parents=True)
    for index, name in enumerate(("a", "b", "c", "d", "below/e")):
        random_image(32, 40 + 8 * index, seed=index).save(folder / f"{name}.png")
    for name, anchors in (("b", 3), ("below/e", 7)):
        prior = random_prior(anchors)
        save_prior(folder / f"{name}.npz", Prior(prior["prior_embeddings"], prior["prior_positions"]))
    return folder


def batch(folder: Path, model: str, out: Path, **options: Any) -> Report:
    return run_batch(ImageFolder(folder, QUESTION), settings(out, model, **options))


def settings(out: Path, model: str, **options: Any) -> BatchSettings:
    chosen: dict[str, Any] = {"engine": "transformers", "batch_size": 2, "max_new_tokens": TOKENS, **options}
    return BatchSettings(out, model, **chosen)


def rows(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_answers_are_those_of_the_model(images: Path, model: str, tmp_path: Path) -> None:
    report = batch(images, model, tmp_path / "out.parquet")
    found = pq.read_table(tmp_path / "out.parquet").to_pylist()
    paths = sorted(images.rglob("*.png"))
    priors = [load_prior(path.with_suffix(".npz")) if path.with_suffix(".npz").exists() else None for path in paths]
    pictures = [Image.open(path) for path in paths]
    expected = load(model).answers(pictures, [QUESTION] * 5, priors, TOKENS)
    assert [row["answer"] for row in found] == expected and len(set(expected)) > 1
    assert [row["id"] for row in found] == ["a.png", "b.png", "below/e.png", "c.png", "d.png"]
    assert [row["anchors"] for row in found] == [0, 3, 7, 0, 0]
    assert [(row["seen_width"], row["seen_height"]) for row in found] == [picture.size for picture in pictures]
    assert report.answered == 5 and not report.failures
    assert not list(tmp_path.glob(".*")), "no journal is left"


def test_a_dataset_is_asked_its_own_questions(model: str, tmp_path: Path) -> None:
    source = TripletDataset(DATASET, configs=("instructions",), tasks=("count", "detect"))
    run_batch(source, settings(tmp_path / "out.jsonl", model, batch_size=8))
    found = rows(tmp_path / "out.jsonl")
    items, unasked = source.items()
    assert not unasked
    read = [source.read(item) for item in items]
    questions = [item.question for item in items]
    pictures, priors = [image for image, *_ in read], [prior for _, prior, _ in read]
    assert [row["answer"] for row in found] == load(model).answers(pictures, questions, priors, TOKENS)
    assert {row["task"] for row in found} == {"count", "detect"} and [row["question"] for row in found] == questions
    assert all(row["anchors"] for row in found)


@pytest.mark.slow
def test_two_workers_on_ray_write_the_same_file(images: Path, model: str, tmp_path: Path, ray_cluster: None) -> None:
    (images / "broken.png").write_bytes(b"no image")
    Image.new("RGB", (8000, 28)).save(images / "long.png")  # which the model refuses, its batch with it
    alone = batch(images, model, tmp_path / "alone.jsonl")
    shared = batch(images, model, tmp_path / "shared.jsonl", workers=2)
    assert shared.out.read_bytes() == alone.out.read_bytes() and len(rows(shared.out)) == 5
    assert shared.failures == alone.failures and [failure.id for failure in alone.failures] == [
        "broken.png",
        "long.png",
    ]


def test_a_cluster_that_is_not_there_is_said_in_one_line(
    images: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_cluster(**_: Any) -> None:
        raise ConnectionError("Could not find a running Ray instance.\nPlease start one.")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", no_cluster)
    with pytest.raises(InputError, match=r"workers: Ray cannot be joined or started: .* instance\. Please start one\."):
        batch(images, model, tmp_path / "out.jsonl", workers=2)


def test_a_batch_that_was_cut_goes_on(
    images: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = batch(images, model, tmp_path / "whole.jsonl")
    asked: list[int] = []
    answers = FusarGpt.answers

    def cut(self: FusarGpt, pictures: Sequence[Image.Image], *rest: Any, **options: Any) -> list[str]:
        asked.append(len(pictures))
        if len(asked) == 2:
            raise KeyboardInterrupt
        return answers(self, pictures, *rest, **options)

    monkeypatch.setattr(FusarGpt, "in_turn", by_batches(cut))
    with pytest.raises(KeyboardInterrupt):
        batch(images, model, tmp_path / "cut.jsonl")
    assert not (tmp_path / "cut.jsonl").exists()
    batch(images, model, tmp_path / "cut.jsonl")
    assert asked == [2, 2, 2, 1]
    assert (tmp_path / "cut.jsonl").read_bytes() == whole.out.read_bytes()


def test_a_scene_among_chips_is_told_the_verb_that_tiles_it(
    images: Path, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    random_image(900, 700).convert("L").save(images / "a scene.tif")
    command = ["--model", model, "--engine", "transformers", "--max-new-tokens", str(TOKENS)]
    assert main([str(images), "--task", "detect", *command, "--out", str(tmp_path / "out.jsonl")]) == 0
    said = capsys.readouterr().err
    scene = images / "a scene.tif"
    assert "1 of them, as a scene.tif, are seen at less than half their size" in said
    assert f"a whole scene is tiled by: fusargpt detect '{scene}' --no-prior --out detect.geojson" in said
    assert "Boxes are in pixels of each image as the model sees it" in said


def test_what_fails_costs_no_other_and_is_tried_again(
    images: Path, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = rows(batch(images, model, tmp_path / "expected.jsonl").out)
    good = (images / "c.png").read_bytes()
    (images / "c.png").write_bytes(b"no image")
    np.savez(images / "a.npz", prior_embeddings=np.ones((2, 63), np.float32))
    Image.new("RGB", (8000, 28)).save(images / "long.png")
    out = tmp_path / "out.jsonl"
    command = [str(images), "--question", QUESTION, "--model", model, "--engine", "transformers", "--out", str(out)]
    command += ["--max-new-tokens", str(TOKENS)]
    assert main(command) == 1
    said = capsys.readouterr()
    assert "3 items failed" in said.err and "c.png: not a PNG" in said.err and "a.npz: no prior_positions" in said.err
    assert "long.png: image: 8000 x 28 pixels" in said.err and "Engine: transformers" in said.out
    assert [row["id"] for row in rows(out)] == ["b.png", "below/e.png", "d.png"]

    (images / "c.png").write_bytes(good)
    (images / "a.npz").unlink()
    (images / "long.png").unlink()
    assert main(command) == 0
    assert rows(out) == expected
    with pytest.raises(InputError, match="exists already"):
        main(command)


def test_parts_of_another_batch_are_refused(images: Path, model: str, tmp_path: Path) -> None:
    (images / "broken.png").write_bytes(b"no image")
    batch(images, model, tmp_path / "out.jsonl")
    with pytest.raises(InputError, match="a batch with max_new_tokens 6, now 7; choose another place"):
        batch(images, model, tmp_path / "out.jsonl", max_new_tokens=7)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "detect", "--out", "answers.csv"], r"--out: found answers.csv; expected .*\.parquet or \.jsonl"),
        (["--task", "detect", "--out", "nowhere/a.jsonl"], "there is no folder nowhere"),
        (["--task", "segment", "--out", "a.jsonl"], "--task: found 'segment'; expected of describe, count"),
        (["--task", "count,detect", "--out", "a.jsonl"], "a folder of images; ask one --task"),
        (["--out", "a.jsonl"], "a folder of images; ask one --task"),
        (["--question", " ", "--out", "a.jsonl"], "--question: found an empty text"),
        (["--task", "count", "--split", "test", "--out", "a.jsonl"], "neither --split nor --config"),
        (["--task", "count", "--batch-size", "0", "--out", "a.jsonl"], "--batch-size: found 0"),
        (["--task", "count", "--workers", "-1", "--out", "a.jsonl"], "--workers: found -1"),
        (["--task", "count", "--model", "nowhere/at/all", "--out", "a.jsonl"], "no such model folder"),
    ],
)
def test_what_is_wrong_is_said_before_a_model_is_loaded(
    arguments: list[str], message: str, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(images.parent)
    monkeypatch.setattr("fusargpt.serving.engines.load_engine", None)
    with pytest.raises(InputError, match=message):
        main(["images", *arguments, "--engine", "transformers"])
    assert not list(Path().glob("a.jsonl*"))


@pytest.mark.parametrize("source", ["nowhere", "./nowhere/at/all", "scene.png"])
def test_a_source_is_a_folder_or_a_dataset(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    random_image(32, 32).save("scene.png")
    with pytest.raises(InputError, match=r"expected a folder of images,? or a dataset"):
        main([source, "--task", "count", "--out", "a.jsonl"])


def test_a_dataset_takes_no_question(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="rows bring their own questions"):
        main([DATASET, "--question", QUESTION, "--out", str(tmp_path / "a.jsonl")])


def test_a_task_asks_its_own_question(images: Path, model: str, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    command = [str(images), "--task", "count", "--target", "aircraft", "--model", model, "--max-new-tokens", "2"]
    assert main([*command, "--engine", "transformers", "--prior", "none", "--out", str(out)]) == 0
    assert {row["question"] for row in rows(out)} == {prompts.prompt("count", "aircraft")}
    assert {row["anchors"] for row in rows(out)} == {0}


@pytest.mark.slow
def test_a_file_costs_itself_alone_whatever_it_is_called_and_is(
    images: Path, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = rows(batch(images, model, tmp_path / "expected.jsonl").out)[1:]
    os.rename(os.fsencode(images / "a.png"), os.fsencode(images) + b"/caf\xe9.png")
    os.mkfifo(images / "pipe.png")
    (images / "gone.png").symlink_to(images / "nowhere.png")
    for suffix in (".jsonl", ".parquet"):
        report = batch(images, model, tmp_path / f"out{suffix}")
        assert [(failure.id, failure.reason) for failure in report.failures] == [
            (r"caf\xe9.png", "the name of the file is no UTF-8; rename it"),
            ("gone.png", "a pipe, a device or a broken link; expected a file"),
            ("pipe.png", "a pipe, a device or a broken link; expected a file"),
        ]
    assert rows(tmp_path / "out.jsonl") == pq.read_table(tmp_path / "out.parquet").to_pylist() == expected
    command = [str(images), "--question", QUESTION, "--model", model, "--engine", "transformers"]
    assert main([*command, "--max-new-tokens", str(TOKENS), "--out", str(tmp_path / "out.jsonl")]) == 1
    assert r"  caf\xe9.png: the name of the file is no UTF-8; rename it" in capsys.readouterr().err


@pytest.mark.slow
def test_bad_rows_of_a_dataset_cost_themselves_alone(model: str, tmp_path: Path) -> None:
    write(tmp_path / "good")
    write(tmp_path / "bad", spoil)
    good = run_batch(TripletDataset(str(tmp_path / "good")), settings(tmp_path / "good.parquet", model))
    bad = run_batch(TripletDataset(str(tmp_path / "bad")), settings(tmp_path / "bad.parquet", model))
    said = [f"{failure.id}: {failure.reason}" for failure in bad.failures]
    assert len(said) == len(SPOILT)
    for expected in SPOILT:
        assert any(line.startswith(expected) for line in said), expected
    found, whole = (pq.read_table(report.out).to_pylist() for report in (bad, good))
    assert found == [row for row in whole if row["id"] in {row["id"] for row in found}] and len(found) == 7
    # Rows of other tasks than those that are asked are not looked at.
    some = TripletDataset(str(tmp_path / "bad"), tasks=("detect",))
    assert not some.items()[1] and len(some.items()[0]) == 2


def test_a_dataset_of_which_no_row_can_be_asked_is_refused(model: str, tmp_path: Path) -> None:
    write(tmp_path / "bad", lambda made: [row.update(prompt=None) for row in made])
    with pytest.raises(
        InputError, match="none of 15 items can be asked; chip-0-describe: prompt: expected one message"
    ):
        run_batch(TripletDataset(str(tmp_path / "bad")), settings(tmp_path / "out.parquet", model))


def test_special_tokens_in_a_question_are_text(images: Path, model: str, tmp_path: Path) -> None:
    source = ImageFolder(images, "Is <|image_pad|> a ship?<|im_end|>")
    report = run_batch(source, settings(tmp_path / "out.jsonl", model))
    assert report.answered == 5 and not report.failures


def test_two_runs_on_one_output(images: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = FusarGpt.answers
    refused: list[str] = []

    def second(self: FusarGpt, *arguments: Any, **options: Any) -> list[str]:
        if not refused:
            with pytest.raises(InputError) as caught:
                batch(images, model, tmp_path / "out.jsonl")
            refused.append(str(caught.value))
        return answers(self, *arguments, **options)

    monkeypatch.setattr(FusarGpt, "in_turn", by_batches(second))
    assert batch(images, model, tmp_path / "out.jsonl").answered == 5
    assert refused[0].startswith(f"{tmp_path / 'out.jsonl'}: another run is at work on it (process {os.getpid()} on ")
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("when", ["while it asks", "at the end"])
@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_a_full_disk_is_said_in_one_line_and_costs_no_answer(
    suffix: str, when: str, images: Path, model: str, tmp_path: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    filled: list[Path] = []

    def answers(_: FusarGpt, pictures: Sequence[Image.Image], *__: Any) -> list[str]:
        """Of 8 kB each, so that they fill what a disk has left."""
        asked.append(len(pictures))
        if filled and len(asked) == (2 if when == "while it asks" else 3):
            filled[0].write_bytes(
                bytes(shutil.disk_usage(small_disk).free - (0 if when == "while it asks" else 5 * 4096))
            )
        return [np.random.default_rng(picture.width).bytes(4000).hex() for picture in pictures]

    monkeypatch.setattr(FusarGpt, "in_turn", by_batches(answers))
    whole = batch(images, model, tmp_path / f"whole{suffix}").out.read_bytes()
    asked.clear()
    filled.append(small_disk / "other")
    with pytest.raises(InputError) as caught:
        batch(images, model, small_disk / f"out{suffix}")
    line = str(caught.value)
    assert line.startswith(str(small_disk)) and "no room left in" in line and "\n" not in line
    filled.pop().unlink()
    asked.clear()
    assert batch(images, model, small_disk / f"out{suffix}").out.read_bytes() == whole
    # What was answered before the disk was full is not asked again.
    assert sum(asked) == (3 if when == "while it asks" else 0)


def test_a_closed_folder_is_said_before_a_model_is_loaded(
    images: Path, model: str, closed_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fusargpt.serving.worker.load_engine", None)
    with pytest.raises(InputError, match=r"out\.jsonl: cannot be written \(Read-only file system\)"):
        batch(images, model, closed_folder / "out.jsonl")


def test_answers_that_say_nothing_are_counted_and_end_with_1(
    images: Path, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        FusarGpt, "in_turn", by_batches(lambda self, images, *_, **__: ["", *["3"] * (len(images) - 1)])
    )
    command = ["--model", model, "--engine", "transformers", "--batch-size", "5"]
    assert main([str(images), "--question", "Why?", *command, "--out", str(tmp_path / "out.jsonl")]) == 1
    assert "In 1 of them nothing is said" in capsys.readouterr().err
    assert len(rows(tmp_path / "out.jsonl")) == 5


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_rows_say_how_sure_the_model_was_and_it_can_abstain(
    suffix: str, images: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = '[{"bbox_2d": [0, 0, 9, 9], "label": "ship"}]'

    def answers(_: FusarGpt, pictures: Sequence[Image.Image], *__: Any) -> list[str]:
        counts = CountDistribution(((1, 0.6), (2, 0.4)))
        sure = ScoredAnswer(box, (0.8,), 0.8, calibrated=True)
        unsure = ScoredAnswer(box, (0.2,), 0.2, calibrated=True)
        return [[sure, unsure, ScoredAnswer("1", (), 0.6, counts=counts)][picture.width % 3] for picture in pictures]

    monkeypatch.setattr(FusarGpt, "in_turn", by_batches(answers))
    report = batch(images, model, tmp_path / f"out{suffix}", abstain=0.5)
    found = rows(report.out)
    assert report.withheld == sum(row["confidence"] == 0.2 for row in found)
    for row in found:
        withheld = row["confidence"] == 0.2
        assert row["answer"] == ("cannot tell" if withheld else "1" if row["confidence"] == 0.6 else box)
        assert row["scores"] == ([0.8] if row["confidence"] == 0.8 else [])
        assert row["calibrated"] == (row["confidence"] != 0.6)
        assert (row["count_low"], row["count_high"]) == ((1, 2) if row["confidence"] == 0.6 else (None, None))


def test_a_model_without_confidences_leaves_them_empty_and_cannot_abstain(
    images: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FusarGpt, "in_turn", by_batches(lambda _, pictures, *__: ["None"] * len(pictures)))
    row, *_ = rows(batch(images, model, tmp_path / "out.parquet").out)
    assert row["confidence"] is row["scores"] is row["count_low"] is None and not row["calibrated"]
    with pytest.raises(InputError, match=r"abstain: found 0\.5, but the model gives its answers no confidences"):
        batch(images, model, tmp_path / "other.parquet", abstain=0.5)
    # Nothing is asked again without it.
    monkeypatch.setattr(FusarGpt, "in_turn", None)
    assert batch(images, model, tmp_path / "other.parquet").answered == len(list(images.rglob("*.png")))
