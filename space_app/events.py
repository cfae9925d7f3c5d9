"""What happens on the page when a visitor does something. Handlers return what they change, by component."""

from collections.abc import Generator
from dataclasses import replace
from typing import Literal, TypedDict

import gradio as gr

from fusargpt.errors import InputError
from fusargpt.tasks.prompts import TARGET_TASKS
from fusargpt.tasks.target_names import TARGETS
from space_app.demo import Demo, Question
from space_app.downloads import side_by_side, write_downloads
from space_app.fields import EXAMPLES
from space_app.inputs import FREE, Told
from space_app.limits import Concurrency
from space_app.one_question import GivenAnswer
from space_app.place_map import place_map
from space_app.scenes import UploadedScene
from space_app.stage import draw, empty_stage, problem_stage, stage
from space_app.stopping import Stops
from space_app.widgets import AnswerView, Widgets
from space_app.wording import STOPPED, STOPPING, WELCOME, earlier, hint, note_of, problem, waiting

Changes = dict[object, object]

REMEMBERED = 20
"""Questions about one image that are kept."""
_SHOW_ANSWER = """() => {
    if (window.innerWidth < 800) document.querySelector("#fg-answer").scrollIntoView({block: "start"});
    return [];
}"""


class _Private(TypedDict):
    """Of an event of the page that is no endpoint."""

    api_visibility: Literal["private"]


class _Quick(_Private):
    """Of one that waits for nothing."""

    queue: bool
    show_progress: Literal["hidden"]


class _Reading(_Private, Concurrency):
    """Of one that reads an image."""

    show_progress: Literal["minimal"]
    show_progress_on: gr.HTML


class Events:
    """The events of one page.

    Args:
        demo: does the work.
        widgets: the page's.
        examples: entries of examples.json.
        limits: for each kind of work ("model", "reading", "fetching") the arguments that bound its concurrency.
    """

    def __init__(
        self, demo: Demo, widgets: Widgets, examples: list[dict[str, str]], limits: dict[str, Concurrency]
    ) -> None:
        self.demo = demo
        self.on = widgets
        self.examples = examples
        self.limits = limits
        self.stops = Stops()

    def connect(self) -> None:
        """Attach every handler; inside the page that is being built."""
        on = self.on
        private: _Private = {"api_visibility": "private"}
        quick: _Quick = {**private, "queue": False, "show_progress": "hidden"}
        seen = [on.image, on.prior, on.band, on.place, on.year, *on.told]
        shown = [*_parts(on.first), *_parts(on.second), on.beside, on.map, *self._files, on.earlier, on.history]
        reading: _Reading = {
            **private,
            **self.limits["reading"],
            "show_progress": "minimal",
            "show_progress_on": on.first.note,
        }
        chosen = on.examples.select(self.choose, None, [on.image, on.prior, on.task, on.target, on.fetched], **private)
        # A prior belongs to one image; the last one's would be of another place.
        uploaded = on.image.upload(lambda: (None, ""), None, [on.prior, on.fetched], **quick)
        # What a visitor does is read once. An event for each component that changes with it would be a second reading,
        # and one that comes after a quick answer wipes that away.
        for happened in (chosen.then, uploaded.then, on.image.clear):
            happened(self.look, seen, [*shown, on.band, on.place, on.year], **reading)
        fetched = on.fetch.click(
            self.fetch,
            [on.image, on.year, on.field, on.per_side, on.band, on.place, *on.told],
            [on.prior, on.fetched],
            **private,
            **self.limits["fetching"],
            show_progress="minimal",
            show_progress_on=on.fetched,
        )
        told = [on.stored.input, on.nodata.submit, on.crs.submit, on.height_m.submit, on.polarization.submit]
        for happened in (fetched.then, on.prior.upload, on.prior.clear, on.band.submit, on.place.submit, *told):
            happened(self.refresh, seen, shown, **reading)
        on.task.change(self.choose_task, on.task, [on.target, on.question, on.least], **quick)

        started = gr.on(
            [on.ask.click, on.question.submit], self.begin, None, [on.ask, on.stop, on.first.note],
            js=_SHOW_ANSWER, **quick,
        )  # fmt: skip
        answered = started.then(
            self.answer,
            [*on.asked, on.history],
            [*_parts(on.first), *_parts(on.second), on.beside, *self._files, on.earlier, on.history],
            **private,
            **self.limits["model"],
            show_progress="minimal",
            show_progress_on=on.first.note,
        )
        answered.failure(self.refused, None, on.first.note, **quick)
        answered.then(self.end, None, [on.ask, on.stop], **quick)
        # The answer ends itself: a request that Gradio cancels takes along one that is made right after it.
        on.stop.click(self.stop, None, on.first.note, **quick)
        on.least.release(
            self.show_from,
            [on.image, on.prior, on.band, on.place, *on.told, on.least, on.history],
            [*_parts(on.first), *_parts(on.second), *self._files, on.earlier, on.history],
            **reading,
        )

    def choose(self, event: gr.SelectData) -> Changes:
        """An example: its image, prior and question."""
        example = self.examples[event.index]
        targets = self.demo.predictor.targets or TARGETS
        return {
            self.on.image: str(EXAMPLES / example["image"]),
            self.on.prior: str(EXAMPLES / example["prior"]),
            self.on.task: example["task"],
            self.on.target: example["target"] if example["target"] in targets else targets[0],
            self.on.fetched: "",
        }

    def look(
        self,
        image: str | None,
        prior: str | None,
        band: float | None,
        place: str,
        year: float | None,
        stored: str,
        nodata: str,
        crs: str,
        height_m: float | None,
        polarization: str,
    ) -> Changes:
        """A new image: shown, and the place and the year filled in from it."""
        changes = {**self._blank(), self.on.place: gr.Textbox("", interactive=True), self.on.year: None}
        if image is None:
            return {**changes, self.on.first.stage: empty_stage(), self.on.first.note: hint(WELCOME)}
        try:
            # The band is the last image's.
            scene = self.demo.look(image, Told(1, stored, nodata, crs, height_m, polarization))
        except InputError as error:
            return {**changes, self.on.first.stage: problem_stage(self.demo.message(error, image))}
        known = None if scene.acquired is None else scene.acquired.year
        bounds = ""
        if scene.geometry is not None:
            bounds = ", ".join(f"{value:.5f}" for value in scene.geometry.bounds())
        names = ", ".join(f"{number} = {name or 'unknown'}" for number, name in enumerate(scene.bands, 1))
        return {
            **changes,
            **self.shown(scene, prior, known),
            self.on.band: gr.Number(1, visible=len(scene.bands) > 1, maximum=len(scene.bands), info=names),
            self.on.place: gr.Textbox(bounds, interactive=not scene.georeferenced),
            self.on.year: known,
        }

    def refresh(
        self,
        image: str | None,
        prior: str | None,
        band: float | None,
        place: str,
        year: float | None,
        stored: str,
        nodata: str,
        crs: str,
        height_m: float | None,
        polarization: str,
    ) -> Changes:
        """Another prior, band, place or way to read the same image."""
        if image is None:
            return {self.on.first.stage: gr.skip()}
        try:
            scene = self.demo.look(image, Told(band, stored, nodata, crs, height_m, polarization), place)
        except InputError as error:
            # What is wrong with the image itself, `look` says.
            return {self.on.first.note: problem(self.demo.message(error, image)) if self._can_be_read(image) else ""}
        known = year if scene.acquired is None else scene.acquired.year
        return {**self._blank(), **self.shown(scene, prior, known)}

    def fetch(
        self,
        image: str | None,
        year: float | None,
        field: str | None,
        per_side: float,
        band: float | None,
        place: str,
        stored: str,
        nodata: str,
        crs: str,
        height_m: float | None,
        polarization: str,
    ) -> Changes:
        """Anchors, as the page's prior."""
        try:
            told = Told(band, stored, nodata, crs, height_m, polarization)
            path = self.demo.anchors(self.demo.look(image, told, place), year, field, per_side)
            prior = self.demo.prior(path)
        except InputError as error:
            return {self.on.fetched: problem(self.demo.message(error, image))}
        count = 0 if prior is None else len(prior.embeddings)
        return {
            self.on.prior: path,
            self.on.fetched: hint(f"{count} anchors of {year:.0f} fetched; shown on the image."),
        }

    def choose_task(self, task: str) -> Changes:
        """Only the controls that the task has use for."""
        return {
            self.on.least: gr.Slider(visible=task in ("detect", FREE)),
            self.on.target: gr.Radio(visible=task in TARGET_TASKS),
            self.on.question: gr.Textbox(visible=task == FREE),
        }

    def begin(self, request: gr.Request) -> Changes:
        """At once, before the model is free."""
        self.stops.begin(_visitor(request))
        return {
            self.on.ask: gr.Button(visible=False),
            self.on.stop: gr.Button(visible=True),
            self.on.first.note: waiting(),
        }

    def end(self, request: gr.Request) -> Changes:
        """Ready for the next question."""
        self.stops.end(_visitor(request))
        return {self.on.ask: gr.Button(visible=True), self.on.stop: gr.Button(visible=False)}

    def stop(self, request: gr.Request) -> Changes:
        """The answer ends after the token it is at."""
        self.stops.stop(_visitor(request))
        return {self.on.first.note: STOPPING}

    def refused(self) -> Changes:
        """The queue is full, or something is broken: what the page cannot know."""
        return {self.on.first.note: problem("Too many are asking at the moment. Wait a minute, then ask again.")}

    def answer(
        self,
        image: str | None,
        prior: str | None,
        task: str,
        target: str,
        question: str,
        compare: bool,
        band: float | None,
        place: str,
        stored: str,
        nodata: str,
        crs: str,
        height_m: float | None,
        polarization: str,
        least: float,
        history: list[list[GivenAnswer]],
        request: gr.Request,
    ) -> Generator[Changes]:
        """The answer as it is written, then drawn."""
        told = Told(band, stored, nodata, crs, height_m, polarization)
        asked = Question(image, prior, task, target, question, compare, place, told, least)
        views = [self.on.first, self.on.second]
        growing = self.demo.answers(asked)
        try:
            drawn, seen = 0, None
            for seen in growing:
                scene, given, answers = seen
                if self.stops.is_stopped(_visitor(request)):
                    yield {self.on.first.note: STOPPED}
                    return
                number = len(answers) - 1
                view, answer = views[number], answers[number]
                changes: Changes = {view.text: answer.text, view.note: note_of(answer, "")}
                if number == 0 and not answer.text:
                    changes |= {self.on.beside: gr.Column(visible=compare), **self._no_files()}
                    if compare:
                        changes |= {self.on.second.stage: "", self.on.second.text: "", self.on.second.note: ""}
                if drawn <= number and answer.state == "writing":
                    # The image itself, once, before the answer is drawn on it.
                    changes[view.stage] = stage(scene, given if number == 0 else None)
                    drawn += 1
                if answer.state != "writing":
                    _, note = draw(scene, answer)
                    shown_prior = given if number == 0 else None
                    changes |= {view.note: note_of(answer, note), view.stage: stage(scene, shown_prior, answer)}
                yield changes
            assert seen is not None, "an answer has a first piece"
            yield self._finished(seen[0], seen[2], history)
        except InputError as error:
            yield {
                self.on.first.note: problem(self.demo.message(error, image, prior)),
                self.on.first.text: "",
                self.on.beside: gr.Column(visible=False),
            }
        finally:
            growing.close()

    def show_from(
        self,
        image: str | None,
        prior: str | None,
        band: float | None,
        place: str,
        stored: str,
        nodata: str,
        crs: str,
        height_m: float | None,
        polarization: str,
        least: float,
        history: list[list[GivenAnswer]],
    ) -> Changes:
        """The last answer again, with the boxes whose scores reach another least one; nothing is asked."""
        if image is None or not history or history[-1][0].boxes is None:
            return {self.on.first.note: gr.skip()}
        answers = [replace(answer, least=least) for answer in history[-1]]
        try:
            scene = self.demo.look(image, Told(band, stored, nodata, crs, height_m, polarization), place)
            given = self.demo.prior(prior)
        except InputError as error:
            return {self.on.first.note: problem(self.demo.message(error, image, prior))}
        changes = self._finished(scene, answers, history[:-1])
        for number, (view, answer) in enumerate(zip((self.on.first, self.on.second), answers, strict=False)):
            changes[view.note] = note_of(answer, draw(scene, answer)[1])
            changes[view.stage] = stage(scene, given if number == 0 else None, answer)
        return changes

    @property
    def _files(self) -> list[gr.DownloadButton]:
        return [self.on.picture_file, self.on.json_file, self.on.geojson_file]

    def _can_be_read(self, image: str) -> bool:
        try:
            self.demo.look(image)
        except InputError:
            return False
        return True

    def _finished(self, scene: UploadedScene, answers: list[GivenAnswer], history: list[list[GivenAnswer]]) -> Changes:
        """Files to take home, and the question among the earlier ones."""
        pictures = [draw(scene, answer)[0] for answer in answers]
        files = write_downloads(self.demo.scratch, scene, self.demo.name, answers, [side_by_side(pictures)])
        kept = [*history, list(answers)][-REMEMBERED:]
        return {
            self.on.picture_file: gr.DownloadButton(value=files.pictures[0], interactive=True),
            self.on.json_file: gr.DownloadButton(value=files.json, interactive=True),
            self.on.geojson_file: gr.DownloadButton(value=files.geojson, interactive=files.geojson is not None),
            self.on.earlier: earlier(kept),
            self.on.history: kept,
        }

    def shown(self, scene: UploadedScene, prior_path: str | None, year: float | None) -> Changes:
        """The image with its prior, and the map."""
        note = hint("Choose a task and press <b>Ask</b>.")
        prior = None
        try:
            prior = self.demo.prior(prior_path)
        except InputError as error:
            note = problem(self.demo.message(error, prior_path))
        return {
            self.on.first.stage: stage(scene, prior),
            self.on.first.note: note,
            self.on.map: place_map(scene.geometry, year, simulated=scene.sensor == "simulated"),
        }

    def _blank(self) -> Changes:
        """No answer, no files, no earlier questions."""
        return {
            self.on.first.text: "",
            self.on.first.note: "",
            self.on.second.stage: "",
            self.on.second.text: "",
            self.on.second.note: "",
            self.on.beside: gr.Column(visible=False),
            self.on.map: place_map(None, None),
            self.on.earlier: earlier([]),
            self.on.history: [],
            **self._no_files(),
        }

    def _no_files(self) -> Changes:
        return {button: gr.DownloadButton(value=None, interactive=False) for button in self._files}


def _visitor(request: gr.Request) -> str:
    return request.session_hash or ""


def _parts(view: AnswerView) -> list[gr.HTML | gr.Textbox]:
    return [view.stage, view.text, view.note]
