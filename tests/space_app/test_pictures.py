"""The map, the prior's colours and the stage: what a visitor sees before an answer."""

import base64
import io
import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from affine import Affine
from PIL import Image

from fusargpt.geo.geometry import Geometry
from fusargpt.geo.prior import Prior
from fusargpt.geo.prior_colours import false_colours, mark_anchors, over_image
from fusargpt.inference.predict import FusarGpt
from space_app.demo import Demo
from space_app.fields import EXAMPLES
from space_app.place_map import place_map
from space_app.scenes import read_scene
from space_app.stage import stage


def place(longitude: float, latitude: float) -> Geometry:
    return Geometry.from_affine(Affine(1e-4, 0, longitude, 0, -1e-4, latitude), "EPSG:4326", 100, 100)


def drawing(text: str) -> ElementTree.Element:
    (svg,) = re.findall(r"<svg .*</svg>", text)
    return ElementTree.fromstring(svg)


def test_the_map_shows_what_is_around_a_place():
    text = place_map(place(8.05, 53.57), 2024, simulated=True)
    names = {element.text for element in drawing(text).iter("text")}
    assert "Amsterdam" in names and "Tokyo" not in names
    assert "53.5650° N, 8.0550° E" in text and "2024" in text and "simulated" in text
    assert re.search(r"\d+ km [a-z-]+ of ", text)
    assert "https://www.openstreetmap.org/#map=13/53.56500/8.05500" in text


def test_the_map_needs_nobody_else():
    assert re.findall(r'(?:src|href)="(?!https://www\.openstreetmap\.org/#)', place_map(place(8, 53), None)) == []


@pytest.mark.parametrize(("longitude", "latitude"), [(179.995, -17), (-179.999, 65), (0, 89.9), (0, -85), (-140, 0)])
def test_any_place_on_earth_has_a_map(longitude: float, latitude: float):
    svg = drawing(place_map(place(longitude, latitude), None))
    numbers = [float(number) for path in svg.iter("path") for number in re.findall(r"-?\d+\.\d", path.get("d", ""))]
    assert np.isfinite(numbers).all()


def test_both_sides_of_the_antimeridian_show_fiji():
    for longitude in (179.9, -179.9):
        land = max(
            (path.get("d", "") for path in drawing(place_map(place(longitude, -17), None)).iter("path")), key=len
        )
        assert land.count("M") >= 2


def test_without_a_place_the_map_says_what_to_do():
    assert "type its bounds below" in place_map(None, None)


def prior_of(positions: list[tuple[float, float]], vectors: list[int]) -> Prior:
    embeddings = np.eye(64, dtype=np.float32)[np.array(vectors, int)]
    return Prior(embeddings, np.array(positions, np.float32).reshape(-1, 2))


def test_like_embeddings_have_like_colours_and_others_do_not():
    colours = false_colours(prior_of([(0, 0)] * 6, [0, 1, 2, 0, 1, 2]).embeddings)
    np.testing.assert_array_equal(colours[:3], colours[3:])
    assert len(np.unique(colours, axis=0)) == 3
    assert len(np.unique(false_colours(prior_of([(0, 0)] * 2, [5, 5]).embeddings), axis=0)) == 1


def test_each_anchor_colours_its_surroundings_and_what_has_none_stays_grey():
    grey = Image.new("RGB", (128, 128), (90, 90, 90))
    steps = [0.05, 0.15, 0.25]
    prior = prior_of([(y, x) for y in steps for x in steps], [0] * 4 + [1] * 5)
    painted = over_image(grey, prior)
    assert painted.getpixel((int(0.05 * 128), int(0.05 * 128))) != painted.getpixel((int(0.25 * 128), int(0.25 * 128)))
    assert painted.getpixel((120, 120)) == (90, 90, 90)
    assert over_image(grey, prior_of([], [])).tobytes() == grey.tobytes()


def test_anchors_are_marked_where_they_lie():
    black = Image.new("RGB", (400, 200))
    marked = np.asarray(mark_anchors(black, prior_of([(0.5, 0.25)], [0])))
    rows, columns = np.nonzero(marked.min(-1) == 255)
    assert (round(rows.mean()), round(columns.mean())) == (100, 100)


def test_the_stage_shows_the_image_and_uncovers_the_prior(demo: Demo, predictor: FusarGpt, image: str, prior: str):
    scene = read_scene(predictor, image)
    text = stage(scene, demo.prior(prior))
    shown = [Image.open(io.BytesIO(base64.b64decode(data))) for data in re.findall(r"base64,([^\"]+)", text)]
    assert [picture.size for picture in shown] == [(640, 640)] * 2
    assert shown[0].mode == "L" and shown[1].mode == "RGB"
    assert 'type="range"' in text and "64 anchors" in text and "2024-06-15" in text
    assert 'type="range"' not in stage(scene, None)


def test_an_image_that_is_shrunk_says_so_and_names_the_verbs(predictor: FusarGpt):
    scene = read_scene(predictor, str(EXAMPLES / "harbour.png"))
    assert "small targets are lost" not in stage(scene, None)
    scene = replace(scene, picture=scene.picture.resize((1000, 700)))
    assert re.search(
        "small targets are lost.*Whole scene.*<code>fusargpt detect</code> and <code>count", stage(scene, None)
    )
