"""The page in a real browser, as a visitor uses it. Pictures of what was seen are left in build/screenshots."""

import base64
import io
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from fusargpt.inference.predict import FusarGpt
from space_app.demo import Demo
from space_app.events import Events
from space_app.fields import EXAMPLES
from space_app.scenes import UploadedScene
from tests.space_app.browser import MISSING, find_browser
from tests.space_app.conftest import MAX_NEW_TOKENS

pytestmark = pytest.mark.slow
PATIENCE_MS = 300_000  # until something is given up for lost; the machine may be busy
DESKTOP, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    executable = find_browser()
    if executable is None:
        if os.environ.get("CI"):
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    with sync_playwright() as playwright:
        # Chromium's sandbox refuses to run for root, which a container's user often is.
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        opened = playwright.chromium.launch(executable_path=executable, args=arguments)
        yield opened
        opened.close()


class Visit:
    """One page of the demo, and everything that its browser complained about."""

    def __init__(self, browser: Browser, address: str, size: dict[str, int], dark: bool = False):
        self.complaints: list[str] = []
        self.page: Page = browser.new_page(
            viewport={"width": size["width"], "height": size["height"]},
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
        )
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.asked_elsewhere: list[str] = []
        self.page.on("request", lambda request: self._note(request.url, address))
        self.page.goto(address)
        expect(self.page.locator("#fg-ask")).to_be_visible(timeout=PATIENCE_MS)

    def _note(self, url: str, address: str) -> None:
        if not url.startswith((address, "data:", "blob:")):
            self.asked_elsewhere.append(url)

    def see(self, selector: str) -> None:
        expect(self.page.locator(selector).first).to_be_visible(timeout=PATIENCE_MS)

    def ask(self) -> None:
        self.page.locator("#fg-ask").click()
        expect(self.page.locator("#fg-json")).to_be_enabled(timeout=PATIENCE_MS)
        self.see("#fg-ask")

    def is_wider_than_the_window(self) -> bool:
        return self.page.evaluate("document.documentElement.scrollWidth > window.innerWidth")


@pytest.fixture
def visit(browser: Browser, address: str) -> Iterator[Visit]:
    visit = Visit(browser, address, DESKTOP)
    yield visit
    visit.page.close()


def stage_pixels(page: Page) -> np.ndarray:
    """The picture that the answer is drawn on, uint8 [H, W, 3]."""
    source = page.locator("#fg-first-stage img").first.get_attribute("src") or ""
    with Image.open(io.BytesIO(base64.b64decode(source.partition("base64,")[2]))) as picture:
        return np.asarray(picture.convert("RGB"))


def test_two_clicks_to_an_answer_and_everything_can_be_taken_home(
    visit: Visit, screenshots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, demo: Demo
):
    page = visit.page
    page.screenshot(path=screenshots / "1-empty.png", full_page=True)
    page.locator(".fg-examples button").first.click()
    visit.see("#fg-first-stage .fg-prior")
    visit.see("#fg-map svg")
    expect(page.get_by_label("Year")).to_have_value("2024")
    expect(page.get_by_label("Count", exact=True)).to_be_checked()
    page.get_by_label("Detect", exact=True).check()
    before = stage_pixels(page)
    # On the first screen, with an example and all that its task has use for.
    assert page.evaluate("document.querySelector('#fg-ask').getBoundingClientRect().bottom") < DESKTOP["height"]
    page.screenshot(path=screenshots / "2-example.png", full_page=True)
    # The tiny model writes noise; what a trained one writes is put into its mouth.
    box = json.dumps([{"bbox_2d": [20, 30, 60, 50], "label": "ship"}])
    monkeypatch.setattr("fusargpt.inference.predict.FusarGpt.answer", lambda *arguments: box)
    visit.ask()
    expect(page.locator("#fg-first-note")).to_contain_text("1 ship")
    # Nothing of the prior lies over what was found, until it is drawn there.
    expect(page.locator("#fg-first-stage input[type=range]")).to_have_value("0")
    expect(page.locator("#fg-first-text textarea")).to_have_value(box)
    drawn = (stage_pixels(page) != before).any(-1)
    rows, columns = np.nonzero(drawn)
    # The seen image of 128 pixels is shown five times larger; the frame lies around the box, its label above it.
    assert (columns.min(), columns.max(), rows.max()) == (20 * 5 - 3, 60 * 5 + 2, 50 * 5 + 2)
    page.screenshot(path=screenshots / "3-answer.png", full_page=True)
    for name in ("png", "json", "geojson"):
        with page.expect_download() as download:
            page.locator(f"#fg-{name}").click()
        download.value.save_as(tmp_path / f"answer.{name}")
        assert download.value.suggested_filename == f"fusargpt.{name}"
    assert Image.open(tmp_path / "answer.png").size == (640, 640)
    assert json.loads((tmp_path / "answer.json").read_text())["answers"][0]["count"] is None
    (_, feature) = json.loads((tmp_path / "answer.geojson").read_text())["features"]
    longitude, latitude = feature["geometry"]["coordinates"][0][0]
    assert (round(longitude, 1), round(latitude, 1)) == (8.1, 53.6)
    assert visit.complaints == [] and visit.asked_elsewhere == []


def test_an_upload_is_placed_gets_anchors_and_answers_side_by_side(visit: Visit, screenshots: Path):
    page = visit.page
    page.locator("#fg-image input[type=file]").set_input_files(EXAMPLES / "inland.tif")
    visit.see("#fg-map svg")
    page.locator("#fg-fetch").click()
    expect(page.locator("#fg-fetched")).to_contain_text("64 anchors of 2024", timeout=PATIENCE_MS)
    visit.see("#fg-first-stage .fg-prior")
    slider = page.locator("#fg-first-stage input[type=range]")
    slider.focus()
    page.keyboard.press("End")
    shown = "getComputedStyle(document.querySelector('#fg-first-stage .fg-prior')).clipPath"
    assert page.evaluate(shown) == "inset(0px 0px 0px calc(0%))" or "0%" in page.evaluate(shown)
    page.get_by_label("Ask freely").check()
    page.get_by_label("Question", exact=False).last.fill("What is here?")
    page.get_by_label("Side by side").check()
    page.keyboard.press("Tab")
    expect(page.locator("#fg-ask")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#fg-json")).to_be_enabled(timeout=PATIENCE_MS)
    visit.see("#fg-second-text")
    expect(page.locator("#fg-first-note")).to_contain_text("With a prior of 64 anchors")
    expect(page.locator("#fg-second-note")).to_contain_text("Without a prior")
    page.screenshot(path=screenshots / "4-side-by-side.png", full_page=True)
    # The next question keeps the image.
    page.get_by_label("Side by side").uncheck()
    page.get_by_label("Localize").check()
    visit.ask()
    page.get_by_text("Earlier questions about this image").click()
    expect(page.locator(".fg-earlier dt")).to_have_count(2, timeout=PATIENCE_MS)
    assert visit.complaints == [] and visit.asked_elsewhere == []


def test_what_cannot_be_used_is_said_in_the_page(visit: Visit, screenshots: Path, tmp_path: Path):
    page = visit.page
    page.locator("#fg-ask").click()
    expect(page.locator("#fg-first-note .fg-error")).to_contain_text("Upload an image first", timeout=PATIENCE_MS)
    (tmp_path / "broken.png").write_bytes(b"<img src=x onerror=alert(1)>")
    page.locator("#fg-image input[type=file]").set_input_files(tmp_path / "broken.png")
    expect(page.locator("#fg-first-stage [role=alert]")).to_contain_text(
        "broken.png: not a PNG, JPEG or TIFF image", timeout=PATIENCE_MS
    )
    assert page.locator("#fg-first-stage img").count() == 0
    page.screenshot(path=screenshots / "5-error.png", full_page=True)
    assert "Traceback" not in page.content()
    assert visit.complaints == []


def test_an_image_is_searched_by_words_in_a_tab_of_its_own(visit: Visit, screenshots: Path, tmp_path: Path):
    page = visit.page
    page.get_by_role("tab", name="Search").click()
    page.locator("#fg-search").click()
    expect(page.locator("#fg-search-note .fg-error")).to_contain_text("Upload an image first", timeout=PATIENCE_MS)
    page.locator("#fg-search-image input[type=file]").set_input_files(EXAMPLES / "harbour.tif")
    visit.see("#fg-search-stage img")
    before = page.locator("#fg-search-stage img").get_attribute("src")
    page.locator("#fg-tile input").fill("42")
    page.locator("#fg-words textarea").fill("zebra ships")
    page.keyboard.press("Enter")
    expect(page.locator("#fg-search-note")).to_contain_text("16 of 16 tiles of 42 pixels", timeout=PATIENCE_MS)
    expect(page.locator("#fg-search-note")).to_contain_text("does not know zebra")
    expect(page.locator(".fg-found tbody tr")).to_have_count(10, timeout=PATIENCE_MS)
    assert page.locator("#fg-search-stage img").get_attribute("src") != before
    page.screenshot(path=screenshots / "8-search.png", full_page=True)
    for name in ("png", "json", "geojson"):
        with page.expect_download() as download:
            page.locator(f"#fg-search-{name}").click()
        download.value.save_as(tmp_path / f"found.{name}")
    assert json.loads((tmp_path / "found.json").read_text())["words"] == "zebra ships"
    assert len(json.loads((tmp_path / "found.geojson").read_text())["features"]) == 16
    # Asking is where it was.
    page.get_by_role("tab", name="Ask").click()
    visit.see("#fg-ask")
    assert visit.complaints == [] and visit.asked_elsewhere == []


def test_an_area_is_drawn_on_a_scene_and_asked_in_tiles(visit: Visit, screenshots: Path, tmp_path: Path):
    page = visit.page
    page.get_by_role("tab", name="Whole scene").click()
    page.locator("#fg-scene-image input[type=file]").set_input_files(EXAMPLES / "harbour.tif")
    visit.see("#fg-scene-stage img")
    picture = page.locator("#fg-scene-stage img")
    picture.scroll_into_view_if_needed()
    box = picture.bounding_box()
    assert box is not None
    # The image of 168 pixels is shown as high as the window allows, in the middle of its frame.
    scale = min(box["width"], box["height"]) / 168
    left = box["x"] + (box["width"] - 168 * scale) / 2
    page.mouse.move(left + 20 * scale, box["y"] + 10 * scale)
    page.mouse.down()
    page.mouse.move(left + 80 * scale, box["y"] + 70 * scale, steps=3)
    page.mouse.up()
    area = page.locator("#fg-area input, #fg-area textarea")
    drawn = [int(word) for word in area.input_value().split(", ")]
    assert np.allclose(drawn, [20, 10, 80, 70], atol=1)
    page.locator("#fg-scene-tile input").fill("84")
    page.locator("#fg-scene-task").get_by_label("Count", exact=True).check()
    page.locator("#fg-scene").click()
    expect(page.locator("#fg-scene-note")).to_contain_text("1 of 1 tiles of 84 pixels", timeout=PATIENCE_MS)
    # The tiny model writes noise, which is no count of 0.
    expect(page.locator("#fg-scene-note")).to_contain_text("No answer could be read")
    expect(page.locator("#fg-scene-json")).to_be_enabled(timeout=PATIENCE_MS)
    page.screenshot(path=screenshots / "9-scene.png", full_page=True)
    with page.expect_download() as download:
        page.locator("#fg-scene-json").click()
    download.value.save_as(tmp_path / "scene.json")
    found = json.loads((tmp_path / "scene.json").read_text())
    assert found["fusargpt"]["area_pixels"] == drawn and found["places"][0]["bbox"] == [0, 0, 84, 84]
    assert visit.complaints == [] and visit.asked_elsewhere == []


def test_an_answer_can_be_stopped(visit: Visit, screenshots: Path, predictor: FusarGpt):
    page = visit.page
    page.locator(".fg-examples button").last.click()
    visit.see("#fg-first-stage .fg-prior")
    steps: list[int] = []

    def slowly(*_: Any) -> None:
        steps.append(1)
        time.sleep(1)

    hook = predictor.model.register_forward_hook(slowly)
    try:
        page.locator("#fg-ask").click()
        visit.see("#fg-stop")
        expect(page.locator("#fg-first-note")).to_contain_text("With a prior of 64 anchors: ", timeout=PATIENCE_MS)
        page.screenshot(path=screenshots / "6-answering.png", full_page=True)
        page.locator("#fg-stop").click()
        expect(page.locator("#fg-first-note")).to_contain_text("Stopped", timeout=PATIENCE_MS)
        visit.see("#fg-ask")
    finally:
        hook.remove()
    visit.ask()
    assert len(steps) < MAX_NEW_TOKENS, "the model went on after it was stopped"
    assert visit.complaints == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_page_fits_a_phone(
    browser: Browser, address: str, screenshots: Path, dark: bool, monkeypatch: pytest.MonkeyPatch
):
    readings: list[UploadedScene] = []
    shown = Events.shown

    def counted(self: Events, scene: UploadedScene, *more: Any) -> dict[object, object]:
        readings.append(scene)
        return shown(self, scene, *more)

    monkeypatch.setattr(Events, "shown", counted)
    visit = Visit(browser, address, PHONE, dark)
    page = visit.page
    page.locator(".fg-examples button").first.click()
    visit.see("#fg-first-stage .fg-prior")
    visit.see("#fg-map svg")
    visit.ask()
    # The answer comes into sight by itself.
    expect(page.locator("#fg-first-stage")).to_be_in_viewport(timeout=PATIENCE_MS)
    assert not visit.is_wider_than_the_window()
    page.screenshot(path=screenshots / f"7-phone-{'dark' if dark else 'light'}.png", full_page=True)
    # Another reading of the same example could come after the answer, and wipe it away.
    assert len(readings) == 1
    assert visit.complaints == []
    page.close()
