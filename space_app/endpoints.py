"""The page's functions for programs: named endpoints with typed inputs, described in README.md.

They take the page's own controls as inputs, so that every file is one that was uploaded and every choice one that is
offered, and return JSON and files.
"""

from collections.abc import Callable, Generator

import gradio as gr

from fusargpt.errors import InputError
from space_app.boxes_geojson import feature_collection
from space_app.demo import Demo, Question
from space_app.downloads import report, write_downloads
from space_app.inputs import Told
from space_app.limits import Concurrency
from space_app.stage import draw
from space_app.widgets import Widgets


def add_endpoints(demo: Demo, widgets: Widgets, limits: dict[str, Concurrency]) -> None:
    """Add `look`, `anchors` and `ask` to the page that is being built.

    Args:
        demo: does the work.
        widgets: the page's controls.
        limits: for each kind of work ("model", "reading", "fetching") the arguments that bound its concurrency.
    """
    found = gr.JSON(visible=False, label="result")
    pictures = gr.File(visible=False, label="pictures", file_count="multiple", interactive=False)
    fetched = gr.File(visible=False, label="prior", interactive=False)
    triggers = {name: gr.Button(visible=False) for name in ("look", "anchors", "ask")}
    triggers["look"].click(
        _look(demo),
        [widgets.image, widgets.band, widgets.place, *widgets.told],
        found,
        api_name="look",
        **limits["reading"],
    )
    triggers["anchors"].click(
        _anchors(demo),
        [widgets.image, widgets.year, widgets.field, widgets.per_side, widgets.band, widgets.place, *widgets.told],
        [fetched, found],
        api_name="anchors",
        **limits["fetching"],
    )
    triggers["ask"].click(_ask(demo), widgets.asked, [found, pictures], api_name="ask", **limits["model"])


def _look(demo: Demo) -> Callable[..., dict[str, object]]:
    def look(
        image: str | None,
        band: float | None,
        place: str,
        stored: str = "",
        nodata: str = "",
        crs: str = "",
        height_m: float | None = None,
        polarization: str = "",
    ) -> dict[str, object]:
        """What is known of an image: sizes, bands, sensor, day, place."""
        try:
            scene = demo.look(image, Told(band, stored, nodata, crs, height_m, polarization), place)
            bounds = None if scene.geometry is None else list(scene.geometry.bounds())
        except InputError as error:
            raise _refused(demo, error, image) from error
        return {
            "image": scene.name,
            "image_size": list(scene.picture.size),
            "seen_size": list(scene.seen.size),
            "bands": list(scene.bands),
            "sensor": scene.sensor,
            "acquired": None if scene.acquired is None else scene.acquired.isoformat(),
            "bounds": bounds,
            "problem": scene.problem,
            "read_as": scene.read_as,
        }

    return look


def _anchors(demo: Demo) -> Callable[..., tuple[str, dict[str, object]]]:
    def anchors(
        image: str | None,
        year: float | None,
        field: str | None,
        per_side: float,
        band: float | None,
        place: str,
        stored: str = "",
        nodata: str = "",
        crs: str = "",
        height_m: float | None = None,
        polarization: str = "",
    ) -> tuple[str, dict[str, object]]:
        """The anchors of an image from one of the offered AlphaEarth fields, as the .npz file of a prior."""
        try:
            told = Told(band, stored, nodata, crs, height_m, polarization)
            path = demo.anchors(demo.look(image, told, place), year, field, per_side)
            prior = demo.prior(path)
        except InputError as error:
            raise _refused(demo, error, image) from error
        assert prior is not None and prior.lonlat is not None
        return path, {"anchors": len(prior.embeddings), "lonlat": prior.lonlat.tolist()}

    return anchors


def _ask(demo: Demo) -> Callable[..., Generator[tuple[dict[str, object], list[str] | None]]]:
    def ask(
        image: str | None,
        prior: str | None,
        task: str,
        target: str,
        question: str,
        compare: bool,
        band: float | None,
        place: str,
        stored: str = "",
        nodata: str = "",
        crs: str = "",
        height_m: float | None = None,
        polarization: str = "",
        least: float = 0.0,
    ) -> Generator[tuple[dict[str, object], list[str] | None]]:
        """Answers to one question about one image, growing; the last item has boxes, cells, counts and pictures."""
        told = Told(band, stored, nodata, crs, height_m, polarization)
        asked = Question(image, prior, task, target, question, compare, place, told, least)
        growing = demo.answers(asked)
        try:
            seen = None
            for seen in growing:
                scene, _, answers = seen
                latest = report(scene, demo.name, answers)
                if answers[-1].state == "writing" or len(answers) < 1 + compare:
                    yield latest, None
            assert seen is not None, "an answer has a first piece"
            scene, _, answers = seen
            latest = report(scene, demo.name, answers)
            if scene.geometry is not None:
                latest["geojson"] = feature_collection(scene, answers)
            drawn = [draw(scene, answer)[0] for answer in answers]
            yield latest, list(write_downloads(demo.scratch, scene, demo.name, answers, drawn).pictures)
        except InputError as error:
            raise _refused(demo, error, image, prior) from error
        finally:
            growing.close()

    return ask


def _refused(demo: Demo, error: InputError, *paths: str | None) -> gr.Error:
    return gr.Error(demo.message(error, *paths), title="This cannot be answered", print_exception=False)
