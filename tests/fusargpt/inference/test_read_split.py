"""Folders of one name, and one that was built again, are read as they are."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset

from fusargpt.inference.read_split import read_split

CARD = """---
configs:
- config_name: captions
{description}  data_files:
  - split: train
    path: captions/train-*.parquet
---
"""


def write(folder: Path, value: int, description: str = "") -> Path:
    (folder / "captions").mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text(CARD.format(description=description))
    pq.write_table(pa.table({"value": [value] * 3}), folder / "captions" / "train-00000-of-00001.parquet")
    return folder


def test_each_folder_gives_its_own_rows_and_after_a_rebuild_the_new_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = write(tmp_path / "one" / "harbours", 1), write(tmp_path / "other" / "harbours", 2)
    for folder, value in ((one, 1), (other, 2)):
        assert read_split(str(folder), "captions", "train")["value"] == [value] * 3
        monkeypatch.chdir(folder.parent)
        assert read_split("harbours", "captions", "train")["value"] == [value] * 3
    write(other, 3)
    assert read_split("harbours", "captions", "train")["value"] == [3] * 3


def test_a_build_in_the_card_tells_load_dataset_the_same(tmp_path: Path) -> None:
    folders = [
        write(tmp_path / place / "anchorages", value, f"  description: build {value}\n")
        for place, value in (("one", 1), ("other", 2))
    ]
    cache = str(tmp_path / "cache")
    found = [load_dataset(str(folder), "captions", split="train", cache_dir=cache)["value"][0] for folder in folders]
    assert found == [1, 2]
