"""Version 2 of the simulator: frozen, one place at every pixel size, a radar's physics, and rows as version 1 has them.

`version2.npz` holds what three seeds gave when it was frozen, written by `np.savez_compressed(GOLDEN, **golden())`. It
changes with a new version alone.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from fusargpt.geo.embeddings import quantize
from fusargpt.geo.land_classes import WATER
from fusargpt.simulator import simulate as command
from fusargpt.simulator.records import rows
from fusargpt.simulator.rendering import render_backscatter, render_sar
from fusargpt.simulator.simulated_scene import MAX_TARGETS, simulate_scene
from fusargpt.simulator.version2.grid import Grid
from fusargpt.simulator.version2.imaging import Points, image
from fusargpt.simulator.version2.scene import PixelScene, simulate_pixels
from fusargpt.simulator.version2.view import PLACE_M, View, draw_view

GOLDEN = Path(__file__).with_name("version2.npz")
GOLDEN_SCENES = ((103, 5.0), (123, 12.0), (119, 30.0))  # a harbour, another one, an airfield
WET_SEEDS = (101, 103, 107, 116, 121, 122)


def golden() -> dict[str, np.ndarray]:
    """What is frozen, of today."""
    found: dict[str, np.ndarray] = {}
    for seed, pixel_size in GOLDEN_SCENES:
        scene = simulate_pixels(seed, (pixel_size, pixel_size))
        found[f"{seed} image"] = np.asarray(render_sar(scene))
        found[f"{seed} region"] = scene.region.astype(np.uint8)
        found[f"{seed} codes"] = quantize(scene.anchors()[0])
        found[f"{seed} boxes"] = np.array([target.box for target in scene.targets]).reshape(-1, 4)
    return found


def test_it_is_frozen() -> None:
    with np.load(GOLDEN, allow_pickle=False) as table:
        frozen = dict(table)
    found = golden()
    assert found.keys() == frozen.keys()
    for name, value in found.items():
        if name.endswith(("region", "boxes")):
            np.testing.assert_array_equal(value, frozen[name], err_msg=name)
        else:  # the last bit of a transform is the library's
            apart = np.abs(value.astype(int) - frozen[name].astype(int))
            assert apart.max() <= 1 and (apart > 0).mean() < 1e-3, name


@pytest.mark.parametrize("seed", WET_SEEDS[:3])
def test_a_place_is_the_same_at_every_pixel_size(seed: int) -> None:
    scenes = [simulate_pixels(seed, (size, size)) for size in (2.5, 7.0, 30.0)]
    fine = scenes[0]
    for scene in scenes:
        side = scene.region.shape[0]
        assert scene.resolution_m == PLACE_M / side and scene.name.endswith(f"v2-{seed:08d}-{side}px")
        np.testing.assert_array_equal(scene.anchors()[0], fine.anchors()[0])
        assert [target.label for target in scene.targets] == [target.label for target in fine.targets]
        for target, same in zip(scene.targets, fine.targets, strict=True):
            assert target.mask.shape == (target.box[3] - target.box[1], target.box[2] - target.box[0])
            assert target.mask.any(0).all() and target.mask.any(1).all()
            edges = np.array(target.box) * scene.resolution_m - np.array(same.box) * fine.resolution_m
            # A coarse box is the fine one and at most a pixel more on each side.
            assert (edges[:2] <= 0.1).all() and (edges[2:] >= -0.1).all() and np.abs(edges).max() < scene.resolution_m


def test_pixel_sizes_are_drawn_between_the_limits() -> None:
    found = [simulate_pixels(seed).resolution_m for seed in range(20)]
    assert min(found) >= 4.9 and max(found) <= 30 and max(found) > 1.5 * min(found)
    for limits in ((2.0, 10.0), (10.0, 5.0), (10.0, 31.0)):
        with pytest.raises(ValueError, match=r"expected 2\.5 to 30 m"):
            simulate_pixels(0, limits)


def test_what_stands_in_water_is_apart_from_ships_and_ships_are_on_water() -> None:
    kinds: set[str] = set()
    moored = 0
    for seed in range(100, 160):
        place = simulate_pixels(seed).place
        water = place.scene.landcover[place.scene.region] == WATER
        assert len(place.scene.targets) == len(place.moored) <= MAX_TARGETS
        taken = np.zeros(water.shape, bool)
        for fixture in place.fixtures:
            kinds.add(fixture.kind)
            taken |= fixture.mask
        shore = ndimage.binary_dilation(~water, iterations=4)
        for target, at_quay in zip(place.scene.targets, place.moored, strict=True):
            x1, y1, x2, y2 = target.box
            assert not (taken[y1:y2, x1:x2] & target.mask).any()
            if target.label == "ship":
                assert water[y1:y2, x1:x2][target.mask].all()
            if at_quay:
                moored += 1
                assert shore[y1:y2, x1:x2][target.mask].mean() > 0.3
    assert kinds == {"platform", "rock", "jetty", "building"} and moored > 5


def test_the_prior_knows_what_stands_there_and_no_ship() -> None:
    known, unknown = [], []
    for seed in WET_SEEDS:
        scene = simulate_pixels(seed)
        place = scene.place
        vectors = scene.anchors(12)[0]
        without = replace(scene, place=replace(place, scene=replace(place.scene, targets=())))
        np.testing.assert_array_equal(vectors, without.anchors(12)[0])
        cells = place.scene.region.reshape(12, 14, 12, 14)
        for fixture in place.fixtures:
            share = fixture.mask.reshape(12, 14, 12, 14).mean((1, 3)).ravel()
            open_water = (cells == 0).all((1, 3)).ravel()
            water = place.scene.embedding[0]
            if share.max() > 0.3 and open_water.any():
                known.append(float(vectors[share.argmax()] @ water))
                unknown.append(float((vectors[open_water] @ water).mean()))
    assert len(known) > 3 and max(known) < min(unknown)


def flat_view() -> View:
    """Of 10 m, four looks, no noise; columns are range."""
    view = draw_view(np.random.default_rng(0), 84, "VV")
    plain = replace(view, looks=4, resolution_m=(15.0, 15.0), noise_db=-60.0, weight=0.7, incidence=45.0)
    return replace(plain, range_direction=(0.0, 1.0), azimuth_direction=(1.0, 0.0))


def test_ground_has_its_level_and_speckle_of_as_many_looks() -> None:
    view = flat_view()
    grid = Grid.of(view)
    seen = image(grid, view, np.full((grid.size, grid.size), 0.1), Points.together([]), np.random.default_rng(1))
    assert seen.shape == (84, 84)
    assert 10 * np.log10(seen.mean()) == pytest.approx(-10, abs=0.2)
    assert seen.mean() ** 2 / seen.var() == pytest.approx(4, rel=0.15)


def test_a_point_has_its_cross_section_and_side_lobes_along_both_axes() -> None:
    view = flat_view()
    grid = Grid.of(view)
    point = Points(np.array([[425.0, 425.0]]), np.array([1e5]))
    seen = image(grid, view, np.full((grid.size, grid.size), 1e-9), point, np.random.default_rng(1))
    row, column = np.unravel_index(seen.argmax(), seen.shape)
    assert (row, column) == (42, 42)
    assert seen.sum() * view.pixel_m**2 == pytest.approx(1e5, rel=0.05)
    # Beyond the main lobe: on the axes, not between them.
    across, down = seen[row, column + 4 :].max(), seen[row + 4 :, column].max()
    between = seen[row + 4 :, column + 4 :].max()
    assert min(across, down) > 30 * between
    assert -35 < 10 * np.log10(across / seen.max()) < -13


def test_geometry_of_what_is_high() -> None:
    view = flat_view()
    assert view.layover_m(20) == pytest.approx(20) and view.shadow_m(20) == pytest.approx(20)
    assert 3e-5 < view.incidence_per_metre < 8e-5


@pytest.mark.slow
def test_ships_and_what_stands_there_are_as_bright() -> None:
    """At 20 m a pixel the brightest pixel of either tells little: what is a ship is for shape and place to say."""
    ships, others = [], []
    for seed in range(100, 150):
        scene = simulate_pixels(seed, (20.0, 20.0))
        if scene.kind not in ("sea", "harbour"):
            continue
        decibels = render_backscatter(scene)
        for target in scene.targets:
            x1, y1, x2, y2 = target.box
            ships.append(decibels[y1:y2, x1:x2].max())
        for fixture in scene.place.fixtures:
            rows_, columns = (np.unique((cells * 5 // 20).clip(0, 41)) for cells in np.nonzero(fixture.mask))
            others.append(decibels[rows_.min() : rows_.max() + 1, columns.min() : columns.max() + 1].max())
    brighter = np.mean(np.array(ships)[:, None] > np.array(others))
    assert len(ships) > 40 and len(others) > 30 and 0.3 < brighter < 0.75


def test_rows_are_as_those_of_version_1() -> None:
    def of_ten(seed: int) -> PixelScene:
        return simulate_pixels(seed, (10.0, 10.0))

    for layout in ("captions", "instructions"):
        first = rows(103, layout, "sar")
        second = rows(103, layout, "sar", simulate=of_ten)
        assert [row["task"] for row in first] == [row["task"] for row in second]
        assert [row.keys() for row in first] == [row.keys() for row in second]
        assert second[0]["image"].size == (84, 84) and second[0]["resolution_m"] == 10.0
        assert first[0]["bounds"] == pytest.approx(second[0]["bounds"])
    assert rows(103, "captions", "optical", simulate=of_ten)[0]["image"].size == (84, 84)
    assert simulate_scene(103).name != of_ten(103).name


def test_the_command_refuses_what_it_cannot_make(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, message in (
        (["--pixel-size", "5", "30"], "version 1 has 5 m"),
        (["--simulator", "2", "--pixel-size", "30", "5"], "expected two in 2.5 to 30, ascending"),
        (["--simulator", "3"], "invalid choice: 3"),
    ):
        basics = ["simulate", "--layout", "captions", "--scenes", "1", "--out", str(tmp_path)]
        monkeypatch.setattr(sys, "argv", [*basics, *arguments])
        with pytest.raises(SystemExit):
            command.main()
        assert message in capsys.readouterr().err
