"""Bands that are not one image of backscatter: colours, phases, angles."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from fusargpt.errors import InputError
from fusargpt.geo.image import read_image, read_image_as
from fusargpt.geo.reading import Reading
from fusargpt.geo.sar_scene import SarScene

RNG = np.random.default_rng(14)
COLOURS = RNG.integers(0, 256, (3, 40, 50)).astype(np.uint8)
LUMA = np.rint(0.299 * COLOURS[0] + 0.587 * COLOURS[1] + 0.114 * COLOURS[2]).astype(np.uint8)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "scene.tif"


def write(path: Path, values: np.ndarray, names: tuple[str, ...] = (), **options: Any) -> Path:
    count, height, width = values.shape
    shape: dict[str, Any] = {"count": count, "height": height, "width": width}
    with rasterio.open(path, "w", driver="GTiff", dtype=values.dtype, **shape, **options) as file:
        file.write(values)
        for band, name in enumerate(names, 1):
            file.set_band_description(band, name)
    return path


def grey(path: Path, reading: Reading | None = None) -> np.ndarray:
    return np.asarray(read_image(path, reading))[..., 0]


@pytest.mark.parametrize("extra", [{}, {"interleave": "pixel"}])
def test_colours_are_seen_by_their_luma_and_the_line_says_so(path: Path, extra: dict[str, Any]) -> None:
    write(path, COLOURS, photometric="rgb", **extra)
    image, read_as = read_image_as(path)
    assert np.array_equal(np.asarray(image)[..., 0], LUMA)
    assert str(read_as).startswith("band 1 read as grey (the luma of red, green and blue)")


def test_transparent_colours_are_black(path: Path) -> None:
    alpha = np.full((1, 40, 50), 255, np.uint8)
    alpha[:, :, 25:] = 0
    write(path, np.concatenate([COLOURS, alpha]), photometric="rgb", alpha="yes")
    assert np.array_equal(grey(path), np.where(alpha[0] > 0, LUMA, 0))


def test_a_colour_that_is_chosen_is_read_alone(path: Path) -> None:
    write(path, COLOURS, photometric="rgb")
    assert np.array_equal(grey(path, Reading(band=1)), COLOURS[0])
    assert np.array_equal(grey(path, Reading(band=3)), COLOURS[2])


def test_bands_with_names_of_their_own_are_no_colours(path: Path) -> None:
    """GDAL marks any three bands of 8 bit as red, green and blue."""
    write(path, COLOURS, ("VV", "VH", "VV/VH"))
    assert np.array_equal(grey(path), COLOURS[0])


def test_what_cannot_be_colours_is_refused_by_name(path: Path) -> None:
    write(path, COLOURS, photometric="rgb")
    with pytest.raises(InputError, match=r"scene\.tif: stored: found 'power' for colours .* with band \(--band\)"):
        read_image(path, Reading(stored="power"))
    write(path, COLOURS.astype(np.uint16) * 200, photometric="rgb")
    with pytest.raises(InputError, match=r"scene\.tif: colours \(red, green, blue\) of uint16; say which .*--band"):
        read_image(path)


DECIBELS = RNG.normal(-12, 3, (2, 64, 64)).astype(np.float32)
ANGLES = RNG.uniform(30, 45, (1, 64, 64)).astype(np.float32)


@pytest.mark.parametrize(
    "name",
    [
        "phase",
        "Phase_VV",
        "local incidence angle",
        "theta",
        "ellipsoid incidence",
        "localIncidenceAngle",
        "incidenceAngleFromEllipsoid",
        "LIA",
        "inc_angle",
    ],
)
def test_angles_are_passed_over_and_refused_where_they_are_chosen(path: Path, name: str) -> None:
    write(path, np.concatenate([ANGLES, DECIBELS]), (name, "VV", "VH"))
    with SarScene.open(path) as scene:
        assert (scene.band, scene.polarization) == (2, "VV")
        assert scene.band_of("VV") == 2
    with SarScene.open(path, Reading(polarization="VV")) as scene:
        assert scene.band == 2
    with pytest.raises(InputError, match=rf"scene\.tif: band 1 is '{name}', an angle and no backscatter; choose"):
        SarScene.open(path, Reading(band=1))


def test_a_file_of_angles_alone_is_refused(path: Path) -> None:
    write(path, ANGLES, ("theta",))
    with pytest.raises(InputError, match=r"band 1 is 'theta', an angle and no backscatter; expected a band of back"):
        read_image(path)


@pytest.mark.parametrize("names", [("In-phase", "Quadrature"), ("in phase", "quad")])
def test_the_part_in_phase_is_no_angle(path: Path, names: tuple[str, str]) -> None:
    parts = RNG.normal(0, 300, (2, 64, 64)).astype(np.int16)
    write(path, parts, names)
    with SarScene.open(path) as scene:
        assert np.allclose(np.abs(scene.read()[0]), np.hypot(*parts.astype(np.float64)), rtol=1e-5)
