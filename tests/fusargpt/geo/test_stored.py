"""What is stored in rasters: right values were computed apart from this code, with rasterio and numpy."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from rasterio.windows import Window

from fusargpt.errors import InputError
from fusargpt.geo.evidence import Words
from fusargpt.geo.image import read_image, read_image_as
from fusargpt.geo.radiometry import to_8bit
from fusargpt.geo.reading import Reading
from fusargpt.geo.sar_scene import SarScene
from fusargpt.geo.stored import fill_of, kind_of
from tests.paths import CASES

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

GEO = CASES / "geo"
SIDE = 112
IQ_LIMITS = (26.632960541008043, 57.92191972205104)


def write(path: Path, *bands: np.ndarray, descriptions: Sequence[str] = (), **profile: Any) -> Path:
    height, width = bands[0].shape
    profile = {"count": len(bands), "dtype": bands[0].dtype, "width": width, "height": height} | profile
    with rasterio.open(path, "w", driver="GTiff", **profile) as dataset:
        for number, values in enumerate(bands, 1):
            dataset.write(values, number)
        for number, description in enumerate(descriptions, 1):
            dataset.set_band_description(number, description)
    return path


def limits(path: Path, **told: Any) -> tuple[float, float]:
    with SarScene.open(path, Reading(**told)) as scene:
        stretch = scene.stretch()
    assert stretch is not None
    return stretch.low, stretch.high


def iq() -> np.ndarray:
    """I and Q int16 [2, h, w], some of it void."""
    with rasterio.open(GEO / "iq_two_band_int16.tif") as dataset:
        values: np.ndarray = dataset.read()
    values[:, :20] = 0
    return values


def decibels(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (-18 + 10 * np.log10(rng.gamma(4, 0.25, (SIDE, SIDE)))).astype(np.float32)


def power() -> np.ndarray:
    return (10 ** (decibels() / 10)).astype(np.float32)


def test_i_and_q_in_two_bands_are_told_and_asked_for():
    path = GEO / "iq_two_band_int16.tif"
    assert limits(path, stored="iq") == pytest.approx(IQ_LIMITS, abs=1e-3)
    assert limits(path, stored="iq", band=2) == pytest.approx(IQ_LIMITS, abs=1e-3)
    for call in (limits, read_image):
        with pytest.raises(InputError, match=r"iq_two_band_int16\.tif: .* say what they are .*--stored\): iq where"):
            call(path)


@pytest.mark.parametrize(
    "descriptions",
    [("i_VV", "q_VV"), ("real", "imaginary"), ("In-phase", "Quadrature"), ("I", "Q"), ("VV re", "VV im")],
)
@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_i_and_q_are_known_by_words(tmp_path: Path, descriptions: tuple[str, str], dtype: str):
    values = iq().astype(dtype)
    path = write(tmp_path / "slc.tif", *values, descriptions=descriptions)
    with SarScene.open(path) as scene:
        found, valid = scene.read()
        np.testing.assert_allclose(np.abs(found), np.hypot(*values.astype(np.float32)), rtol=1e-6)
        assert not valid[:20].any() and valid[20:].all(), "void is no data"
        assert str(scene.read_as()).startswith("band 1") and "of I and Q in bands 1 and 2" in str(scene.read_as())
    grey = np.asarray(read_image(path))[..., 0]
    expected = 20 * np.log10(np.hypot(*values[:, 20:].astype(float)))
    low, high = np.percentile(expected, (1, 99.5))
    assert np.abs(grey[20:] - np.clip((expected - low) / (high - low), 0, 1) * 255).max() <= 1


def test_pairs_of_two_polarizations_are_read_by_name(tmp_path: Path):
    i, q = iq()
    path = write(tmp_path / "slc.tif", i, q, i // 4, q // 4, descriptions=("i_VV", "q_VV", "i_VH", "q_VH"))
    with SarScene.open(path, Reading(polarization="VH")) as scene:
        assert scene.band == 3
        expected = np.hypot((i // 4).astype(float), (q // 4).astype(float))
        np.testing.assert_allclose(np.abs(scene.read()[0]), expected, rtol=1e-6)


def packed(kind: str) -> np.ndarray:
    i, q = iq()
    if kind.endswith("64"):
        return np.stack([i, q], -1).astype(np.float32).view(kind)[..., 0]
    return np.ascontiguousarray(np.stack([i, q], -1)).view(kind)[..., 0]


@pytest.mark.parametrize("kind", ["uint32", "int32", "uint64", "int64"])
def test_packed_i_and_q_are_known_by_their_halves(tmp_path: Path, kind: str):
    path = write(tmp_path / "slc.tif", packed(kind))
    with SarScene.open(path) as scene:
        found, valid = scene.read()
        np.testing.assert_allclose(np.abs(found), np.hypot(*iq().astype(np.float32)), rtol=1e-6)
        assert valid.mean() == pytest.approx((iq() != 0).any(0).mean())
        assert scene.stored == "amplitude"
    assert limits(GEO / "rs2_slc_32bit_void.tif") == pytest.approx(IQ_LIMITS, abs=1e-3)


def test_whole_numbers_of_32_bits_are_no_packed_ones(tmp_path: Path):
    amplitude = np.random.default_rng(0).gamma(4, 30_000, (SIDE, SIDE)).astype(np.uint32)
    assert limits(write(tmp_path / "a.tif", amplitude)) == pytest.approx(
        20 * np.log10(np.percentile(amplitude, (1, 99.5))), abs=1e-3
    )


def test_linear_power_is_power_where_limits_are_absolute(tmp_path: Path):
    for path in (GEO / "rtc_power.tif", tmp_path / "x.tif"):
        if not path.exists():
            path.write_bytes((GEO / "rtc_power.tif").read_bytes())
        with SarScene.open(path) as scene:
            values, valid = scene.read()
            stretch = scene.stretch(decibels=(-25, 0))
            assert stretch is not None and stretch.stored == "power"
            grey, _ = to_8bit(values, valid, stretch)
        assert np.median(grey[valid]) == pytest.approx(68.27555847167969, abs=0.5)


def test_what_may_be_amplitude_or_power_is_asked_only_where_it_matters(tmp_path: Path):
    values = np.sqrt(power()) * 2
    path = write(tmp_path / "x.tif", values)
    assert limits(path) == pytest.approx(20 * np.log10(np.percentile(values, (1, 99.5))), abs=1e-3)
    with SarScene.open(path) as scene, pytest.raises(InputError, match=r"x\.tif: decibels: .*--stored"):
        scene.stretch(decibels=(-25, 0))
    for stored in ("amplitude", "power"):
        with SarScene.open(path, Reading(stored=stored)) as scene:
            stretch = scene.stretch(decibels=(-25, 0))
            assert stretch is not None and stretch.stored == stored


def test_limits_that_leave_nothing_to_see_are_refused(tmp_path: Path):
    path = write(tmp_path / "grd.tif", np.random.default_rng(0).gamma(4, 50, (SIDE, SIDE)).astype(np.uint16))
    with SarScene.open(path) as scene, pytest.raises(InputError, match=r"-25 to 0, but the values, .* would be white"):
        scene.stretch(decibels=(-25, 0))


@pytest.mark.parametrize(
    ("name", "description", "stored"),
    [
        ("S1A_IW_20150621T120220_DVP_RTC10_G_gpufed_F8E2_VV.tif", "", "power"),
        ("S1A_IW_20150621T120220_DVP_RTC10_G_saufed_F8E2_VV.tif", "", "amplitude"),
        ("iw-vv.rtc.tif", "", "power"),
        ("x.tif", "Sigma0_VV", "power"),
        ("x.tif", "Amplitude_VV", "amplitude"),
        ("x.tif", "Intensity_VV", "power"),
        ("gamma0.tif", "amplitude", "amplitude"),
    ],
)
def test_words_tell_power_from_amplitude(tmp_path: Path, name: str, description: str, stored: str):
    path = write(tmp_path / name, np.sqrt(power()) * 2, descriptions=(description,))
    with SarScene.open(path) as scene:
        assert scene.stored == stored
        assert scene.stretch(decibels=(-25, 0)) is not None


def test_words_do_not_make_decibels_power(tmp_path: Path):
    # As where a band was turned into decibels and kept its name.
    path = write(tmp_path / "x.tif", decibels(), descriptions=("Sigma0_VV",))
    with SarScene.open(path) as scene:
        assert scene.stored == "decibels"
    path = write(tmp_path / "y.tif", decibels() + 60, descriptions=("Sigma0_VV_db",))
    with SarScene.open(path) as scene:
        assert scene.stored == "decibels"


def test_power_below_the_noise_is_data(tmp_path: Path):
    path = GEO / "vh_noise_removed_power.tif"
    with SarScene.open(path) as scene:
        assert scene.stored == "power"
        values, valid = scene.read()
        assert valid.all() and (values < 0).mean() == pytest.approx(0.2733577806122449)
        assert (scene.chip(Window.from_slices((0, SIDE), (0, SIDE)))[values < 0] == 0).all()
    assert limits(path) == pytest.approx((-43.42850255736017, 0.0), abs=1e-3)
    # In the numbers of a processor, uncalibrated.
    large = write(tmp_path / "x.tif", values * 1e6)
    with SarScene.open(large) as scene:
        assert scene.stored == "power" and scene.read()[1].all()


@pytest.mark.parametrize("fill", [-9999, -32768, -99, -999, -3.4028235e38, 0, 1e20, -100])
def test_fill_among_decibels_that_nobody_names(tmp_path: Path, fill: float):
    values = decibels()
    values[:, :30] = fill
    values[40, 40] = 5
    path = write(tmp_path / "x.tif", values)
    assert limits(path) == pytest.approx(np.percentile(values[:, 30:], (1, 99.5)), abs=1e-3)
    with SarScene.open(path) as scene:
        assert not scene.read()[1][:, :30].any() and scene.read()[1][:, 30:].all()
        assert "found among the values" in str(scene.read_as())
    grey = np.asarray(read_image(path))[..., 0]
    assert (grey[:, :30] == 0).all() and 80 < np.median(grey[:, 30:]) < 180
    assert limits(GEO / "db_m9999_fill.tif") == pytest.approx((-24.896397399902344, -11.63467340469337), abs=1e-3)


@pytest.mark.parametrize("fill", [-9999, -32768, 1e-10, 0])
def test_fill_among_linear_values(tmp_path: Path, fill: float):
    values = power()
    values[:, :30] = fill
    with SarScene.open(write(tmp_path / "x.tif", values)) as scene:
        assert scene.stored == "power"
        assert not scene.read()[1][:, :30].any() and scene.read()[1][:, 30:].all()
        stretch = scene.stretch()
    assert stretch is not None
    assert (stretch.low, stretch.high) == pytest.approx(
        10 * np.log10(np.percentile(values[:, 30:], (1, 99.5))), abs=1e-3
    )


def test_edges_that_resampling_made_of_data_and_fill_are_no_data(tmp_path: Path):
    values = decibels()
    values[:, :30] = -9999
    values[:, 30] = -4000 * np.random.default_rng(0).random(SIDE) - 300
    with SarScene.open(write(tmp_path / "x.tif", values)) as scene:
        assert scene.stored == "decibels"
        assert not scene.read()[1][:, :31].any()


def test_zeros_where_decibels_were_cut_off_are_asked_about(tmp_path: Path):
    values = (decibels() + 16).clip(-25, 0)
    path = write(tmp_path / "x.tif", values)
    with pytest.raises(InputError, match=r"exactly 0, and none are higher: .* nodata \(--nodata\) 0 where .*, none"):
        limits(path)
    assert limits(path, nodata=float("nan")) == pytest.approx(np.percentile(values, (1, 99.5)), abs=1e-3)
    assert limits(path, nodata=0) == pytest.approx(np.percentile(values[values != 0], (1, 99.5)), abs=1e-3)


def test_decibels_that_were_rounded_have_zeros_as_other_values(tmp_path: Path):
    values = np.round(decibels() + 18, 1)
    with SarScene.open(write(tmp_path / "x.tif", values)) as scene:
        assert scene.read()[1].all()


def test_hundredths_of_decibels_are_asked_to_say_so(tmp_path: Path):
    path = write(tmp_path / "x.tif", (decibels() * 100).astype(np.int16))
    with pytest.raises(InputError, match=r"no decibels, .*gdal_edit\.py -scale 0\.01"):
        limits(path)
    with rasterio.open(path, "r+") as dataset:
        dataset.scales = (0.01,)
    assert limits(path) == pytest.approx(np.percentile(decibels(), (1, 99.5)), abs=0.02)


def test_the_nodata_value_of_complex_values_is_that_of_both_parts(tmp_path: Path):
    with SarScene.open(GEO / "slc_nodata0.tif") as scene:
        assert scene.read()[1].mean() == pytest.approx(0.7721619897959183)
    values = (iq()[0] + 1j * iq()[1]).astype(np.complex64)
    values[:10] = -9999
    path = write(tmp_path / "x.tif", values, nodata=-9999)
    with SarScene.open(path) as scene:
        assert not scene.read()[1][:20].any() and scene.read()[1][20:].all()


def test_palettes_are_seen_as_their_colours(tmp_path: Path):
    with SarScene.open(GEO / "palette16.tif") as scene:
        values, valid = scene.read()
        assert values.max() == 255 and np.median(values) == 34 and valid.all()
    grey = np.asarray(read_image(GEO / "palette16.tif"))[..., 0]
    np.testing.assert_array_equal(grey, values)
    with pytest.raises(InputError, match=r"palette16\.tif: stored: found 'power' for the colours of a palette"):
        SarScene.open(GEO / "palette16.tif", Reading(stored="power"))
    # As PNG palettes are made grey.
    colours = {0: (255, 0, 0, 255), 1: (0, 255, 0, 255), 2: (10, 20, 200, 255)}
    indices = np.random.default_rng(0).integers(0, 3, (SIDE, SIDE), np.uint8)
    path = write(tmp_path / "x.tif", indices, photometric="palette")
    with rasterio.open(path, "r+") as dataset:
        dataset.write_colormap(1, colours)
    picture = Image.fromarray(np.array([colours[i][:3] for i in range(3)], np.uint8)[indices]).convert("L")
    assert np.abs(np.asarray(read_image(path))[..., 0].astype(int) - np.asarray(picture)).max() <= 1


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_white_as_the_least_value_is_inverted(tmp_path: Path, dtype: str):
    largest = np.iinfo(dtype).max
    values = np.random.default_rng(0).integers(1, largest, (SIDE, SIDE)).astype(dtype)
    upright = write(tmp_path / "a.tif", values)
    inverted = write(tmp_path / "b.tif", (largest - values).astype(dtype), photometric="MINISWHITE")
    np.testing.assert_array_equal(np.asarray(read_image(upright)), np.asarray(read_image(inverted)))


def test_grey_levels_of_fewer_bits_reach_white(tmp_path: Path):
    values = np.random.default_rng(0).integers(0, 16, (SIDE, SIDE), np.uint8)
    grey = np.asarray(read_image(write(tmp_path / "x.tif", values, nbits=4)))[..., 0]
    np.testing.assert_array_equal(grey, values * 17)


def test_what_a_file_was_read_as_is_one_line_and_plain_json():
    _, read_as = read_image_as(GEO / "db_m9999_fill.tif", Reading(polarization="vh"))
    assert str(read_as) == (
        "band 1 (VH) read as decibels (negative values); no data is -9999 (found among the values; the file does not "
        "name all of it); in EPSG:32611; black at -24.9 dB, white at -11.6 dB (1st and 99.5th percentile of the scene)"
    )
    assert read_as.as_json()["nodata"] == [-9999] and read_as.as_json()["stored"] == "decibels"


def test_16_bit_pictures_are_told_as_rasters_are(tmp_path: Path):
    values = np.random.default_rng(0).gamma(4, 1000, (SIDE, SIDE)).astype(np.uint16)
    values[:10] = 7
    Image.fromarray(values).save(tmp_path / "x.png")
    image, read_as = read_image_as(tmp_path / "x.png", Reading(stored="power", nodata=7))
    np.testing.assert_array_equal(np.asarray(image)[..., 0], to_8bit(values, values != 7, stored="power")[0])
    assert read_as.stored == "power" and read_as.nodata == (7,)
    with pytest.raises(InputError, match=r"x\.png: crs: found 'EPSG:4326' for a PNG image"):
        read_image(tmp_path / "x.png", Reading(crs="EPSG:4326"))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.floats(-30, -3), st.floats(0.5, 8), st.integers(1, 16))
def test_decibels_without_fill_are_all_kept(seed: int, mean: float, spread: float, looks: int):
    rng = np.random.default_rng(seed)
    ground = rng.normal(mean, spread, (64, 1))
    values = (ground + 10 * np.log10(rng.gamma(looks, 1 / looks, (64, 64)))).astype(np.float32)
    if np.percentile(values, 1) < -3:
        assert kind_of(values).stored == "decibels"
        assert fill_of(values, "decibels") == ()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=60), st.sampled_from(["float32", "int32"]))
def test_any_values_have_a_kind_or_a_line_that_asks(numbers: list[float], dtype: str):
    values = np.array(numbers, np.float32).astype(dtype)
    try:
        kind = kind_of(values, Words(), bands=2)
        fill_of(values, kind.stored)
    except InputError as error:
        assert "\n" not in str(error) and "(--" in str(error)


def test_two_polarizations_are_no_parts_of_one_image(tmp_path: Path):
    # Decibels of land, uncalibrated: balanced about zero.
    values = np.random.default_rng(0).normal(0, 5, (SIDE, SIDE)).astype(np.float32)
    with SarScene.open(write(tmp_path / "x.tif", values, values, descriptions=("VV", "VH"))) as scene:
        assert scene.stored == "decibels"
    with pytest.raises(InputError, match="balanced about zero"):
        limits(write(tmp_path / "y.tif", values, values))
