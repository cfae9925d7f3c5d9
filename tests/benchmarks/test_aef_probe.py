"""The probe of real AlphaEarth points, on points that are made here: vectors tell the class, backscatter does not."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks import aef_probe
from benchmarks.aef_places import FOLDS, Places, block_folds, folds, location_features, read_places, scene_order
from benchmarks.aef_probe import (
    LOCATION,
    VECTOR,
    Held,
    Points,
    by_block,
    main,
    probe,
    probe_features,
    read_points,
    region_tokens,
    scene_of,
    table,
)
from fusargpt.checkpoints import NANO
from fusargpt.errors import InputError
from fusargpt.simulator.linear_probe import linear_probe
from fusargpt.simulator.rendering import DISPLAY_DB, render_sar
from modeling_fusargpt import FusarGptForConditionalGeneration, FusarGptProcessor

CLASSES = 9
LOCATION_GAIN = f"{VECTOR} minus {LOCATION}"


def made_points(count: int, seed: int = 0) -> Points:
    rng = np.random.default_rng(seed)
    landcover = np.arange(count) % CLASSES
    embedding = np.eye(CLASSES, 64)[landcover] + 0.05 * rng.standard_normal((count, 64))
    embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
    return Points(embedding, rng.uniform(-20, -5, (count, 2)), landcover)


def made_places(count: int, seed: int = 0) -> Places:
    """Three regions far apart, each of 4 x 4 blocks."""
    rng = np.random.default_rng(seed)
    region = np.arange(count) // 2 % 3
    return Places(rng.uniform(0, 0.4, (count, 2)) + 10 * region[:, None], np.array(["east", "north", "west"])[region])


def write(points: Points, path: Path) -> Path:
    columns = {f"A{band:02d}": points.embedding[:, band] for band in range(64)}
    columns |= {"S1_VV": points.backscatter[:, 0], "S1_VH": points.backscatter[:, 1], "dw_label": points.landcover}
    places = made_places(len(points))
    columns |= {"longitude": places.lonlat[:, 0], "latitude": places.lonlat[:, 1], "region": places.region}
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def test_points_are_read_from_several_files(tmp_path: Path) -> None:
    parts = [made_points(9, seed) for seed in range(2)]
    read = read_points([write(part, tmp_path / f"{index}.csv") for index, part in enumerate(parts)])
    assert np.allclose(read.embedding, np.concatenate([part.embedding for part in parts]))
    assert read.landcover.tolist() == 2 * list(range(9))
    places = read_places([tmp_path / "0.csv", tmp_path / "1.csv"])
    assert np.allclose(places.lonlat[9:], made_places(9).lonlat)
    assert places.region.tolist() == 2 * made_places(9).region.tolist()


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


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [("latitude", 91.0, r"points\.csv, row 5: expected longitude"), ("region", None, r"no column region; expected")],
)
def test_places_that_are_wrong(tmp_path: Path, column: str, value: float | None, message: str) -> None:
    frame = pd.read_csv(write(made_points(9), tmp_path / "points.csv"))
    if value is None:
        frame = frame.drop(columns=column)
    else:
        frame.loc[3, column] = value
    frame.to_csv(tmp_path / "points.csv", index=False)
    with pytest.raises(InputError, match=message):
        read_places([tmp_path / "points.csv"])


def test_what_is_held_out_is_held_out_whole() -> None:
    places = made_places(720)
    fold = block_folds(places)
    assert np.bincount(fold).min() > 40
    order = scene_order(places, fold, 4)
    assert len(set(order)) == len(order) > 720 - 3 * 3 * FOLDS
    places, fold = places.take(order), fold[order]
    schemes = folds(places, fold, 4)
    blocks = places.blocks()
    # No block is on both sides, no region, and no scene, whatever is held out.
    for whole, scheme in ((blocks, "blocks"), (np.unique(places.region, return_inverse=True)[1], "regions")):
        assert all(len(set(schemes[scheme][whole == index])) == 1 for index in np.unique(whole))
    for found in schemes.values():
        assert (found.reshape(-1, 4) == found.reshape(-1, 4)[:, :1]).all()
    split = [len(set(schemes["random"][blocks == index])) for index in np.unique(blocks)]
    assert np.mean(split) > 2
    assert len(np.unique(schemes["regions"])) == 3


def test_points_in_few_blocks_are_refused() -> None:
    with pytest.raises(InputError, match=r"found 1 blocks of 0\.1 degree; expected 10 or more"):
        block_folds(Places(np.full((50, 2), 0.05), np.full(50, "one")))


def test_a_location_encoder_tells_blocks_apart_and_is_the_same_around_the_earth() -> None:
    features = location_features(np.array([[179.99, 40.0], [-180.01, 40.0], [-122.5, 37.8], [-122.4, 37.8]]))
    assert features.shape == (4, 60) and np.abs(features).max() <= 1
    assert np.allclose(features[0, ::20], features[1, ::20])  # of the longest wavelength
    assert np.abs(features[2] - features[3]).max() > 0.5


def test_a_probe_names_what_is_there_and_place_alone_only_where_it_has_been() -> None:
    rng = np.random.default_rng(0)
    points, places = made_points(1440), made_places(1440)
    # The class is that of the block, drawn anew in each: a place that has been seen tells it, any other does not.
    block = places.blocks()
    landcover = rng.integers(0, CLASSES, block.max() + 1)[block]
    landcover[:CLASSES] = np.arange(CLASSES)
    held = Held.of(Points(np.eye(CLASSES, 64)[landcover], points.backscatter, landcover), places)
    vector = held.tallies(held.probes(held.points.embedding + 0.01 * rng.standard_normal((len(held.points), 64))))
    location = held.tallies(held.probes(location_features(held.places.lonlat)))
    assert set(vector) == {"random", "blocks", "regions", "east", "north", "west"}
    assert min(tally.value for tally in vector.values()) > 0.95
    assert location["random"].value > location["blocks"].value + 0.3
    assert location["blocks"].value < 0.3 and location["regions"].value < 0.3


def test_every_point_is_judged_once_by_a_probe_that_has_not_seen_it(monkeypatch: pytest.MonkeyPatch) -> None:
    judged = []

    def watched(features: Any, labels: Any, train: Any, test: Any):
        assert not set(train) & set(test) and len(train) + len(test) == len(labels)
        judged.extend(test)
        return linear_probe(features, labels, train, test)

    monkeypatch.setattr(aef_probe, "linear_probe", watched)
    points = made_points(360)
    right = probe(points.embedding, points.landcover, np.arange(360) // 90)
    assert right.mean() > 0.95 and sorted(judged) == list(range(360))
    tally = by_block(right, np.arange(360) // 30)
    assert len(tally.rows) == 12 and tally.value == pytest.approx(right.mean())


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
    path = write(made_points(720), tmp_path / "points.csv")
    assert main(["--points", str(path), "--out", str(out)]) == 0
    results = json.loads(out.read_text())
    assert 640 < results["points"] <= 720 and results["blocks"] == 48
    assert len(results["scores"]) == 6 * (6 + 2 * 2 * 3)
    gains = [row for row in results["differences"] if row["features"] in ("prior true minus none", LOCATION_GAIN)]
    assert len(gains) == 6 * (1 + 2 * 2) and all(row["low"] > 0.5 for row in gains)
    assert table(results) in capsys.readouterr().out
    assert main(["--points", str(tmp_path / "none.csv"), "--out", str(out)]) == 2
    assert "none.csv: cannot be read" in capsys.readouterr().err
