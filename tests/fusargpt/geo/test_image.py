import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from PIL import Image

from fusargpt.errors import InputError
from fusargpt.geo.image import read_image
from fusargpt.geo.radiometry import to_8bit
from fusargpt.geo.reading import Reading

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


def grey_levels(height: int = 40, width: int = 50) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8)


def amplitude(height: int = 40, width: int = 50) -> np.ndarray:
    return np.random.default_rng(0).gamma(4, 1000, (height, width)).astype(np.uint16)


def write_tiff(path: Path, *bands: np.ndarray, **profile: Any) -> Path:
    height, width = bands[0].shape
    profile = {
        "driver": "GTiff",
        "height": height,
        "width": width,
        "count": len(bands),
        "dtype": bands[0].dtype,
    } | profile
    with rasterio.open(path, "w", **profile) as dataset:
        for number, values in enumerate(bands, 1):
            dataset.write(values, number)
    return path


def read_grey(path: Path, band: int = 1) -> np.ndarray:
    channels = np.asarray(read_image(path, Reading(band=band)))
    assert (channels == channels[..., :1]).all()
    return channels[..., 0]


def test_8bit_png_and_tiff_keep_their_grey_levels(tmp_path: Path):
    Image.fromarray(grey_levels()).save(tmp_path / "chip.png")
    write_tiff(tmp_path / "chip.tif", grey_levels())
    for name in ("chip.png", "chip.tif"):
        np.testing.assert_array_equal(read_grey(tmp_path / name), grey_levels())


def test_jpeg_stays_close(tmp_path: Path):
    smooth = np.linspace(0, 255, 50).astype(np.uint8)[None].repeat(40, 0)
    Image.fromarray(smooth).save(tmp_path / "chip.jpg", quality=95)
    assert np.abs(read_grey(tmp_path / "chip.jpg").astype(int) - smooth).max() < 10


def test_the_content_tells_the_format_not_the_name(tmp_path: Path):
    Image.fromarray(grey_levels()).save(tmp_path / "chip.tif", format="PNG")
    np.testing.assert_array_equal(read_grey(tmp_path / "chip.tif"), grey_levels())


@pytest.mark.parametrize("dtype", ["uint16", "int16", "int32", "float32", "float64", "complex64"])
def test_tiffs_of_every_type_are_scaled_alike(tmp_path: Path, dtype: str):
    path = write_tiff(tmp_path / "chip.tif", amplitude().astype(dtype))
    np.testing.assert_array_equal(read_grey(path), to_8bit(amplitude())[0])


def test_16bit_png_is_scaled_like_16bit_tiff(tmp_path: Path):
    Image.fromarray(amplitude()).save(tmp_path / "chip.png")
    np.testing.assert_array_equal(read_grey(tmp_path / "chip.png"), to_8bit(amplitude())[0])


def test_single_look_complex_integers_become_amplitude(tmp_path: Path):
    generator = np.random.default_rng(0)
    values = (generator.normal(0, 500, (40, 50)) + 1j * generator.normal(0, 500, (40, 50))).round().astype(np.complex64)
    path = write_tiff(tmp_path / "slc.tif", values, dtype="complex_int16")
    np.testing.assert_array_equal(read_grey(path), to_8bit(np.abs(values))[0])


def test_nodata_and_nan_of_a_decibel_tiff_are_black(tmp_path: Path):
    decibels = 20 * np.log10(amplitude() / 1e5).astype(np.float32)
    expected, _ = to_8bit(decibels[10:])
    decibels[:5] = -99
    decibels[5:10] = np.nan
    grey = read_grey(write_tiff(tmp_path / "decibels.tif", decibels, nodata=-99))
    assert (grey[:10] == 0).all()
    np.testing.assert_array_equal(grey[10:], expected)


def test_nodata_of_an_8bit_tiff_is_black(tmp_path: Path):
    grey = grey_levels().clip(0, 254)
    grey[:10] = 255
    read = read_grey(write_tiff(tmp_path / "chip.tif", grey, nodata=255))
    np.testing.assert_array_equal(read, np.where(grey == 255, 0, grey))


def test_scale_and_offset_of_a_tiff_are_applied(tmp_path: Path):
    decibels = np.random.default_rng(0).normal(-12, 4, (40, 50))
    path = tmp_path / "coded.tif"
    write_tiff(path, np.round((decibels + 50) * 100).astype(np.uint16))
    with rasterio.open(path, "r+") as dataset:
        dataset.scales, dataset.offsets = (0.01,), (-50.0,)
    assert np.abs(read_grey(path).astype(int) - to_8bit(decibels)[0]).max() <= 1


def test_the_first_band_is_read_unless_another_is_chosen(tmp_path: Path):
    path = write_tiff(tmp_path / "dual.tif", amplitude(), amplitude()[::-1])
    np.testing.assert_array_equal(read_grey(path), to_8bit(amplitude())[0])
    np.testing.assert_array_equal(read_grey(path, band=2), to_8bit(amplitude())[0][::-1])
    with pytest.raises(InputError, match="no band 3; the file has 2"):
        read_image(path, Reading(band=3))


def test_a_band_of_a_png_is_refused(tmp_path: Path):
    Image.fromarray(grey_levels()).save(tmp_path / "chip.png")
    with pytest.raises(InputError, match="band 2 of a PNG"):
        read_image(tmp_path / "chip.png", Reading(band=2))


def test_transparent_pixels_are_black(tmp_path: Path):
    opaque = np.zeros((40, 50), np.uint8)
    opaque[:, :25] = 255
    grey = grey_levels()
    Image.fromarray(np.dstack((grey, grey, grey, opaque))).save(tmp_path / "chip.png")
    np.testing.assert_array_equal(read_grey(tmp_path / "chip.png"), np.where(opaque, grey, 0))


def test_colours_of_a_png_are_kept(tmp_path: Path):
    colours = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(colours).save(tmp_path / "chip.png")
    np.testing.assert_array_equal(np.asarray(read_image(tmp_path / "chip.png")), colours)


def write_huge_png(path: Path) -> None:
    # The header alone says 30,000 pixels; real ones would take a gigabyte.
    Image.fromarray(grey_levels()).save(path)
    content = bytearray(path.read_bytes())
    content[16:24] = struct.pack(">II", 30_000, 30_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    path.write_bytes(content)


def write_huge_tiff(path: Path) -> None:
    rasterio.open(
        path, "w", driver="GTiff", width=30_000, height=30_000, count=1, dtype="uint8", sparse_ok=True
    ).close()


def write_long_strip(path: Path) -> None:
    Image.new("L", (30_000, 40)).save(path)


def write_truncated_jpeg(path: Path) -> None:
    Image.fromarray(grey_levels(300, 300)).save(path, format="JPEG")
    path.write_bytes(path.read_bytes()[:2000])


def write_truncated_png(path: Path) -> None:
    Image.fromarray(grey_levels(300, 300)).save(path)
    path.write_bytes(path.read_bytes()[:2000])


def write_truncated_tiff(path: Path) -> None:
    write_tiff(path, amplitude(300, 300))
    path.write_bytes(path.read_bytes()[:2000])


def write_damaged_png(path: Path) -> None:
    Image.fromarray(grey_levels(300, 300)).save(path)
    content = bytearray(path.read_bytes())
    content[60:100] = bytes(40)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, "no such file"),
        (Path.mkdir, "a folder"),
        (Path.touch, r"empty \(0 bytes\)"),
        (lambda path: path.write_text("not an image"), "not a PNG, JPEG or TIFF image"),
        (lambda path: Image.new("L", (1, 1)).save(path), "1 x 1 pixels; an image should have at least 28"),
        (write_long_strip, "30,000 x 40 pixels; at most 8,192 on each side. Cut out a part"),
        (write_huge_png, "more than 170 million pixels; at most 8,192 on each side. Cut out a part"),
        (write_huge_tiff, "30,000 x 30,000 pixels; at most 8,192 on each side. Cut out a part"),
        (write_truncated_jpeg, "damaged JPEG"),
        (write_truncated_png, "damaged PNG"),
        (write_damaged_png, "damaged PNG"),
        (write_truncated_tiff, "damaged TIFF"),
    ],
)
def test_a_bad_file_gives_one_line_that_names_it(
    tmp_path: Path, write: Callable[[Path], Any], message: str, recwarn: pytest.WarningsRecorder
):
    path = tmp_path / "chip.png"
    write(path)
    with pytest.raises(InputError, match=message) as caught:
        read_image(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert [warning for warning in recwarn if warning.category is Image.DecompressionBombWarning] == []
