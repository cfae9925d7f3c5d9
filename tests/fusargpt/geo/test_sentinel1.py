import shutil
import zipfile
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from rasterio.windows import Window

from fusargpt.errors import InputError
from fusargpt.geo.look_up_table import LookUpTable
from fusargpt.geo.reading import Reading
from fusargpt.geo.sar_scene import SarScene
from tests.fusargpt.geo.safe_products import NAME, OLD_NOISE, STEM, annotation, packed, write_product

WIDTH, HEIGHT = 100, 80
DIGITAL = (np.arange(HEIGHT * WIDTH, dtype=np.uint16) % 500 + 1).reshape(HEIGHT, WIDTH)
DIGITAL[:, :3] = 0


@pytest.fixture
def product(tmp_path: Path) -> Path:
    return write_product(tmp_path, {"VV": DIGITAL, "VH": DIGITAL // 2})


def sigma0(digital: np.ndarray, old: bool = False) -> np.ndarray:
    """By the product's tables, see `safe_products`."""
    line, pixel = np.mgrid[:HEIGHT, :WIDTH].astype(float)
    noise = (1000 + 20 * line + 10 * pixel) * np.where(pixel < 50, 1 + line / 40, 0.5)
    return (digital.astype(float) ** 2 - (1000 + 10 * pixel if old else noise)) / (110 + line + 2 * pixel) ** 2


@pytest.mark.parametrize("form", ["folder", "zip", "manifest"])
def test_a_product_is_read_as_sigma0_without_noise(product: Path, form: str):
    path = {"folder": product, "zip": packed(product), "manifest": product / "manifest.safe"}[form]
    with SarScene.open(path, Reading(polarization="VV")) as scene:
        values, valid = scene.read()
        assert (scene.stored, scene.polarization, scene.sensor) == ("power", "VV", "Sentinel-1A")
        assert scene.acquired == date(2023, 6, 28)
        assert scene.product is not None
        assert scene.product.as_json() == {
            "orbit": 49191,
            "pass": "descending",
            "started": "2023-06-28T21:07:05.123456Z",
        }
        assert "thermal noise taken off" in str(scene.read_as())
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, sigma0(DIGITAL), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(valid, DIGITAL != 0)


def test_three_pixels_by_hand(product: Path):
    with SarScene.open(product, Reading(polarization="VV")) as scene:
        values, _ = scene.read()
    # Line 0, pixel 10: DN 11, A 130, noise 1100 x 1. Line 20, pixel 40: DN 41, A 210, noise 1800 x 1.5.
    assert values[0, 10] == pytest.approx((11**2 - 1100) / 130**2)
    assert values[20, 40] == pytest.approx((41**2 - 2700) / 210**2)
    # Line 4, pixel 90: DN 491, A 294, noise 1980 x 0.5.
    assert values[4, 90] == pytest.approx((491**2 - 990) / 294**2)


def test_noise_before_version_2_9_is_one_table(tmp_path: Path):
    product = write_product(tmp_path, {"VV": DIGITAL}, noise=OLD_NOISE)
    with SarScene.open(product) as scene:
        np.testing.assert_allclose(scene.read()[0], sigma0(DIGITAL, old=True), rtol=1e-5, atol=1e-6)


def test_a_window_holds_what_the_whole_holds_there(product: Path):
    with SarScene.open(packed(product), Reading(polarization="VH")) as scene:
        whole, held = scene.read()
        values, valid = scene.read(Window.from_slices((37, 71), (44, 120)))
    np.testing.assert_array_equal(values[:, :56], whole[37:71, 44:])
    np.testing.assert_array_equal(valid[:, :56], held[37:71, 44:])
    assert not valid[:, 56:].any()


def test_the_co_polarized_image_is_taken_unless_another_is_named(product: Path):
    with SarScene.open(product) as first, SarScene.open(product, Reading(band=2)) as second:
        assert (first.polarization, second.polarization) == ("VV", "VH")
        np.testing.assert_allclose(second.read()[0], sigma0(DIGITAL // 2), rtol=1e-5, atol=1e-6)


def test_grid_points_are_the_centres_of_their_pixels(product: Path):
    with SarScene.open(product) as scene:
        geometry = scene.placed()
        assert geometry.kind == "gcps"
        np.testing.assert_allclose(geometry.to_lonlat(np.array([[0.5, 0.5]])), [[10, 50]], atol=1e-7)
        np.testing.assert_allclose(geometry.to_lonlat(np.array([[40.5, 70.5]])), [[10.004, 49.993]], atol=1e-7)


def test_products_of_cloud_stores_have_short_names_and_no_suffix(product: Path):
    for file in product.rglob("*.*"):
        for number, polarization in enumerate(("vv", "vh"), start=1):
            stem = STEM.format(polarization, number)
            if stem in file.name:
                file.rename(file.with_name(file.name.replace(stem, f"iw-{polarization}")))
    with SarScene.open(product.rename(product.with_suffix("")), Reading(polarization="VH")) as scene:
        np.testing.assert_allclose(scene.read()[0], sigma0(DIGITAL // 2), rtol=1e-5, atol=1e-6)


def spoilt(product: Path, kind: str) -> Path:
    stem = STEM.format("vv", 1)
    tables = product / "annotation/calibration"
    noise, calibration = tables / f"noise-{stem}.xml", tables / f"calibration-{stem}.xml"
    about, raster = product / f"annotation/{stem}.xml", product / f"measurement/{stem}.tiff"
    text = {path: path.read_text() for path in (noise, calibration, about)}
    match kind:
        case "cut":
            noise.write_text(text[noise][:300])
        case "bomb":
            calibration.write_text(
                text[calibration].replace("<calibration>", '<!DOCTYPE a [<!ENTITY b "b">]><calibration>', 1)
            )
        case "no noise":
            noise.unlink()
        case "no measurement":
            shutil.rmtree(product / "measurement")
        case "another size":
            about.write_text(annotation("VV", WIDTH + 1, HEIGHT))
        case "slc":
            about.write_text(annotation("VV", WIDTH, HEIGHT, kind="SLC"))
        case "another polarization":
            about.write_text(annotation("HH", WIDTH, HEIGHT))
        case "no values":
            calibration.write_text(text[calibration].replace("200 300 400", "200 300"))
        case "not ascending":
            calibration.write_text(text[calibration].replace("0 50 100", "0 50 50"))
        case "nan":
            noise.write_text(text[noise].replace("3000", "nan"))
        case "zero":
            calibration.write_text(text[calibration].replace("100 300<", "0 300<"))
        case "no tiff":
            raster.write_bytes(b"II*\0 no tiff")
        case "float":
            with rasterio.open(raster, "w", driver="GTiff", dtype="float32", count=1, width=9, height=9) as dataset:
                dataset.write(np.ones((9, 9), np.float32), 1)
        case _:
            raise AssertionError(kind)
    return product


@pytest.mark.parametrize("form", ["folder", "zip"])
@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("cut", "noise-.*not XML, or cut off"),
        ("bomb", "calibration-.*document type"),
        ("no noise", "found 0 noise files in VV"),
        ("no measurement", "no measurement"),
        ("another size", "100 x 80 pixels; the annotation says 101 x 80"),
        ("slc", "found 'SLC'; expected a GRD"),
        ("another polarization", "found HH; expected VV"),
        ("no values", "2 values for 3 points"),
        ("not ascending", "do not ascend"),
        ("nan", "not finite"),
        ("zero", "not above 0"),
        ("no tiff", "damaged TIFF"),
        ("float", "expected one of uint16"),
    ],
)
def test_what_is_wrong_with_a_product_is_one_line(product: Path, kind: str, said: str, form: str):
    path = spoilt(product, kind)
    path = packed(path) if form == "zip" else path
    with pytest.raises(InputError, match=said) as caught:
        SarScene.open(path, Reading(polarization="VV"))
    assert "\n" not in str(caught.value) and NAME in str(caught.value)


def test_a_polarization_that_is_not_there_names_those_that_are(product: Path):
    with pytest.raises(InputError, match="no band is 'HH'; found VV, VH"):
        SarScene.open(product, Reading(polarization="HH"))


@pytest.mark.parametrize("told", [{"stored": "power"}, {"nodata": 0.0}, {"crs": "EPSG:4326"}, {"height_m": 3.0}])
def test_what_the_annotation_says_cannot_be_told(product: Path, told: dict[str, object]):
    with pytest.raises(InputError, match=f"{next(iter(told))}: found .*leave it out"):
        SarScene.open(product, Reading(**told))  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("name", ["../outside.xml", "/etc/outside.xml", "a/../../outside.xml", "..\\outside.xml"])
def test_a_zip_that_names_files_outside_itself_is_refused(product: Path, name: str):
    path = packed(product)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, "x")
    with pytest.raises(InputError, match="lies outside the zip"):
        SarScene.open(path)


def test_a_zip_of_something_else_is_one_line(tmp_path: Path):
    path = tmp_path / "scene.zip"
    path.write_bytes(b"PK\3\4 nothing")
    with pytest.raises(InputError, match="damaged zip"):
        SarScene.open(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("scene.tif", "x")
    with pytest.raises(InputError, match=r"expected a zip of one Sentinel-1 product with a manifest\.safe, found none"):
        SarScene.open(path)


def test_an_xml_file_that_unpacks_to_more_than_its_limit_is_refused(product: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("fusargpt.geo.safe_files.MAX_TEXT_BYTES", 1000)
    for path in (packed(product), product):
        with pytest.raises(InputError, match="more than 1,000 bytes"):
            SarScene.open(path)


def ascending(points: int, low: int, high: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(low, high), min_size=1, max_size=points, unique=True).map(sorted)


@given(st.data(), st.integers(-5, 40), st.integers(-5, 40), ascending(4, -20, 60))
def test_tables_are_linear_between_their_points_and_level_beyond(
    data: st.DataObject, top: int, left: int, lines: list[int]
):
    pixels = [np.array(data.draw(ascending(4, -20, 60)), float) for _ in lines]
    drawn = [data.draw(st.lists(st.integers(1, 9), min_size=len(at), max_size=len(at))) for at in pixels]
    values = [np.array(value, float) for value in drawn]
    table = LookUpTable(np.array(lines, float), tuple(pixels), tuple(values))
    found = table.over(top, left, 7, 5)
    for row in range(7):
        for column in range(5):
            at_lines = [np.interp(left + column, at, value) for at, value in zip(pixels, values, strict=True)]
            assert found[row, column] == pytest.approx(np.interp(top + row, lines, at_lines))
