import os
import tracemalloc
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.windows import Window

from fusargpt.errors import InputError, NoDataError
from fusargpt.geo.radiometry import to_8bit
from fusargpt.geo.reading import Reading
from fusargpt.geo.sampling import FEWEST_BLOCKS, READ_PIXELS, SAMPLE_PIXELS, sample_windows
from fusargpt.geo.sar_scene import SarScene

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

UTM: dict[str, Any] = {"crs": "EPSG:32611", "transform": Affine(10, 0, 4e5, 0, -10, 37e5)}


def window(left: float, top: float, width: float, height: float) -> Window:
    return Window.from_slices((top, top + height), (left, left + width), boundless=True)


def amplitude(height: int = 120, width: int = 150, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).gamma(4, 1000, (height, width)).astype(np.uint16)


def decibels(height: int = 120, width: int = 150) -> np.ndarray:
    return (20 * np.log10(amplitude(height, width) / 1e5)).astype(np.float32)


def write(path: Path, *bands: np.ndarray, **profile: Any) -> Path:
    height, width = bands[0].shape
    profile = {"count": len(bands), "dtype": bands[0].dtype, "width": width, "height": height} | UTM | profile
    with rasterio.open(path, "w", driver="GTiff", **profile) as dataset:
        for number, values in enumerate(bands, 1):
            dataset.write(values, number)
    return path


def test_a_scene_says_what_it_is(tmp_path: Path):
    path = write(tmp_path / "S1A_IW_GRDH_1SDV_20210105T135000.tif", decibels(), decibels())
    with SarScene.open(path) as scene:
        assert scene.path == str(path)
        assert (scene.width, scene.height) == (150, 120)
        assert scene.geometry is not None
        assert scene.geometry.crs == "EPSG:32611"
        assert scene.geometry.resolution_m() == pytest.approx(10, rel=1e-3)
        assert scene.stored == "decibels"


@pytest.mark.parametrize(
    ("dtype", "stored"), [("uint16", "amplitude"), ("float32", "amplitude"), ("float64", "amplitude")]
)
def test_chips_of_linear_values_are_cut_from_the_image_of_the_whole(tmp_path: Path, dtype: str, stored: str):
    path = write(tmp_path / "scene.tif", amplitude().astype(dtype))
    whole, stretch = to_8bit(amplitude())
    with SarScene.open(path) as scene:
        assert scene.stretch() == stretch
        assert scene.stored == stored
        np.testing.assert_array_equal(scene.chip(window(20, 30, 64, 48), stretch=stretch), whole[30:78, 20:84])


@pytest.mark.parametrize("dtype", ["complex64", "complex_int16", "complex128"])
def test_complex_scenes_are_seen_by_their_amplitude(tmp_path: Path, dtype: str):
    generator = np.random.default_rng(0)
    values = generator.normal(0, 500, (120, 150)) + 1j * generator.normal(0, 500, (120, 150))
    values = values.round().astype(np.complex64)
    path = write(
        tmp_path / "slc.tif", values.astype("complex128" if dtype == "complex128" else "complex64"), dtype=dtype
    )
    whole, stretch = to_8bit(np.abs(values))
    with SarScene.open(path) as scene:
        assert scene.stored == "amplitude"
        assert scene.stretch() == stretch
        np.testing.assert_array_equal(scene.chip(window(0, 0, 150, 120), stretch=stretch), whole)


def test_8bit_scenes_pass_unchanged(tmp_path: Path):
    grey = np.random.default_rng(0).integers(1, 256, (120, 150), dtype=np.uint8)
    grey[:20] = 0
    path = write(tmp_path / "scene.tif", grey, nodata=0)
    with SarScene.open(path) as scene:
        assert scene.stretch() is None
        assert scene.stored == "grey"
        np.testing.assert_array_equal(scene.chip(window(10, 10, 50, 50)), grey[10:60, 10:60])
    with SarScene.open(path, Reading(stored="amplitude")) as scene:
        stretch = scene.stretch()
        assert stretch is not None and stretch.stored == "amplitude"
        assert (scene.chip(window(10, 10, 50, 50), stretch=stretch)[:10] == 0).all()


def test_what_is_told_of_the_values_wins(tmp_path: Path):
    path = write(tmp_path / "city.tif", decibels() + 60)
    with SarScene.open(path) as scene, SarScene.open(path, Reading(stored="decibels")) as told:
        with pytest.raises(InputError, match=r"city.tif: values from 18 to 40.8 fit decibels and linear values alike"):
            _ = scene.stored
        assert told.stored == "decibels"
        part = window(0, 0, 150, 120)
        expected, _ = to_8bit(decibels())
        assert np.abs(told.chip(part, stretch=told.stretch()).astype(int) - expected).max() <= 1
        np.testing.assert_array_equal(told.chip(part), told.chip(part, stretch=told.stretch()))


def test_bands_are_read_and_scaled_apart(tmp_path: Path):
    path = write(tmp_path / "dual.tif", amplitude(), amplitude(seed=1) // 8)
    with SarScene.open(path) as scene:
        np.testing.assert_array_equal(scene.read(band=2)[0], amplitude(seed=1) // 8)
        assert scene.stretch(2) == to_8bit(amplitude(seed=1) // 8)[1]
        for call in (lambda: scene.read(band=3), lambda: scene.stretch(0)):
            with pytest.raises(InputError, match=r"dual.tif: no band .; the file has 2"):
                call()


def nodata_value(path: Path, values: np.ndarray, held: np.ndarray) -> dict[str, Any]:
    write(path, np.where(held, values, -99).astype(np.float32), nodata=-99)
    return {}


def nodata_told(path: Path, values: np.ndarray, held: np.ndarray) -> dict[str, Any]:
    write(path, np.where(held, values, -99).astype(np.float32))
    return {"nodata": -99}


def nodata_told_nan(path: Path, values: np.ndarray, held: np.ndarray) -> dict[str, Any]:
    write(path, np.where(held, values, np.nan).astype(np.float32), nodata=-99)
    return {"nodata": np.nan}


def not_a_number(path: Path, values: np.ndarray, held: np.ndarray) -> dict[str, Any]:
    write(path, np.where(held, values, np.nan).astype(np.float32))
    return {}


def internal_mask(path: Path, values: np.ndarray, held: np.ndarray) -> dict[str, Any]:
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        write(path, values)
        with rasterio.open(path, "r+") as dataset:
            dataset.write_mask(held)
    return {}


def alpha_band(path: Path, values: np.ndarray, held: np.ndarray) -> dict[str, Any]:
    # GDAL knows alpha bands of integers alone; 65,535 is opaque.
    write(path, np.round((values + 60) * 100).astype(np.uint16), held.astype(np.uint16) * 65_535, alpha="yes")
    with rasterio.open(path, "r+") as dataset:
        dataset.scales, dataset.offsets = (0.01, 1.0), (-60.0, 0.0)
    return {}


@pytest.mark.parametrize("mark", [nodata_value, nodata_told, nodata_told_nan, not_a_number, internal_mask, alpha_band])
def test_pixels_without_data_are_known_black_and_do_not_count(tmp_path: Path, mark: Callable[..., Any]):
    held = np.ones((120, 150), bool)
    held[:40] = False
    held[60:70, 100:] = False
    arguments = mark(tmp_path / "scene.tif", decibels(), held)
    with SarScene.open(tmp_path / "scene.tif", Reading(**arguments)) as scene:
        np.testing.assert_array_equal(scene.read()[1], held)
        expected, limits = to_8bit(decibels(), held)
        stretch = scene.stretch()
        assert stretch is not None and limits is not None
        assert (stretch.low, stretch.high) == pytest.approx((limits.low, limits.high), abs=0.01)
        chip = scene.chip(window(0, 0, 150, 120), stretch=stretch)
        assert (chip[~held] == 0).all()
        assert np.abs(chip.astype(int) - expected).max() <= 1


def test_scale_and_offset_are_applied(tmp_path: Path):
    path = write(tmp_path / "coded.tif", np.round((decibels() + 60) * 100).astype(np.uint16))
    with rasterio.open(path, "r+") as dataset:
        dataset.scales, dataset.offsets = (0.01,), (-60.0,)
    with SarScene.open(path) as scene:
        np.testing.assert_allclose(scene.read()[0], decibels(), atol=0.01)
        assert scene.stored == "decibels"


@settings(max_examples=40, deadline=None)
@given(left=st.integers(-60, 149), top=st.integers(-60, 119), width=st.integers(1, 200), height=st.integers(1, 200))
def test_windows_over_the_edge_are_filled_with_nodata(
    tmp_path_factory: pytest.TempPathFactory, left: int, top: int, width: int, height: int
):
    path = tmp_path_factory.getbasetemp() / "edge.tif"
    if not path.exists():
        write(path, amplitude() + 1)
    with SarScene.open(path) as scene:
        if left + width <= 0 or top + height <= 0:
            with pytest.raises(InputError, match="outside the scene of 150 x 120 pixels"):
                scene.read(window(left, top, width, height))
            return
        values, valid = scene.read(window(left, top, width, height))
    canvas = np.pad(amplitude() + 1, 260)
    expected = canvas[top + 260 : top + 260 + height, left + 260 : left + 260 + width]
    np.testing.assert_array_equal(values, expected)
    np.testing.assert_array_equal(valid, expected > 0)


def test_chips_over_the_edge_are_black_there(tmp_path: Path):
    path = write(tmp_path / "scene.tif", decibels())
    with SarScene.open(path) as scene:
        chip = scene.chip(window(100, 100, 80, 80), stretch=scene.stretch())
    assert chip.shape == (80, 80)
    assert chip.dtype == np.uint8
    assert (chip[20:] == 0).all() and (chip[:, 50:] == 0).all()
    assert chip[:20, :50].mean() > 50


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (window(0.5, 0, 10, 10), r"window of 10 x 10 pixels at \(0.5, 0\): expected whole pixels"),
        (window(0, 0, 0, 10), "expected whole pixels, at least one on each side"),
        (window(0, 0, 10_000, 10_000), "more than 67,108,864 in one read"),
        (window(150, 0, 10, 10), "outside the scene of 150 x 120 pixels"),
    ],
)
def test_a_window_that_cannot_be_read_is_named(tmp_path: Path, part: Any, message: str):
    path = write(tmp_path / "scene.tif", decibels())
    with SarScene.open(path) as scene, pytest.raises(InputError, match=message) as caught:
        scene.read(part)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_chip_without_data_is_named(tmp_path: Path):
    values = decibels()
    values[:64, :64] = -99
    path = write(tmp_path / "scene.tif", values, nodata=-99)
    with SarScene.open(path) as scene:
        for stretch in (None, scene.stretch()):
            with pytest.raises(NoDataError) as caught:
                scene.chip(window(0, 0, 64, 64), stretch=stretch)
            assert str(caught.value) == (
                f"{path}: window of 64 x 64 pixels at (0, 0): no pixel holds data: all are nodata, NaN or, where they "
                "are linear, 0"
            )


def test_zeros_of_linear_values_hold_no_data_either(tmp_path: Path):
    values = amplitude()
    values[:64, :64] = 0
    with (
        SarScene.open(write(tmp_path / "slc.tif", values)) as scene,
        pytest.raises(NoDataError, match="no pixel holds data"),
    ):
        scene.chip(window(0, 0, 64, 64), stretch=scene.stretch())


@pytest.mark.parametrize("value", [np.nan, -99])
def test_a_scene_without_data_has_no_limits(tmp_path: Path, value: Any):
    path = write(tmp_path / "empty.tif", np.full((120, 150), value, np.float32), nodata=-99)
    with SarScene.open(path) as scene, pytest.raises(NoDataError, match=r"empty.tif: no pixel holds data"):
        scene.stretch()


def test_a_sentinel1_product_as_delivered(tmp_path: Path):
    """16-bit amplitude in strips, ground control points, all else in the name; the TIFF's date is of processing."""
    path = tmp_path / "s1a-iw-grd-vv-20210105t135000-20210105t135025-036006-043777-001.tiff"
    points = [
        # Seen from a descending orbit: rows run south-west, columns east-north-east.
        GroundControlPoint(
            row=row, col=column, x=-118 + (9 * column - 2 * row) * 1e-5, y=34 + (-8 * row - 1.6 * column) * 1e-5
        )
        for row in np.linspace(0, 1200, 5)
        for column in np.linspace(0, 1400, 6)
    ]
    write(path, coast(1200, 1400), blockysize=1, crs=None, transform=None)
    with rasterio.open(path, "r+") as dataset:
        dataset.gcps = points, CRS.from_epsg(4326)
        dataset.update_tags(TIFFTAG_DATETIME="2022:06:01 10:00:00")
    with SarScene.open(path) as scene:
        assert (scene.sensor, scene.acquired, scene.polarizations) == ("Sentinel-1A", date(2021, 1, 5), ("VV",))
        assert scene.stored == "amplitude"
        assert scene.geometry is not None
        assert scene.geometry.kind == "gcps"
        assert scene.geometry.bounds() == pytest.approx((-118.024, 33.8816, -117.874, 34), abs=1e-4)
        np.testing.assert_allclose(scene.geometry.to_pixel(np.array([[-118.0, 34.0]])), [[0, 0]], atol=1e-4)
        assert scene.chip(window(0, 0, 504, 504), stretch=scene.stretch()).std() > 20


def test_a_scene_without_a_georeference_is_an_image_all_the_same(tmp_path: Path):
    with SarScene.open(write(tmp_path / "chip.tif", decibels(), crs=None, transform=None)) as scene:
        assert scene.geometry is None
        assert scene.chip(window(0, 0, 150, 120)).std() > 30


def write_truncated(path: Path) -> None:
    write(path, decibels())
    path.write_bytes(path.read_bytes()[:60_000])


def write_virtual(path: Path) -> None:
    write(path.with_suffix(".tif"), decibels())
    path.write_text(
        f'<VRTDataset rasterXSize="150" rasterYSize="120"><VRTRasterBand dataType="Float32" band="1"><SimpleSource>'
        f"<SourceFilename>{path.with_suffix('.tif')}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    )


@pytest.mark.parametrize(
    ("write_file", "message"),
    [
        (lambda path: None, "no such file"),
        (Path.mkdir, "a folder; expected a file"),
        (Path.touch, "the file is empty"),
        (lambda path: path.write_text("not an image"), "not a PNG, JPEG or TIFF image .it starts with b'not an i'"),
        (write_virtual, "not a PNG, JPEG or TIFF image"),
        (
            lambda path: Image.new("L", (32, 32)).save(path, "JPEG"),
            "a picture .JPEG. without a place; expected a GeoTIFF",
        ),
        (
            lambda path: Image.new("L", (32, 32)).save(path, "PNG"),
            "a picture .PNG. without a place; expected a GeoTIFF",
        ),
    ],
)
def test_a_file_that_is_no_scene_gives_one_line_that_names_it(tmp_path: Path, write_file: Any, message: str):
    path = tmp_path / "scene.bad"
    write_file(path)
    with pytest.raises(InputError, match=message) as caught:
        SarScene.open(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("crs", "problem"),
    [
        (None, "a geotransform without a CRS; say which one with crs (--crs)"),
        ("EPSG:4326", "longitude 400000, latitude 3.7e+06 by EPSG:4326"),
    ],
)
def test_a_georeference_that_cannot_be_used_is_told_and_costs_no_pixel(tmp_path: Path, crs: str | None, problem: str):
    path = write(tmp_path / "lost.tif", decibels(), crs=crs)
    with SarScene.open(path) as scene:
        assert scene.geometry is None and scene.problem.startswith(f"{path}: ") and problem in scene.problem
        assert scene.chip(window(0, 0, 150, 120)).std() > 30
        with pytest.raises(InputError, match=r"lost\.tif"):
            scene.placed()
    with SarScene.open(path, Reading(crs="EPSG:32611")) as scene:
        assert scene.placed().crs == "EPSG:32611" and not scene.problem
        assert "in EPSG:32611 (told)" in str(scene.read_as())
    with pytest.raises(InputError, match=r"lost.tif: .* not on Earth"):
        SarScene.open(path, Reading(crs="EPSG:4326"))


def test_a_truncated_file_is_named_when_the_missing_part_is_read(tmp_path: Path):
    path = tmp_path / "scene.tif"
    write_truncated(path)
    with SarScene.open(path) as scene:
        assert scene.read(window(0, 0, 150, 50))[1].all()
        # Limits are taken of what can be read.
        assert scene.stretch() is not None
        for call in (scene.read, lambda: scene.chip(window(0, 100, 20, 20))):
            with pytest.raises(InputError, match="a damaged TIFF file") as caught:
                call()
            assert str(caught.value).startswith(f"{path}: ")
            assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "NETCDF:scene.tif:band",
        "/vsizip/scene.zip/scene.tif",
        "/vsicurl/http://127.0.0.1/scene.tif",
        "GTIFF_DIR:1:scene.tif",
    ],
)
def test_names_with_a_meaning_to_gdal_are_file_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str):
    write(tmp_path / "scene.tif", decibels())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        SarScene.open(name)
    if not name.startswith("/"):
        write(tmp_path / name, amplitude())
        with SarScene.open(name) as scene:
            np.testing.assert_array_equal(scene.read()[0], amplitude())


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/scene.tif", "zip+https://127.0.0.1/a.zip!scene.tif", "s3://"])
def test_urls_of_other_kinds_are_refused(url: str):
    with pytest.raises(InputError, match="expected a local file or an http, https, s3 or gs URL"):
        SarScene.open(url)


def test_arguments_that_do_not_fit_are_refused(tmp_path: Path):
    path = write(tmp_path / "scene.tif", decibels())
    with pytest.raises(InputError, match="stored: found 'intensity'"):
        SarScene.open(path, Reading(stored="intensity"))  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="height_m=10 for an image with an affine transform has no use"):
        SarScene.open(path, Reading(height_m=10))


def test_one_huge_compressed_block_is_refused_before_it_is_read(tmp_path: Path):
    path = tmp_path / "strip.tif"
    rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=10_000,
        height=10_000,
        count=1,
        dtype="uint16",
        blockysize=10_000,
        compress="deflate",
        sparse_ok=True,
    ).close()
    with pytest.raises(InputError, match="stored in blocks of 10,000 x 10,000 pixels"):
        SarScene.open(path)


def coast(height: int, width: int) -> np.ndarray:
    """Sea to the west, land to the east, uint16 amplitude."""
    speckle = np.random.default_rng(0).gamma(4, 0.25, (height, width))
    return (speckle * (100 + 900 / (1 + np.exp(-np.linspace(-8, 6, width))))).astype(np.uint16)


@pytest.mark.parametrize("profile", [{"tiled": True, "blockxsize": 64, "blockysize": 64}, {"blockysize": 1}])
def test_limits_of_a_large_scene_are_those_of_the_whole_and_always_the_same(
    tmp_path: Path, profile: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    # A sample of a sixth stands for millions of pixels.
    monkeypatch.setattr("fusargpt.geo.sampling.READ_PIXELS", 2**18)
    monkeypatch.setattr("fusargpt.geo.sampling.SAMPLE_PIXELS", 2**16)
    values = coast(1200, 1400)
    path = write(tmp_path / "scene.tif", values, **profile)
    expected = 20 * np.log10(np.percentile(values[values > 0], (1, 99.5)))
    with SarScene.open(path) as scene:
        stretch = scene.stretch()
        assert stretch is not None
        assert (stretch.low, stretch.high) == pytest.approx(expected, abs=0.2)
    with SarScene.open(path) as scene:
        assert scene.stretch() == stretch


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 60_000),
    st.integers(1, 60_000),
    st.sampled_from([(256, 256), (512, 512), (1024, 1024), (None, 1), (None, 16)]),
)
def test_a_sample_is_bounded_inside_the_scene_and_spread_over_it(
    width: int, height: int, block: tuple[None, int] | tuple[int, int]
):
    block_width, block_height = block[0] or width, block[1]
    windows, step = next(sample_windows(width, height, block_width, block_height))
    areas = [part.width * part.height for part in windows]
    assert sum(areas) <= max(READ_PIXELS, FEWEST_BLOCKS * block_width * block_height)
    assert sum(areas) / step**2 <= SAMPLE_PIXELS
    assert len({(part.col_off, part.row_off) for part in windows}) == len(windows)
    for part in windows:
        assert part.col_off % block_width == 0 and part.row_off % block_height == 0
        assert part.col_off + part.width <= width and part.row_off + part.height <= height
    padded = -(-width // block_width) * block_width * (height + max(block_height, 2**16 // width + 1))
    if padded <= READ_PIXELS:
        assert sum(areas) == width * height
    middle = np.average([part.row_off + part.height / 2 for part in windows], weights=areas)
    assert abs(middle - height / 2) <= max(block_height, 2**16 / block_width, 0.03 * height)


def write_sparse(path: Path, spots: dict[tuple[int, int], np.ndarray]) -> Path:
    """30,000 x 30,000 pixels of nodata, which take no room, but for these spots (left, top)."""
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=30_000,
        height=30_000,
        count=1,
        dtype="float32",
        nodata=-99,
        tiled=True,
        blockxsize=512,
        blockysize=512,
        sparse_ok=True,
        **UTM,
    ) as dataset:
        for (left, top), values in spots.items():
            dataset.write(values, 1, window=window(left, top, values.shape[1], values.shape[0]))
    return path


def test_a_scene_of_30000_pixels_is_never_loaded_whole(tmp_path: Path):
    # Data here and there among the blocks of which the limits are taken.
    blocks, _ = next(sample_windows(30_000, 30_000, 512, 512))
    places = [(int(block.col_off), int(block.row_off)) for block in blocks[::8]]
    path = write_sparse(tmp_path / "large.tif", {place: decibels(512, 512) for place in places})
    tracemalloc.start()
    try:
        with SarScene.open(path) as scene:
            stretch = scene.stretch()
            chip = scene.chip(window(*places[3], 504, 504), stretch=stretch)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100e6  # the scene itself has 3.6e9 bytes
    _, expected = to_8bit(decibels(512, 512))
    assert stretch is not None and expected is not None
    assert (stretch.low, stretch.high) == pytest.approx((expected.low, expected.high), abs=0.2)
    np.testing.assert_array_equal(chip, to_8bit(decibels(512, 512)[:504, :504], stretch=stretch)[0])


def test_a_small_island_of_data_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("fusargpt.geo.sampling.READ_PIXELS", 2**18)
    values = np.full((1200, 1400), -99, np.float32)
    values[512:768, 512:768] = decibels(256, 256)
    path = write(tmp_path / "island.tif", values, nodata=-99, tiled=True, blockxsize=64, blockysize=64)
    with SarScene.open(path) as scene:
        assert scene.stretch() == to_8bit(decibels(256, 256))[1]


def test_sidecar_files_of_local_scenes_count(tmp_path: Path):
    values = decibels()
    path = write(tmp_path / "scene.tif", values)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(np.arange(120)[:, None].repeat(150, 1) > 30)
    assert os.listdir(tmp_path).count("scene.tif.msk") == 1
    with SarScene.open(path) as scene:
        assert not scene.read()[1][:31].any()
