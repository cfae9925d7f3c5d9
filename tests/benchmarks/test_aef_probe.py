"""The probe of real AlphaEarth points, on points that are made here: vectors tell the class, backscatter does not."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks import aef_probe
from benchmarks.aef_probe import Points, main, probe, probe_features, read_points, region_tokens, scene_of, table
from fusargpt.checkpoints import NANO
from fusargpt.errors import InputError
from fusargpt.simulator.linear_probe import linear_probe
from fusargpt.simulator.rendering import DISPLAY_DB, render_sar
from modeling_fusargpt import FusarGptForConditionalGeneration, FusarGptProcessor

CLASSES = 9


def made_points(count: int, seed: int = 0) -> Points:
    rng = np.random.default_rng(seed)
    landcover = np.arange(count) % CLASSES
    embedding = np.eye(CLASSES, 64)[landcover] + 0.05 * rng.standard_normal((count, 64))
    embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
    return Points(embedding, rng.uniform(-20, -5, (count, 2)), landcover)


def write(points: Points, path: Path) -> Path:
    columns = {f"A{band:02d}": points.embedding[:, band] for band in range(64)}
    columns |= {"S1_VV": points.backscatter[:, 0], "S1_VH": points.backscatter[:, 1], "dw_label": points.landcover}
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def test_points_are_read_from_several_files(tmp_path: Path) -> None:
    parts = [made_points(9, seed) for seed in range(2)]
    read = read_points([write(part, tmp_path / f"{index}.csv") for index, part in enumerate(parts)])
    assert np.allclose(read.embedding, np.concatenate([part.embedding for part in parts]))
    assert read.landcover.tolist() == 2 * list(range(9))


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("S1_VV", np.nan, r"points\.csv, row 5: expected finite numbers"),
        ("dw_label", 9, r"points\.csv, row 5"),
        ("A00", 3.0, r"points\.csv, row 5"),
        ("A63", None, r"points\.csv: no column A63"),
    ],
)
def test_points_that_are_wrong(tmp_path: Path, column: str, value: float | None, message: str) -> None:
    frame = pd.read_csv(write(made_points(9), tmp_path / "points.csv"))
    if value is None:
        frame = frame.drop(columns=column)
    else:
        frame.loc[3, column] = value
    frame.to_csv(tmp_path / "points.csv", index=False)
    with pytest.raises(InputError, match=message):
        read_points([tmp_path / "points.csv"])


def test_a_scene_shows_the_backscatter_of_its_points_and_nothing_else_of_their_class() -> None:
    points = Points(np.eye(4, 64), np.array([[-18, -25], [-12, -20], [-9, -16], [-6, -12]], float), np.arange(4))
    low, high = DISPLAY_DB["VV"]
    image = np.asarray(render_sar(scene_of(points, 2, "level", seed=3)), float) / 255 * (high - low) + low
    quarters = [image[y : y + 80, x : x + 80] for y in (2, 86) for x in (2, 86)]
    power = [10 * np.log10(np.mean(10 ** (quarter / 10))) for quarter in quarters]
    assert power == pytest.approx(points.backscatter[:, 0], abs=1.0)
    other = Points(points.embedding, points.backscatter, np.array([6, 4, 1, 0]))
    assert render_sar(scene_of(points, 2, "level", 3)) == render_sar(scene_of(other, 2, "level", 3))
    assert render_sar(scene_of(points, 2, "textured", 3)) != render_sar(scene_of(other, 2, "textured", 3))


def test_tokens_go_to_the_region_above_them() -> None:
    grid = torch.arange(36.0).reshape(1, 36, 1)
    assert region_tokens(grid, 1).tolist() == [[17.5]]
    assert region_tokens(grid, 2).ravel().tolist() == [7.0, 10.0, 25.0, 28.0]
    with pytest.raises(ValueError, match="found 36 an image"):
        region_tokens(grid, 4)


def test_the_probe_keeps_the_points_of_a_scene_together_and_finds_what_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []

    def watched(features: Any, labels: Any, train: Any, test: Any):
        assert not set(train // 4) & set(test // 4) and len(train) + len(test) == len(labels)
        seen.append(tuple(sorted(test)))
        return linear_probe(features, labels, train, test)

    monkeypatch.setattr(aef_probe, "linear_probe", watched)
    points = made_points(360)
    vectors, levels = (probe(features, points.landcover, 4, 3) for features in (points.embedding, points.backscatter))
    assert min(vectors.splits) > 0.95 and max(levels.splits) < 0.3
    assert len(set(seen)) == 3
    assert vectors.tally.score().value == pytest.approx(np.mean(vectors.splits))


def test_modulated_tokens_of_nano_hold_their_own_vector() -> None:
    model = FusarGptForConditionalGeneration.from_pretrained(NANO, dtype=torch.float32).eval()
    processor = FusarGptProcessor.from_pretrained(NANO)
    points = made_points(8)
    found = probe_features(model, processor, points, 2, "level")
    assert {name: tokens.shape for name, tokens in found.items()} == dict.fromkeys(
        ("none", "true", "shuffled"), (8, 192)
    )
    moved = {name: np.abs(found[name] - found["none"]).mean(axis=1) for name in ("true", "shuffled")}
    assert min(moved["true"]) > 0 and min(moved["shuffled"]) > 0
    assert not np.isclose(found["true"], found["shuffled"]).all(axis=1).any()


def test_the_command_writes_what_it_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def features(model: Any, processor: Any, points: Any, side: int, rendering: str, seed: int = 0):
        return {"none": points.backscatter, "true": points.embedding, "shuffled": points.backscatter}

    monkeypatch.setattr(aef_probe, "probe_features", features)
    out = tmp_path / "results" / "probe.json"
    path = write(made_points(361), tmp_path / "points.csv")
    assert main(["--points", str(path), "--out", str(out)]) == 0
    results = json.loads(out.read_text())
    assert results["points"] == 360 and len(results["scores"]) == 3 + 2 * 2 * 3
    assert all(row["low"] > 0.5 for row in results["differences"])
    assert table(results) in capsys.readouterr().out
    assert main(["--points", str(tmp_path / "none.csv"), "--out", str(out)]) == 2
    assert "none.csv: cannot be read" in capsys.readouterr().err
