"""The dataset folder as `datasets` reads it, and the script that writes it."""

from pathlib import Path

import numpy as np
import pytest
from datasets import load_dataset

from fusargpt.simulator.simulate import simulate
from fusargpt.triplets.features import CAPTION_FEATURES, RECORD_FEATURES
from tests.paths import DATASET


@pytest.mark.parametrize(
    ("config", "split", "count"),
    [("captions", "train", 16), ("captions", "test", 8), ("instructions", "validation", 16)],
)
@pytest.mark.parametrize("streaming", [False, True])
def test_the_committed_sample_loads(
    config: str, split: str, count: int, streaming: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    loaded = load_dataset(str(DATASET), config, split=split, streaming=streaming, cache_dir=str(tmp_path))
    assert loaded.features == (CAPTION_FEATURES if config == "captions" else RECORD_FEATURES)
    rows = list(loaded)
    assert len(rows) == count
    for row in rows:
        assert row["image"].size == (168, 168)
        assert np.shape(row["prior_embeddings"]) == (64, 64)
        assert np.shape(row["prior_positions"]) == (64, 2)
        assert row["prompt"][0]["role"] == "user" and row["completion"][0]["role"] == "assistant"


def test_the_sample_is_what_the_simulator_makes(tmp_path: Path) -> None:
    simulate(tmp_path, "captions", "test", 2, optical_share=0.0, per_side=8, start=0, workers=1)
    folder = str(tmp_path)
    written = list(load_dataset("parquet", data_files=f"{folder}/*.parquet", split="train", cache_dir=folder))
    committed = list(load_dataset(str(DATASET), "captions", split="test", cache_dir=folder))
    assert len(written) == 2
    for new, old in zip(written, committed[:2], strict=True):
        assert isinstance(new, dict) and isinstance(old, dict)
        assert new["image"].tobytes() == old["image"].tobytes()
        assert {key: value for key, value in new.items() if key != "image"} == {
            key: value for key, value in old.items() if key != "image"
        }


def test_a_finished_shard_is_kept(tmp_path: Path) -> None:
    (path,) = simulate(tmp_path, "questions", "train", 3, 0.5, 2, 5, 1)
    written = path.stat().st_mtime_ns
    simulate(tmp_path, "questions", "train", 3, 0.5, 2, 5, 1)
    assert path.stat().st_mtime_ns == written
    assert not list(tmp_path.glob("*.partial"))
