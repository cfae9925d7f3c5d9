"""Spatiotemporal anchors: where they lie on an image, and that each has the vector of the ground beneath it."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.windows import Window

from fusargpt.alphaearth.anchors import spatiotemporal_anchors
from fusargpt.alphaearth.field import AlphaEarth
from fusargpt.alphaearth.layout import write_index, write_tile
from fusargpt.errors import InputError, NoPriorError
from fusargpt.geo.embeddings import dequantize
from fusargpt.geo.geometry import Geometry
from fusargpt.geo.prior import Prior
from tests.fusargpt.alphaearth.fields import (
    SOUTH_UP,
    UTM_13N,
    metres_of,
    north_up,
    random_codes,
    write_field,
    write_plain_tile,
)
from tests.real_data import REAL_DATA, needs_real_data

# 5 m pixels from 200 m inside the field of 100 x 100 pixels; the lower right corner is the field's.
SCENE = Geometry.from_affine(Affine(5, 0, 418280, 0, -5, 4424480), UTM_13N, 160, 160)


@pytest.fixture(scope="module")
def codes() -> np.ndarray:
    return random_codes(100, 100)


@pytest.fixture(scope="module")
def field(codes: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> AlphaEarth:
    root = tmp_path_factory.mktemp("field")
    write_tile(root / "2024" / "13N" / "tile.tiff", codes, crs=UTM_13N, transform=SOUTH_UP, block_size=32)
    write_index(root)
    return AlphaEarth(root)


def window(column: float, row: float, width: float, height: float) -> Window:
    return Window(column, row, width, height)  # pyright: ignore[reportCallIssue]  # attrs without annotations


def beneath(tile: Path, lonlat: np.ndarray) -> np.ndarray:
    """Vectors of the pixels at degrees [N, 2], as rasterio finds them."""
    with rasterio.open(tile) as dataset:
        return dequantize(np.stack(list(dataset.sample(metres_of(lonlat, dataset.crs)))))


def places(prior: Prior) -> np.ndarray:
    assert prior.lonlat is not None
    return prior.lonlat


def assert_beneath(prior: Prior, tile: Path, geometry: Geometry, part: Window | None = None) -> None:
    """That each anchor has the vector of the pixel beneath it, and lies where its position says."""
    np.testing.assert_allclose(prior.embeddings, beneath(tile, places(prior)), atol=1e-6)
    left, top, width, height = (
        (0, 0, geometry.width, geometry.height)
        if part is None
        else (part.col_off, part.row_off, part.width, part.height)
    )
    y, x = prior.positions.T.astype(np.float64) * np.array([[height - 1], [width - 1]])
    pixels = np.stack([left + x + 0.5, top + y + 0.5], axis=1)
    np.testing.assert_allclose(geometry.to_pixel(places(prior)), pixels, atol=1e-3)


@settings(max_examples=15, deadline=None)
@given(
    west=st.integers(250_000, 750_000),
    south=st.integers(100_000, 8_000_000),
    flipped=st.booleans(),
    rotation=st.floats(0, 360),
    size=st.tuples(st.integers(40, 70), st.integers(40, 70)),
    grid=st.tuples(st.integers(1, 6), st.integers(1, 6)),
)
def test_an_anchor_has_the_vector_of_the_pixel_beneath_it(
    tmp_path_factory: pytest.TempPathFactory,
    west: int,
    south: int,
    flipped: bool,
    rotation: float,
    size: tuple[int, int],
    grid: tuple[int, int],
):
    """Tiles at random places, both orientations, images turned by any angle."""
    transform = Affine(10, 0, west, 0, 10, south)
    tile_codes = random_codes(40, 40, seed=1)
    root = tmp_path_factory.mktemp("field")
    if flipped:
        write_field(root, tile_codes[::-1], transform=north_up(transform, 40))
    else:
        write_field(root, tile_codes, transform=transform)
    angle, (width, height) = np.radians(rotation), size
    a, d = 4 * np.cos(angle), 4 * np.sin(angle)
    b, e = d, -a
    # About the middle of the tile.
    corner = west + 200 - (a * width + b * height) / 2, south + 200 - (d * width + e * height) / 2
    geometry = Geometry.from_affine(Affine(a, b, corner[0], d, e, corner[1]), UTM_13N, width, height)
    try:
        prior = spatiotemporal_anchors(geometry, 2024, source=AlphaEarth(root), grid=grid)
    except NoPriorError as error:
        # Four nodes may all lie in the corners that a turned image leaves free; of an odd number one is its middle.
        assert "of the 4 anchors of the grid lies in the image" in str(error) and grid == (2, 2)
        return
    assert 1 <= len(prior.embeddings) <= grid[0] * grid[1]
    assert_beneath(prior, root / "2024" / "13N" / "tile.tiff", geometry)


def test_nodes_are_the_centres_of_equal_cells(field: AlphaEarth):
    """On an image whose rows and columns run along degrees the positions are those of simulated scenes."""
    geometry = Geometry.from_affine(Affine(4e-5, 0, -105.957, 0, -3e-5, 39.967), "EPSG:4326", 168, 96)
    prior = spatiotemporal_anchors(geometry, 2024, source=field, grid=(4, 7))
    y = ((np.arange(4) + 0.5) / 4 * 96 - 0.5) / 95
    x = ((np.arange(7) + 0.5) / 7 * 168 - 0.5) / 167
    expected = np.stack(np.meshgrid(y, x, indexing="ij"), axis=-1).reshape(-1, 2)
    np.testing.assert_allclose(prior.positions, expected, atol=1e-6)
    north_west, south_east = places(prior)[[0, -1]]
    assert north_west[0] < south_east[0] and north_west[1] > south_east[1]


@pytest.mark.parametrize("spacing, expected", [(100, 8), (200, 4), (90, 9), (5000, 1)])
def test_spacing_in_metres(field: AlphaEarth, spacing: int, expected: int):
    prior = spatiotemporal_anchors(SCENE, 2024, source=field, spacing_m=spacing)
    # The bounds are a little larger than the scene, which is not quite parallel to the meridians.
    assert len(prior.positions) in (expected**2, expected * (expected + 1), (expected + 1) ** 2)
    if expected > 1:
        steps = np.diff(np.unique(prior.positions[:, 0].round(2))) * 159 * 5
        assert abs(np.median(steps[steps > spacing / 2]) - spacing) < 0.1 * spacing


def test_windows(field: AlphaEarth):
    tile = Path(field.root) / "2024" / "13N" / "tile.tiff"
    part = window(40, 80, 100, 60)
    prior = spatiotemporal_anchors(SCENE, 2024, source=field, grid=(5, 5), window=part)
    assert len(prior.positions) == 25
    assert_beneath(prior, tile, SCENE, part)
    pixels = SCENE.to_pixel(places(prior))
    assert (pixels > [40, 80]).all() and (pixels < [140, 140]).all()


def test_a_window_over_the_edge_has_anchors_on_the_image_only(field: AlphaEarth):
    tile = Path(field.root) / "2024" / "13N" / "tile.tiff"
    part = window(120, -30, 80, 70)
    prior = spatiotemporal_anchors(SCENE, 2024, source=field, grid=(5, 5), window=part)
    assert len(prior.positions) == 25
    assert_beneath(prior, tile, SCENE, part)
    y, x = prior.positions.T
    assert x.max() < 0.51 and y.min() > 0.42


def test_ground_without_data_has_no_anchors(tmp_path: Path):
    codes = random_codes(100, 100)
    codes[:, :60] = -128  # the western 320 m of the scene
    field = AlphaEarth(write_field(tmp_path, codes))
    prior = spatiotemporal_anchors(SCENE, 2024, source=field, grid=(8, 8))
    assert 24 <= len(prior.embeddings) <= 40
    assert (prior.positions[:, 1] > (418_680 - 418_280) / 5 / 159 - 0.01).all()
    assert_beneath(prior, tmp_path / "2024" / "13N" / "tile.tiff", SCENE)


def test_ground_outside_the_field_has_no_anchors(field: AlphaEarth):
    beyond = Geometry.from_affine(Affine(5, 0, 418880, 0, -5, 4424480), UTM_13N, 160, 160)
    prior = spatiotemporal_anchors(beyond, 2024, source=field, grid=(8, 8))
    assert 0 < len(prior.embeddings) < 64
    assert (prior.positions[:, 1] < 200 / 800 + 0.01).all()


def test_matching_resolution_reads_means(field: AlphaEarth, codes: np.ndarray):
    native = spatiotemporal_anchors(SCENE, 2024, source=field, grid=(5, 5))
    matched = spatiotemporal_anchors(SCENE, 2024, source=field, grid=(5, 5), resolution="match")
    np.testing.assert_array_equal(native.positions, matched.positions)
    # Nodes are 161 m apart: of 10, 20, 40, 80, 160, 320 m the overview of 160 m answers.
    for vector, (x, y) in zip(matched.embeddings, metres_of(places(matched)), strict=True):
        row, column = 16 * int((y - 4423680) // 160), 16 * int((x - 418080) // 160)
        mean = dequantize(codes[row : row + 16, column : column + 16].reshape(-1, 64)).sum(0)
        assert vector @ mean / np.linalg.norm(mean) > 0.999


class TestMissing:
    def test_no_georeference(self, field: AlphaEarth):
        self.check(None, 2024, field, "the image has no georeference")

    def test_no_such_year(self, field: AlphaEarth):
        self.check(SCENE, 2015, field, r"year 2015: not in the AlphaEarth field at .*; found 2024")

    def test_no_data_at_this_place(self, field: AlphaEarth):
        elsewhere = Geometry.from_affine(Affine(5, 0, 600_000, 0, -5, 4424480), UTM_13N, 160, 160)
        self.check(elsewhere, 2024, field, r"longitude -103.8\d+ to -103.8\d+, latitude .*: no data of 2024")

    def check(self, geometry: Any, year: int, field: AlphaEarth, reason: str):
        with pytest.raises(InputError, match=reason):
            spatiotemporal_anchors(geometry, year, source=field, grid=(4, 4))
        prior = spatiotemporal_anchors(geometry, year, source=field, grid=(4, 4), missing="empty")
        assert prior.embeddings.shape == (0, 64) and prior.positions.shape == places(prior).shape == (0, 2)

    def test_a_missing_file_is_an_error_in_any_case(self, tmp_path: Path):
        root = write_field(tmp_path, random_codes(100, 100))
        (root / "2024" / "13N" / "tile.tiff").unlink()
        with pytest.raises(InputError, match=r"tile.tiff: no such file"):
            spatiotemporal_anchors(SCENE, 2024, source=AlphaEarth(root), grid=(4, 4), missing="empty")


@pytest.mark.parametrize(
    "arguments, reason",
    [
        ({}, "grid and spacing_m: expected exactly one"),
        ({"grid": (2, 2), "spacing_m": 100.0}, "grid and spacing_m: expected exactly one"),
        ({"grid": (0, 3)}, "grid: found 0 x 3"),
        ({"grid": (1000, 1000)}, "1000 x 1000 nodes; expected at most 100,000"),
        ({"spacing_m": -1.0}, "spacing_m: found -1.0"),
        ({"spacing_m": float("nan")}, "spacing_m: found nan"),
        ({"grid": (2, 2), "window": window(160, 0, 10, 10)}, "window: columns 160 to 170, .* outside the image"),
        ({"grid": (2, 2), "window": window(0, 0, 1, 10)}, "window: found 1 x 10 pixels"),
        ({"grid": (2, 2), "resolution": "coarse"}, "resolution: found 'coarse'; expected 'native' or 'match'"),
        ({"grid": (2, 2), "missing": "ignore"}, "missing: found 'ignore'; expected 'raise' or 'empty'"),
    ],
)
def test_arguments_out_of_range(field: AlphaEarth, arguments: dict[str, Any], reason: str):
    with pytest.raises(InputError, match=reason):
        spatiotemporal_anchors(SCENE, 2024, source=field, **arguments)


@needs_real_data
def test_a_published_window_gives_the_same_anchors_north_up(tmp_path: Path):
    published = REAL_DATA / "aef" / "aef_2024_13N_xjejfvrbm1fbu1ecw_window10x10.tif"
    with rasterio.open(published) as tile:
        codes, transform = np.moveaxis(tile.read(), 0, 2), tile.transform
    south_up, flipped = tmp_path / "south_up", tmp_path / "north_up"
    (south_up / "2024" / "13N").mkdir(parents=True)
    shutil.copy(published, south_up / "2024" / "13N" / "tile.tiff")
    write_plain_tile(flipped / "2024" / "13N" / "tile.tiff", codes[::-1], transform=north_up(transform, 10))
    scene = Geometry.from_affine(Affine(2, 0.3, 418082, 0.3, -2, 4423770), UTM_13N, 40, 40)
    priors = []
    for root in (south_up, flipped):
        write_index(root)
        priors.append(spatiotemporal_anchors(scene, 2024, source=AlphaEarth(root), grid=(6, 6)))
        assert_beneath(priors[-1], root / "2024" / "13N" / "tile.tiff", scene)
    assert len(priors[0].embeddings) > 20
    np.testing.assert_array_equal(priors[0].embeddings, priors[1].embeddings)
    np.testing.assert_array_equal(priors[0].positions, priors[1].positions)
    np.testing.assert_allclose(np.linalg.norm(priors[0].embeddings, axis=1), 1, atol=1e-6)
