"""Thresholds from planted errors, on evidence whose truth is known."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fusargpt.errors import InputError
from fusargpt.scio.settings import ScioSettings
from fusargpt.scio.thresholds import auroc, calibrate

ROWS = 4000


def rows(
    wrong: float, gap: float, useful: tuple[float, ...] = (1, 1, 1), seed: int = 0
) -> tuple[list[Any], np.ndarray]:
    """Evidence of one dimension: parts of which a share is wrong, and a planted error for each; which are wrong."""
    generator = np.random.default_rng(seed)
    is_wrong = generator.random(ROWS) < wrong
    shift = np.array(useful) * gap
    parts = generator.normal(0, 1, (ROWS, 3)) + is_wrong[:, None] * shift
    planted = generator.normal(0, 1, (ROWS, 3)) + shift
    # Scales differ, as those of the objectives do.
    scale = np.array([0.01, 2.0, 0.3])
    found = [
        {
            "evidence": {"terrain": (one * scale).tolist()},
            "planted": {"dimension": "terrain", "phrase": "x", "evidence": (error * scale).tolist()},
        }
        for one, error in zip(parts, planted, strict=True)
    ]
    return found, is_wrong


@pytest.mark.parametrize("wrong", [0.1, 0.3])
@pytest.mark.parametrize("precision", [0.7, 0.9])
def test_flags_are_as_precise_as_asked(tmp_path: Path, wrong: float, precision: float) -> None:
    found, is_wrong = rows(wrong, 1.6)
    calibration = calibrate(found, ScioSettings(out=tmp_path, precision=precision))
    flags = np.array([calibration.flags("terrain", row["evidence"]["terrain"]) for row in found])
    threshold = calibration.thresholds["terrain"]
    assert abs(is_wrong[flags].mean() - precision) < 0.07
    assert abs(threshold.wrong - wrong) < 0.05
    assert abs(flags[is_wrong].mean() - threshold.recall) < 0.07
    assert calibration.auroc > 0.9 - wrong / 2


def test_more_precision_flags_fewer(tmp_path: Path) -> None:
    found, _ = rows(0.2, 1.2)
    scores = [
        calibrate(found, ScioSettings(out=tmp_path, precision=precision)).thresholds["terrain"].score
        for precision in (0.5, 0.7, 0.9)
    ]
    assert scores[0] < scores[1] < scores[2]


def test_clean_captions_lose_little(tmp_path: Path) -> None:
    found, _ = rows(0.0, 2.0)
    calibration = calibrate(found, ScioSettings(out=tmp_path))
    flags = [calibration.flags("terrain", row["evidence"]["terrain"]) for row in found]
    assert np.mean(flags) < 0.02


def test_no_more_are_flagged_than_may_be(tmp_path: Path) -> None:
    found, _ = rows(0.5, 3.0)
    calibration = calibrate(found, ScioSettings(out=tmp_path, max_flagged=0.1))
    flags = [calibration.flags("terrain", row["evidence"]["terrain"]) for row in found]
    assert 0.05 < np.mean(flags) < 0.11


def test_an_objective_that_tells_nothing_has_little_weight(tmp_path: Path) -> None:
    found, _ = rows(0.2, 2.0, useful=(1, 1, 0))
    weights = calibrate(found, ScioSettings(out=tmp_path)).weights
    assert weights[2] < 0.1 < min(weights[0], weights[1])
    assert weights.sum() == pytest.approx(3)


def test_a_dimension_with_few_planted_errors_shares_a_threshold(tmp_path: Path) -> None:
    found, _ = rows(0.2, 2.0)
    for number, row in enumerate(found):
        row["evidence"]["roads"] = row["evidence"]["terrain"]
        if number < 10:
            row["planted"] = {**row["planted"], "dimension": "roads"}
    thresholds = calibrate(found, ScioSettings(out=tmp_path)).thresholds
    assert thresholds["roads"].shared and not thresholds["terrain"].shared
    assert thresholds["roads"].planted == 10


def test_auroc_counts_ties_as_half() -> None:
    assert auroc(np.array([0.0, 1.0]), np.array([1.0])) == 0.75
    assert np.isnan(auroc(np.array([0.0]), np.array([])))


def test_too_few_rows_are_refused(tmp_path: Path) -> None:
    found, _ = rows(0.2, 2.0)
    with pytest.raises(InputError, match="found 9 images in which an error could be planted, expected at least 10"):
        calibrate(found[:9], ScioSettings(out=tmp_path))


@pytest.mark.parametrize(("name", "value"), [("rounds", 0), ("precision", 1.5), ("together", 2), ("max_flagged", 0.0)])
def test_settings_outside_their_range_are_refused(tmp_path: Path, name: str, value: float) -> None:
    with pytest.raises(InputError, match=f"{name}: found {value:g}; expected"):
        ScioSettings(out=tmp_path, **{name: value})  # pyright: ignore[reportArgumentType]
