"""Whole scenes on the page: the same places as the command finds, areas, limits, and what is not asked again."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fusargpt.alphaearth.field import AlphaEarth
from fusargpt.errors import InputError
from fusargpt.geo.image import read_image
from fusargpt.geo.sar_scene import SarScene
from fusargpt.inference.counts import CountDistribution
from fusargpt.scenes import detect
from space_app.areas import read_area
from space_app.scenes import UploadedScene, typed_geometry
from space_app.whole_scene import AskedScene, SceneQuestion, WholeScene
from space_app.wording import note_of_scene, places_table
from tests.fusargpt.scenes.scenes import SHIPS, BrightBoxes, write_field, write_scene


def uploaded(path: Path) -> UploadedScene:
    picture = read_image(path)
    with SarScene.open(path) as scene:
        geometry = scene.geometry
    return UploadedScene(path.name, picture, picture, ("VV",), "", None, geometry, True, "")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scene(tmp_path_factory.mktemp("scene") / "harbour.tif")


def ask(
    scene: UploadedScene,
    model: BrightBoxes,
    page: WholeScene | None = None,
    field: tuple[str, AlphaEarth] | None = None,
    seconds: float = 60,
    **options: Any,
) -> AskedScene:
    """The last state of a scene; `options` are of the question."""
    page = page or WholeScene(model, threading.Lock())
    chosen: dict[str, Any] = {"task": "detect", "target": "ship", **options}
    *_, last = page.ask("key", scene, SceneQuestion(**chosen), field, seconds)
    return last


def test_the_page_finds_what_the_command_finds(path: Path):
    asked = ask(uploaded(path), BrightBoxes())
    command = detect(path, predictor=BrightBoxes(), no_prior=True, no_skip=True)
    assert (asked.side, asked.tiles, asked.answered, asked.state) == (96, 9, 9, "whole")
    assert list(asked.places) == command.places and len(asked.places) == len(SHIPS)
    assert asked.summary == "5 ships" and len(asked.in_pixels("tiny")["annotations"]) == 5
    # Pixels of 10 m are enlarged twice for a model that knows none of more than 5.
    enlarged = ask(uploaded(path), BrightBoxes(5))
    command = detect(path, predictor=BrightBoxes(5), no_prior=True, no_skip=True)
    assert enlarged.side == command.provenance["tile"] == 48 and enlarged.tiles == 36 > asked.tiles
    assert list(enlarged.places) == command.places and len(command.places) == len(SHIPS)
    collection = asked.feature_collection("tiny")
    assert collection is not None and collection["features"][0]["properties"]["scene"] == "harbour.tif"


def test_an_image_that_is_smaller_than_a_tile_is_seen_whole_and_large(tmp_path: Path):
    chip = write_scene(tmp_path / "chip.tif", ships=((20, 20, 32, 26),), side=60)
    asked = ask(uploaded(chip), BrightBoxes())
    assert (asked.side, asked.tiles, asked.summary) == (60, 1, "1 ship")


def test_an_area_is_asked_alone(path: Path):
    scene, model = uploaded(path), BrightBoxes()
    asked = ask(scene, model, area="0, 0, 60, 60")
    # The tile that begins at 52 meets the area, too; the ship whose centre it has lies outside.
    assert len(model.asked) == asked.tiles == 4
    assert [tuple(map(round, place.box)) for place in asked.places] == [SHIPS[0]]
    assert scene.geometry is not None
    corners = scene.geometry.to_lonlat(np.array([[5.0, 55.0], [55.0, 5.0]]))
    degrees = "{:.6f}, {:.6f}, {:.6f}, {:.6f} degrees".format(*corners.ravel())
    assert read_area(degrees, scene) == pytest.approx((5, 5, 55, 55), abs=1)
    # A tile that meets the area is counted whole: a part of the second ship lies in it.
    assert ask(scene, BrightBoxes(), task="count", area=degrees).summary == "2 ships"


def test_tiles_have_the_anchors_of_their_own_places(path: Path, tmp_path: Path):
    model = BrightBoxes()
    asked = ask(uploaded(path), model, year=2023, field=("here", AlphaEarth(str(write_field(tmp_path)))))
    assert all(prior is not None and len(prior.embeddings) for _, _, prior in model.asked)
    assert asked.in_pixels("tiny")["info"]["prior"] == "AlphaEarth 2023, here"


def test_a_scene_that_ran_out_of_time_goes_on(path: Path):
    scene, model = uploaded(path), BrightBoxes()
    page = WholeScene(model, threading.Lock())
    part = ask(scene, model, page=page, seconds=0)
    assert (part.state, part.answered) == ("out of time", 8)
    assert ask(scene, model, page=page).state == "whole" and len(model.asked) == 9
    drawn = np.asarray(ask(scene, model, page=page).draw())
    assert len(model.asked) == 9, "nothing is asked twice"
    assert (drawn == (255, 140, 60)).all(-1).any()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"area": "1, 2, 3"}, "Area: found '1, 2, 3'; expected left, top"),
        ({"area": "60, 0, 20, 9"}, "Area: found 60, 0, 20, 9; .* each first below its second"),
        ({"area": "300, 0, 400, 9"}, "holds nothing of the image of 200 x 200 pixels"),
        ({"area": "1, 2, 3, 4 degrees"}, "nowhere near the image"),
        ({"tile": 20}, "Tile: found 20 pixels; expected 28"),
        ({"task": "free"}, "Task: found 'free'"),
    ],
)
def test_what_cannot_be_asked_is_one_line(path: Path, options: dict[str, Any], said: str):
    with pytest.raises(InputError, match=said):
        ask(uploaded(path), BrightBoxes(), **options)


def test_too_many_tiles_are_told_with_the_side_that_fits():
    picture = Image.new("RGB", (2000, 2000))
    scene = UploadedScene("a.tif", picture, picture, ("",), "", None, None, False, "")
    with pytest.raises(InputError, match=r"484 tiles; this page asks 256. Choose an area, or tiles of 125 pixels"):
        ask(scene, BrightBoxes(), task="count", tile=92)
    without = UploadedScene("a.tif", picture, picture, ("",), "", None, None, False, "")
    with pytest.raises(InputError, match="no place is known of this image"):
        read_area("8, 53, 9, 54 degrees", without)
    placed = UploadedScene(
        "a.tif", picture, picture, ("",), "", None, typed_geometry("8,53,9,54", 2000, 2000), True, ""
    )
    assert read_area("8.25 53.5 8.5 54°", placed) == pytest.approx((500, 0, 1000, 1000), abs=0.01)


def test_a_least_score_asks_nothing_again_and_leaves_boxes_out(path: Path):
    scene, model = uploaded(path), BrightBoxes()
    model.sure = 0.4, CountDistribution(((1, 1.0),))
    page = WholeScene(model, threading.Lock())
    whole, some = (ask(scene, model, page, least=least) for least in (0.4, 0.41))
    assert len(model.asked) == whole.tiles and len(whole.places) == len(SHIPS) and not some.places
    assert {place.properties["score"] for place in whole.places} == {0.4}
    assert whole.in_pixels("tiny")["info"]["confidences"] == "calibrated"
    assert "Scores and confidences: calibrated." in note_of_scene(whole) and "ship, 0.40" in places_table(whole)
    with pytest.raises(InputError, match="Least score: found 2; expected 0 to 1"):
        ask(scene, model, page, least=2)


def test_an_image_without_boxes_is_no_model_without_scores(path: Path):
    model = BrightBoxes()
    model.sure = 0.4, CountDistribution(((1, 1.0),))
    # The tile in the corner has none.
    assert ask(uploaded(path), model, area="100, 100, 140, 140", least=0.3).state == "whole"
