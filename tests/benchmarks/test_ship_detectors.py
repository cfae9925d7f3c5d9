"""The detectors that the port of Los Angeles is searched with, on seas that are made here."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from benchmarks import los_angeles
from benchmarks.cfar import GUARD, REDUCTION, boxes_of, chips, f1_scores, stands_out
from benchmarks.los_angeles import curve, land, precision_where_found, row, table, touches
from benchmarks.ship_scores import found, holds, on_ship


def sea(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Amplitudes of single-look speckle around 1."""
    return np.random.default_rng(seed).rayleigh(0.8, (height, width))


def test_cfar_finds_ships_whatever_the_scale_and_the_level_of_the_sea() -> None:
    image = sea(120, 160)
    image[:, 80:] *= 5  # rough water
    for top, left, level in ((30, 40, 12.0), (70, 120, 60.0)):
        image[top : top + 3, left : left + 7] = level
    boxes = boxes_of(stands_out(image), 6.0)
    ships = [(43.5, 31.5), (123.5, 71.5)]
    assert found(boxes, ships).value == on_ship(boxes, ships).value == 1
    assert [40.0, 30.0, 47.0, 33.0] in boxes
    assert boxes_of(stands_out(1000 * image), 6.0) == boxes


def test_a_ships_own_pixels_are_not_in_its_background() -> None:
    image = np.ones((81, 81))
    image[::2] = 1.1  # so that the ring has a deviation
    half = GUARD // 2
    image[40 - half : 40 + half + 1, 40 - half : 40 + half + 1] = 9.0
    assert stands_out(image)[40, 40] > 100


def test_pixels_without_data_are_no_ships_and_no_background() -> None:
    image = sea(100, 100)
    image[:, :50] = np.nan
    above = stands_out(image)
    assert np.isnan(above[:, :50]).all() and np.isfinite(above[:, 50:]).all()
    assert not boxes_of(above, 8.0)
    assert np.isnan(stands_out(np.full((60, 60), 3.0))).all()


def test_land_is_large_and_bright_and_ships_are_not_land() -> None:
    decibels = 20 * np.log10(sea(200, 200)) - 20
    decibels[:70] += 15
    decibels[20:26, 30:36] -= 15  # a pond
    decibels[120:124, 50:80] = 20  # a long ship
    decibels[:, 190:] = np.nan
    mask = land(decibels)
    assert mask[5:65, 5:180].all() and not mask[75:].any() and not mask[:, 190:].any()
    assert touches([10, 71, 20, 80], mask) is False and touches([10, 60, 20, 80], mask) is True
    assert touches([-5, -5, 3, 3], mask) is True


def test_false_boxes_are_told_apart_by_whether_they_touch_land() -> None:
    mask = np.zeros((50, 50), bool)
    mask[:10] = True
    boxes = [[20, 20, 26, 24], [0, 0, 5, 5], [40, 40, 45, 45], [20, 8, 24, 14]]
    ships = [(22.5, 22.5), (21.0, 16.0), (48.5, 10.5)]
    one = row("made", boxes, ships, mask, [[0.5, 4, 1.0, 0.8]])
    assert (one["boxes"], one["false"], one["false_touching_land"]) == (4, 2, 1)  # the last is on a ship by the coast
    assert one["precision"]["value"] == 0.5 and one["recall"]["value"] == pytest.approx(2 / 3)
    assert one["precision"]["n"] == 4 and one["recall"]["n"] == 3
    assert "| made | 4 | 50.0 [" in table([one]) and "| 2 | 1 | 100.0 |" in table([one])


def test_a_curve_goes_by_falling_score_and_says_its_best_precision_at_much_recall() -> None:
    boxes = [[20, 20, 26, 24], [0, 0, 5, 5], [40, 40, 45, 45]]
    ships = [(22.5, 22.5), (42.0, 42.0)]
    points = curve(lambda least: boxes[: 3 - int(least)], [1.0, 2.0, 0.0, 9.0, 1.0], ships)
    assert points == [[2.0, 1, 1.0, 0.5], [1.0, 2, 0.5, 0.5], [0.0, 3, pytest.approx(2 / 3), 1.0]]
    assert precision_where_found(points) == pytest.approx(2 / 3) and precision_where_found(points[:2]) is None


def test_a_box_holds_a_ship_within_two_pixels() -> None:
    assert holds([10, 10, 20, 20], (22.0, 8.0)) and not holds([10, 10, 20, 20], (22.1, 15.0))


def test_the_ships_of_los_angeles_are_forty() -> None:
    assert len(set(los_angeles.ships())) == 40


def test_thresholds_are_scored_on_reduced_chips(tmp_path: Path) -> None:
    for name in ("images", "annotations"):
        (tmp_path / name).mkdir()
    (tmp_path / "train_full.txt").write_text("000001\n")
    grey = np.kron(sea(90, 110), np.ones((REDUCTION, REDUCTION))) * 10
    grey[120:132, 200:228] = 255
    Image.fromarray(grey.clip(0, 255).astype(np.uint8)).convert("RGB").save(
        tmp_path / "images" / "000001.jpg", quality=95
    )
    root = ElementTree.Element("annotation")
    box = ElementTree.SubElement(ElementTree.SubElement(root, "object"), "bndbox")
    for key, value in {"xmin": 199, "ymin": 119, "xmax": 228, "ymax": 132}.items():
        ElementTree.SubElement(box, key).text = str(value)
    ElementTree.ElementTree(root).write(tmp_path / "annotations" / "000001.xml")
    ((image, (ship,)),) = chips(tmp_path)
    assert image.shape == (90, 110) and 50 <= ship[0] <= 57 and 30 <= ship[1] <= 33
    scores = f1_scores(tmp_path, (2.0, 6.0))
    assert scores[6.0] == (1.0, 1.0, 1.0) and scores[2.0][0] < 0.5
