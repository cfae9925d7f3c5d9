import numpy as np
import pytest

from fusargpt.geo.radiometry import Stored
from fusargpt.scenes.emptiness import nothing_stands_out

VALID = np.ones((168, 168), bool)


def sea(seed: int = 0, looks: int = 1) -> np.ndarray:
    """Power of calm water with speckle, mean 0.01."""
    return np.random.default_rng(seed).gamma(looks, 0.01 / looks, (168, 168))


def stored_as(power: np.ndarray, stored: str) -> np.ndarray:
    return {"power": power, "amplitude": np.sqrt(power), "decibels": 10 * np.log10(power)}[stored].astype(np.float32)


@pytest.mark.parametrize("stored", ["power", "amplitude", "decibels"])
@pytest.mark.parametrize("looks", [1, 4])
def test_calm_sea_is_empty_and_with_a_small_ship_it_is_not(stored: Stored, looks: int):
    power = sea(looks=looks)
    assert nothing_stands_out(stored_as(power, stored), VALID, stored, 6.0)
    power[80:83, 100:106] *= 30  # 15 dB
    assert not nothing_stands_out(stored_as(power, stored), VALID, stored, 6.0)


def test_speckle_of_one_look_seldom_stands_out():
    empty = [nothing_stands_out(sea(seed), VALID, "power", 6.0) for seed in range(40)]
    assert sum(empty) >= 38


def test_a_coast_stands_out():
    power = sea()
    power[:, 120:] *= 10
    assert not nothing_stands_out(power, VALID, "power", 6.0)


def test_without_data_nothing_is_made_up():
    power = sea()
    valid = VALID.copy()
    valid[:, :100] = False
    power[:, :100] = 1e6
    assert nothing_stands_out(power, valid, "power", 6.0)
    power[80:83, 97:103] = 1.0  # half of it has no data
    assert not nothing_stands_out(power, valid, "power", 6.0)
    decibels = np.where(valid, 10 * np.log10(power), np.nan)
    assert not nothing_stands_out(decibels, valid, "decibels", 6.0)


def test_grey_levels_are_never_skipped():
    assert not nothing_stands_out(np.full((168, 168), 7, np.uint8), VALID, "grey", 6.0)
