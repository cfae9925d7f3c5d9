from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusargpt.errors import InputError
from fusargpt.geo.radiometry import Stretch, to_8bit


def speckle(seed: int = 0, shape: tuple[int, int] = (60, 80)) -> np.ndarray:
    """Linear power with four looks, float32."""
    return np.random.default_rng(seed).gamma(4, 25, size=shape).astype(np.float32)


def test_8bit_values_pass_unchanged():
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    grey, stretch = to_8bit(values)
    np.testing.assert_array_equal(grey, values)
    assert stretch is None


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000))
def test_power_amplitude_decibels_and_complex_values_of_one_scene_look_the_same(seed: int):
    power = speckle(seed)
    phase = np.exp(1j * np.random.default_rng(seed).uniform(0, 2 * np.pi, power.shape))
    expected, _ = to_8bit(power)
    for values in (np.sqrt(power), 10 * np.log10(power / 1e6), (np.sqrt(power) * phase).astype(np.complex64)):
        grey, _ = to_8bit(values)
        assert np.abs(grey.astype(int) - expected).max() <= 1  # rounding


def test_percentiles_become_black_and_white_and_are_returned():
    decibels = np.linspace(-30, 10, 1001, dtype=np.float32).reshape(7, 143)
    grey, stretch = to_8bit(decibels)
    assert stretch is not None
    assert stretch.stored == "decibels"
    assert (stretch.low, stretch.high) == pytest.approx((-29.6, 9.8), abs=1e-3)
    assert (grey.ravel()[:11] == 0).all()
    assert (grey.ravel()[-6:] == 255).all()
    assert grey.ravel()[500] == pytest.approx(255 * (-10 + 29.6) / (9.8 + 29.6), abs=1)


def test_16bit_amplitude_is_scaled_in_decibels():
    values = (10 ** np.linspace(0, 4, 1000)).astype(np.uint16).reshape(20, 50)
    grey, stretch = to_8bit(values)
    assert stretch is not None
    assert stretch.stored == "amplitude"
    assert stretch.high == pytest.approx(80, abs=1)
    assert grey.ravel()[500] == pytest.approx(128, abs=2)  # 100 of 1 to 10,000 is the middle in decibels


def test_nodata_nan_and_zero_are_black_and_do_not_count():
    power = speckle()
    expected, expected_stretch = to_8bit(power)
    padded = np.pad(power, ((0, 0), (0, 40)))
    padded[:, 90:100] = np.nan
    padded[:, 110:] = 1e9
    valid = np.ones(padded.shape, bool)
    valid[:, 110:] = False
    grey, stretch = to_8bit(padded, valid)
    np.testing.assert_array_equal(grey[:, :80], expected)
    assert (grey[:, 80:] == 0).all()
    assert stretch == expected_stretch


def test_a_few_negative_values_do_not_make_linear_values_decibels():
    power = speckle()
    power.ravel()[:10] = -0.5
    grey, stretch = to_8bit(power)
    assert stretch is not None
    assert stretch.stored == "amplitude"
    assert (grey.ravel()[:10] == 0).all()


def test_tiles_scaled_alike_make_the_same_image_as_the_whole():
    decibels = 10 * np.log10(speckle() / 100)
    decibels[:, :40] += 30  # a tile without a negative value, which alone would be taken as linear
    whole, stretch = to_8bit(decibels)
    left, _ = to_8bit(decibels[:, :40], stretch=stretch)
    right, _ = to_8bit(decibels[:, 40:], stretch=stretch)
    np.testing.assert_array_equal(np.hstack((left, right)), whole)


def test_the_input_is_not_changed():
    power = speckle()
    before = power.copy()
    to_8bit(power)
    np.testing.assert_array_equal(power, before)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.full((30, 30), np.nan), "all are NaN or nodata"),
        (np.zeros((30, 30), np.uint16), "all are 0, NaN or nodata"),
        (np.full((30, 30), 100.0), "nearly all valid pixels are at 40 dB"),
        (np.zeros((30, 30), np.int8), "pixels of type int8"),
        (np.zeros((30, 30), bool), "pixels of type bool"),
    ],
)
def test_values_without_an_image_are_refused(values: Any, message: str):
    with pytest.raises(InputError, match=message):
        to_8bit(values)


@pytest.mark.parametrize("limits", [(0, 0), (1, 0), (0, np.inf), (np.nan, 1)])
def test_a_stretch_ascends(limits: Any):
    with pytest.raises(InputError, match="two finite values, ascending"):
        Stretch(*limits, stored="decibels")


def test_a_stretch_for_8bit_values_is_refused():
    with pytest.raises(InputError, match="8-bit values, which are not scaled"):
        to_8bit(np.zeros((30, 30), np.uint8), stretch=Stretch(-20, 0, stored="decibels"))


def test_a_stretch_given_or_told_for_other_values_is_refused():
    stretch = Stretch(-20, 0, stored="decibels")
    with pytest.raises(InputError, match="a stretch for decibels was given for values that are power"):
        to_8bit(speckle(), stretch=stretch, stored="power")
    with pytest.raises(InputError, match="found 'intensity'; expected one of grey, decibels, amplitude, power"):
        to_8bit(speckle(), stored="intensity")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="said to be grey levels"):
        to_8bit(speckle(), stored="grey")
    with pytest.raises(InputError, match="complex values are linear"):
        to_8bit(speckle().astype(np.complex64), stored="decibels")
    with pytest.raises(InputError, match="found grey levels"):
        Stretch(0, 255, stored="grey")


def test_what_is_told_wins_over_what_would_be_detected():
    # Decibels of a city without a negative one may as well be linear.
    decibels = 10 * np.log10(speckle())
    shifted, _ = to_8bit(decibels - 100)
    told, stretch = to_8bit(decibels, stored="decibels")
    assert stretch is not None and stretch.stored == "decibels"
    assert np.abs(told.astype(int) - shifted).max() <= 1
    with pytest.raises(InputError, match=r"fit decibels and linear values alike; say what they are with stored"):
        to_8bit(decibels)
    linear, _ = to_8bit(decibels, stored="power")
    assert np.abs(linear.astype(int) - shifted).max() > 10


def test_power_told_has_its_limits_in_true_decibels():
    power = speckle()
    grey, stretch = to_8bit(power, stored="power")
    assert stretch is not None
    assert stretch.high == pytest.approx(10 * np.log10(np.percentile(power, 99.5)), abs=1e-3)
    np.testing.assert_array_equal(grey, to_8bit(power)[0])


def test_8bit_amplitude_is_stretched_when_told():
    values = np.random.default_rng(0).gamma(4, 10, (60, 80)).clip(0, 255).astype(np.uint8)
    grey, stretch = to_8bit(values, stored="amplitude")
    assert stretch is not None
    np.testing.assert_array_equal(grey, to_8bit(values.astype(np.uint16))[0])
    np.testing.assert_array_equal(to_8bit(values, stretch=stretch, stored="amplitude")[0], grey)


def test_nodata_of_8bit_values_becomes_black():
    values = np.full((30, 30), 255, np.uint8)
    valid = np.ones((30, 30), bool)
    valid[:10] = False
    grey, _ = to_8bit(values, valid)
    assert (grey[:10] == 0).all() and (grey[10:] == 255).all()
