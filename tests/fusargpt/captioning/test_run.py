"""Runs of the command from a source to a folder: what is in it, what is gone on with, and what a failure costs."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from datasets import load_dataset

from fusargpt.captioning.observation import Observation
from fusargpt.captioning.run import CaptionSettings, run_captioning
from fusargpt.captioning.sources import DatasetSource, ManifestSource, Seen, open_source
from fusargpt.captioning.stages import Asked, Findings, RulesBackend, Stopped
from fusargpt.cli.main import main
from fusargpt.errors import InputError
from fusargpt.simulator.world import write_world
from fusargpt.tasks.facts import phrases_of
from fusargpt.triplets.settings import BuildSettings
from tests.paths import DATASET

COMMAND = "import sys; from fusargpt.cli.main import main; sys.exit(main())"
FILES = {"captions", "trace.jsonl", "report.html", "README.md", "journal.jsonl"}


def source(limit: int = 3) -> DatasetSource:
    return DatasetSource(str(DATASET), splits=("test",), limit=limit)


def contents(folder: Path) -> dict[str, bytes]:
    """Of what a run leaves, but for its journal, which holds the seconds that it took."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != "journal.jsonl"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


class Troubled(RulesBackend):
    """Rules, but for some images."""

    def __init__(self, troubles: dict[str, Exception]) -> None:
        self.troubles, self.seen = troubles, list[str]()

    def run(self, stage: str, observation: Observation, findings: Findings) -> tuple[Findings, tuple[Asked, ...]]:
        self.seen.append(observation.id)
        if observation.id in self.troubles:
            raise self.troubles[observation.id]
        return super().run(stage, observation, findings)


def ids() -> list[str]:
    return [item.id for item in source().items()[0]]


def test_the_folder_holds_rows_as_the_builder_writes_them_their_trace_and_a_page(tmp_path: Path) -> None:
    report = run_captioning(source(), RulesBackend(), CaptionSettings(tmp_path / "out"))
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    rows: Any = load_dataset(str(tmp_path / "out"), "captions", split="test")
    given: Any = load_dataset(str(DATASET), "captions", split="test")
    assert rows.features == given.features
    assert [row["id"] for row in rows] == ids()
    assert rows[0]["image"] == given[0]["image"] and rows[0]["prior_embeddings"] == given[0]["prior_embeddings"]
    traces = [json.loads(line) for line in (tmp_path / "out" / "trace.jsonl").read_text().splitlines()]
    for row, trace in zip(rows, traces, strict=True):
        assert phrases_of(row) == phrases_of(trace) and row["completion"][0]["content"]
        assert [step["stage"] for step in trace["steps"]] == ["place", "function", "radar", "instances", "calibration"]
    assert report.said["terrain"] == len(rows) == 3
    page = (tmp_path / "out" / "report.html").read_text()
    assert all(name in page for name in ids()) and "http" not in page.replace("http://www.w3.org", "")


def test_annotated_targets_are_those_of_the_row(tmp_path: Path) -> None:
    run_captioning(source(), RulesBackend(), CaptionSettings(tmp_path / "out", stages=("instances",)))
    rows: Any = load_dataset(str(tmp_path / "out"), "captions", split="test")
    given: Any = load_dataset(str(DATASET), "captions", split="test")
    for row, true in zip(rows, given, strict=False):
        for part in ("count", "location", "size", "distribution"):
            assert row["target_description"][part] == true["target_description"][part]
        assert row["description"] is None


def test_a_failure_costs_its_image_alone_and_is_tried_again(tmp_path: Path) -> None:
    settings = CaptionSettings(tmp_path / "out")
    first, second, third = ids()
    troubled = Troubled({second: RuntimeError("two\nlines"), third: InputError("a refusal")})
    report = run_captioning(source(), troubled, settings)
    assert [(failure.id, failure.reason) for failure in report.failures] == [
        (second, "two lines"),
        (third, "a refusal"),
    ]
    assert sum(report.shards.values()) == 1
    assert len((tmp_path / "out" / "failures.jsonl").read_text().splitlines()) == 2
    again = Troubled({})
    report = run_captioning(source(), again, settings)
    assert not report.failures and first not in again.seen and not (tmp_path / "out" / "failures.jsonl").exists()
    run_captioning(source(), RulesBackend(), CaptionSettings(tmp_path / "whole"))
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.mark.parametrize("workers", [1, 3])
def test_a_model_that_can_be_asked_no_more_ends_the_run_with_what_is_there(workers: int, tmp_path: Path) -> None:
    settings = CaptionSettings(tmp_path / "out", workers=workers)
    _, second, _ = ids()
    report = run_captioning(source(), Troubled({second: Stopped("100 of 100 tokens are spent")}), settings)
    assert report.stopped == "100 of 100 tokens are spent" and not report.failures
    assert sum(report.shards.values()) + report.left == 3 and report.left >= 1
    assert run_captioning(source(), RulesBackend(), settings).left == 0
    run_captioning(source(), RulesBackend(), CaptionSettings(tmp_path / "whole"))
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_images_are_captioned_alike_by_several_workers(tmp_path: Path) -> None:
    for workers in (1, 4):
        run_captioning(source(), RulesBackend(), CaptionSettings(tmp_path / str(workers), workers=workers))
    assert contents(tmp_path / "1") == contents(tmp_path / "4")


def test_other_settings_and_foreign_folders_are_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_captioning(source(1), RulesBackend(), CaptionSettings(out))
    with pytest.raises(InputError, match="captions with stages"):
        run_captioning(source(1), RulesBackend(), CaptionSettings(out, stages=("place",)))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="holds files that no captioning left there"):
        run_captioning(source(1), RulesBackend(), CaptionSettings(tmp_path / "other"))


def test_questions_about_one_image_give_one_caption() -> None:
    items, failures = DatasetSource(str(DATASET), config="instructions", splits=("test",)).items()
    captioned = DatasetSource(str(DATASET), config="captions", splits=("test",)).items()[0]
    assert len(items) == len(captioned) and not failures


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world") / "world"
    write_world(folder, places=2, years=[2024], seed=3, sides=[112])
    return folder


def test_the_scenes_of_a_world_are_captioned_by_their_land_cover(world: Path, tmp_path: Path) -> None:
    read = open_source(str(world), BuildSettings(missing_prior="empty"))
    assert isinstance(read, ManifestSource)
    report = run_captioning(read, RulesBackend(), CaptionSettings(tmp_path / "out"))
    assert sum(report.shards.values()) == 2 and not report.failures
    traces = [json.loads(line) for line in (tmp_path / "out" / "trace.jsonl").read_text().splitlines()]
    covers = [claim for claim in traces[0]["steps"][0]["claims"] if claim["dimension"] == "cover"]
    assert "raster" in covers[0]["evidence"] and traces[0]["target_description"]["count"]


def test_without_land_cover_alphaearth_is_asked(world: Path, tmp_path: Path) -> None:
    lines = [json.loads(line) for line in (world / "manifest.jsonl").read_text().splitlines()]
    for line in lines:
        del line["land_cover"]
    manifest = world / "without.jsonl"
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    read = open_source(str(manifest), BuildSettings(aef=str(world / "aef"), missing_prior="empty"))
    (first, *_), _ = read.items()
    seen = read.read(first)
    assert isinstance(seen, Seen) and seen.observation.cover is None and seen.observation.prior is not None
    report = run_captioning(read, RulesBackend(), CaptionSettings(tmp_path / "out"))
    assert report.said["terrain"] == 2


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["nowhere", "--out", "OUT"], "no such file or folder"),
        ([str(DATASET), "--out", "OUT", "--stages", "7"], "expected of 1 (place)"),
        ([str(DATASET), "--out", "OUT", "--split", "summer"], "no split 'summer'"),
        ([str(DATASET), "--out", "OUT", "--model", "m"], "rules ask no model"),
        ([str(DATASET), "--out", "OUT", "--backend", "chat"], "name it with --model"),
        ([str(DATASET), "--out", "OUT", "--limit", "0"], "expected at least 1"),
        (["simulator", "--out", "OUT", "--config", "captions"], "the simulator has none"),
    ],
)
def test_wrong_arguments_are_one_line(
    arguments: list[str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(tmp_path / "out") if argument == "OUT" else argument for argument in arguments]
    assert main(["caption", *given]) == 2
    error = capsys.readouterr().err
    assert reason in error and error.count("\n") == 1


def test_the_command_says_what_is_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["caption", str(DATASET), "--split", "test", "--limit", "2", "--stages", "1,4", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "2 images captioned" in printed and str(out / "report.html") in printed
    assert pq.read_table(out / "captions" / "test-00000-of-00001.parquet").num_rows == 2


@pytest.mark.slow
@pytest.mark.parametrize("lines", [1, 4])
def test_a_run_that_is_killed_goes_on_and_ends_in_the_same_bytes(lines: int, tmp_path: Path) -> None:
    command = [sys.executable, "-c", COMMAND, "caption", str(DATASET), "--split", "test", "--limit", "6"]
    out = tmp_path / "out"
    running = subprocess.Popen(
        [*command, "--out", str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    journal = out / "journal.jsonl"
    while running.poll() is None and not (journal.is_file() and journal.read_bytes().count(b"\n") >= lines):
        time.sleep(0.01)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    # A line that broke off.
    with journal.open("ab") as file:
        file.write(b'{"id": "simul')
    for folder in (out, tmp_path / "whole"):
        subprocess.run([*command, "--out", str(folder)], check=True, capture_output=True)
    assert contents(out) == contents(tmp_path / "whole")
