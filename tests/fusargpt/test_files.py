"""Files are whole or not there; a full disk ends a run with one line, or costs a checkpoint; what was saved stays."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from fusargpt import files
from fusargpt.errors import InputError
from fusargpt.files import (
    FullDiskError,
    check_room,
    check_writable,
    held,
    new_folder,
    output_file,
    watching_disk,
    write_text_whole,
    written_whole,
)
from tests.trl_recipes.stages import arguments, write_base
from tests.trl_recipes.triplets import write_triplets
from trl_recipes.data.feature_cache import FeatureCache
from trl_recipes.running.atomic_runs import checkpoints
from trl_recipes.sft import main

FIELDS = {"train": "tlm", "save": "trained", "max_steps": 4, "save_strategy": "steps", "save_steps": 1, "resume": True}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("full disk")
    write_base(folder)
    write_triplets(folder / "data")
    main(arguments(folder, folder / "whole", **FIELDS))
    return folder


@pytest.fixture
def second_save_fails(monkeypatch: pytest.MonkeyPatch):
    """A disk that is full while the optimizer of checkpoint-2 is written."""
    save, calls = torch.save, []

    def failing(written: Any, path: str) -> None:
        if "partial-checkpoint-2" in str(path) and not calls:
            calls.append(path)
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        save(written, path)

    monkeypatch.setattr(torch, "save", failing)


def trained(output_dir: Path) -> bytes:
    return (output_dir / "tlm.safetensors").read_bytes()


def test_stop_leaves_the_checkpoint_before_and_the_same_command_goes_on(
    folder: Path, tmp_path: Path, second_save_fails: None
):
    command = arguments(folder, tmp_path / "out", **FIELDS)
    with pytest.raises(FullDiskError) as caught:
        main(command)
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith("output_dir: checkpoint-2 takes about ") and f"no room left in {tmp_path / 'out'} (" in line
    assert "goes on from checkpoint-1, which is whole, or set on_full_disk: continue" in line
    assert sorted(path.name for path in (tmp_path / "out").glob("*checkpoint*")) == ["checkpoint-1"]
    main(command)
    assert trained(tmp_path / "out") == trained(folder / "whole")


def test_continue_trains_on_without_a_checkpoint(
    folder: Path, tmp_path: Path, second_save_fails: None, capsys: pytest.CaptureFixture[str]
):
    main(arguments(folder, tmp_path / "out", **FIELDS, on_full_disk="continue"))
    assert [path.name for path in checkpoints(tmp_path / "out")] == ["checkpoint-1", "checkpoint-3", "checkpoint-4"]
    assert "checkpoint-1, which is whole; on_full_disk: continue, going on without it" in capsys.readouterr().out
    assert trained(tmp_path / "out") == trained(folder / "whole")


def test_what_cannot_fit_is_known_before_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    check_room(tmp_path, "it", 1000, "free some")
    with pytest.raises(FullDiskError, match=r"^it takes about 1,001 bytes, .* has 1,000 free; free some$"):
        check_room(tmp_path, "it", 1001, "free some")


@pytest.mark.parametrize("write", ["torch", "safetensors", "python"])
def test_a_full_disk_is_known_whatever_was_writing(small_disk: Path, write: str):
    tensor = torch.zeros(2**20)
    expected = pytest.raises(FullDiskError, match=rf"^it: no room left in {small_disk} .* bytes free now\); free some$")
    with expected, watching_disk(small_disk / "not made yet", "it", None, "free some"):
        if write == "torch":
            torch.save(tensor, small_disk / "file")
        elif write == "safetensors":
            save_file({"tensor": tensor}, small_disk / "file")
        else:
            (small_disk / "file").write_bytes(tensor.numpy().tobytes())


def test_other_errors_pass_as_they_are(tmp_path: Path):
    for error in (RuntimeError("shapes differ"), PermissionError(errno.EACCES, "Permission denied")):
        with pytest.raises(type(error)), watching_disk(tmp_path, "it", None, "free some"):
            raise error


def test_a_feature_cache_keeps_what_it_has_when_the_disk_is_full(small_disk: Path):
    cache = FeatureCache(small_disk, "tower", 10**9)
    grid = torch.tensor([1, 2, 2])
    cache.add({"first": (torch.zeros(4, 4), grid)})
    (small_disk / "other").write_bytes(bytes(100_000))
    with pytest.raises(ValueError, match=r"feature_cache: .*bytes.* free.*train without feature_cache"):
        cache.add({"second": (torch.zeros(50_000), grid)})
    assert [path.suffix for path in cache.shards.iterdir()].count(".safetensors") == 1
    assert not list(cache.shards.glob("*.partial"))
    cache.add({"third": (torch.zeros(4, 4), grid)})
    assert "first" in cache and "third" in cache


def test_a_file_appears_when_it_is_whole(tmp_path: Path):
    path = tmp_path / "answers.jsonl"
    path.write_text("old")
    (tmp_path / "answers.jsonl.partial").write_text("half, of a run that was killed")
    with written_whole(path) as partial:
        assert not partial.exists()
        partial.write_text("new")
        assert path.read_text() == "old" and list(tmp_path.glob("*.jsonl")) == [path]
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("written", [True, False])
def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path, written: bool):
    path = tmp_path / "answers.jsonl"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), written_whole(path) as partial:
        if written:
            partial.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_writer_that_goes_by_the_suffix_finds_it(tmp_path: Path):
    with written_whole(tmp_path / "map.png", keep_suffix=True) as partial:
        Image.new("L", (2, 2)).save(partial)
    with Image.open(tmp_path / "map.png") as picture:
        assert picture.format == "PNG"
    assert [path.name for path in tmp_path.iterdir()] == ["map.png"]


def test_a_text_is_written_in_utf_8_and_what_cannot_be_is_replaced_by_choice(tmp_path: Path):
    path = tmp_path / "report.html"
    write_text_whole(path, "Längswelle")
    assert path.read_bytes() == "Längswelle".encode()
    with pytest.raises(UnicodeEncodeError):
        write_text_whole(path, "\ud800")
    assert path.read_bytes() == "Längswelle".encode() and list(tmp_path.iterdir()) == [path]
    write_text_whole(path, "\ud800", errors="replace")
    assert path.read_bytes() == b"?"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError), written_whole(tmp_path / "file" / "answers.jsonl") as partial:
        partial.write_text("new")
    refused = pytest.raises(InputError, match=r"file.model: cannot be written: .*Not a directory")
    with refused, new_folder(tmp_path / "file" / "model"):
        pass
    # Tokenizers cannot save there, and a model would be lost at its end.
    with pytest.raises(InputError, match=r"out: found \\udce9 at character"), new_folder(tmp_path / "caf\udce9"):
        pass


def test_runs_keep_apart_and_say_who_is_there(tmp_path: Path):
    lock = tmp_path / ".out.lock"
    refused = pytest.raises(InputError, match=rf"^out\.jsonl: another run is at work on it \(process {os.getpid()} on ")
    with held(lock, "out.jsonl"):
        with refused, held(lock, "out.jsonl"):
            pass
        assert lock.exists()
    assert not lock.exists()
    with pytest.raises(KeyboardInterrupt), held(lock, "out.jsonl"):
        raise KeyboardInterrupt
    with held(lock, "out.jsonl"):  # whoever failed holds it no longer
        pass


def test_the_lock_of_a_killed_run_is_free(tmp_path: Path):
    lock = tmp_path / ".out.lock"
    code = f"""
from pathlib import Path
from fusargpt.files import held
with held(Path({str(lock)!r}), "out"):
    print("held", flush=True)
    input()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        with pytest.raises(InputError, match=rf"\(process {process.pid} on .* since "), held(lock, "out"):
            pass
        process.kill()
        process.wait()
    assert lock.exists()
    with held(lock, "out"):
        pass


def test_a_closed_folder_is_named(closed_folder: Path):
    path = closed_folder / "answers.jsonl"
    line = rf"{path}: cannot be written \(Read-only file system\); choose another place"
    with pytest.raises(InputError, match=line):
        check_writable(path, "choose another place")
    with pytest.raises(InputError, match=line), output_file(path, "choose another place") as partial:
        partial.write_text("new")
    with pytest.raises(InputError, match=line), held(closed_folder / ".lock", path):
        pass
    with pytest.raises(InputError, match="closed: a folder; expected the name of a file"):
        check_writable(closed_folder, "choose another place")


def test_a_full_disk_is_named_and_nothing_is_left(small_disk: Path):
    path = small_disk / "answers.jsonl"
    path.write_text("old")
    full = pytest.raises(FullDiskError, match=rf"^{path}: no room left in {small_disk} \(.* free now\); make room$")
    with full, output_file(path, "make room") as partial:
        partial.write_bytes(bytes(2**20))
    assert path.read_text() == "old" and list(small_disk.iterdir()) == [path]


def test_a_folder_with_a_colon_is_no_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    path = Path("EPSG:4326/train.parquet")
    path.parent.mkdir()
    with written_whole(path) as partial:
        pq.write_table(pa.table({"id": ["a"]}), partial)
    assert pq.read_table(tmp_path / path)["id"].to_pylist() == ["a"]
