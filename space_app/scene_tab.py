"""The tab that asks a whole scene tile by tile: its controls, what happens on it, and its endpoint."""

from collections.abc import Generator
from dataclasses import astuple
from typing import Any, Literal, TypedDict, cast

import gradio as gr
from gradio.components import Component

from fusargpt.errors import InputError
from fusargpt.tasks.prompts import TARGET_TASKS, TASKS
from fusargpt.tasks.target_names import TARGETS
from space_app.demo import Demo
from space_app.downloads import write_json
from space_app.fields import EXAMPLES, SIMULATED
from space_app.inputs import Told
from space_app.limits import IMAGE_TYPES, KEEP_SECONDS, MAX_SCENE_TILES, MAX_UPLOAD_BYTES, Concurrency
from space_app.reading_controls import reading_controls
from space_app.stage import AREA_SCRIPT, empty_stage, problem_stage, scene_stage
from space_app.whole_scene import AskedScene, SceneQuestion
from space_app.wording import SCENE_WELCOME, hint, note_of_scene, places_table, problem, waiting

Changes = dict[object, object]

_SHOW_ANSWER = """() => {
    if (window.innerWidth < 800) document.querySelector("#fg-scene-note").scrollIntoView({block: "start"});
    return [];
}"""


class _Quick(TypedDict):
    """Of an event that waits for nothing and is no endpoint."""

    api_visibility: Literal["private"]
    queue: bool
    show_progress: Literal["hidden"]


class SceneTab:
    """Laid out where it is made, inside the page that is being built.

    Args:
        demo: does the work.
        examples: entries of examples.json.
    """

    def __init__(self, demo: Demo, examples: list[dict[str, str]]) -> None:
        self.demo, self._examples = demo, examples
        self._targets = list(demo.predictor.targets or TARGETS)
        with gr.Row(elem_classes="fg-page"):
            with gr.Column(scale=3, min_width=300):
                self._lay_out_request()
            with gr.Column(scale=8, min_width=320):
                self.note = gr.HTML(hint(SCENE_WELCOME), elem_id="fg-scene-note")
                self.stage = gr.HTML(empty_stage(), elem_id="fg-scene-stage", js_on_load=AREA_SCRIPT)
                with gr.Row(elem_classes="fg-downloads"):
                    self.picture_file, self.json_file, self.geojson_file = (
                        gr.DownloadButton(
                            f"Download {kind}",
                            interactive=False,
                            size="sm",
                            min_width=120,
                            elem_id=f"fg-scene-{kind.lower()}",
                        )
                        for kind in ("PNG", "JSON", "GeoJSON")
                    )
                # The table last: it may be long.
                self.found = gr.HTML("", elem_id="fg-places")
                self.asked = gr.State([], time_to_live=KEEP_SECONDS)

    def connect(self, limits: dict[str, Concurrency]) -> None:
        """Attach the endpoint `scene` and every handler.

        Args:
            limits: for each kind of work ("model", "reading") the arguments that bound its concurrency.
        """
        result = gr.JSON(visible=False, label="result")
        picture = gr.File(visible=False, label="picture", interactive=False)
        gr.Button(visible=False).click(self.scene, self._asked, [result, picture], api_name="scene", **limits["model"])
        shown: list[Component] = [self.stage, self.note, self.found, *self._files]
        quick: _Quick = {"api_visibility": "private", "queue": False, "show_progress": "hidden"}
        self._gallery.select(
            self._choose, None, [self.image, self.task, self.target, self.field], api_visibility="private"
        )
        self.image.change(
            self._look,
            [self.image, self.band, self.place, *self.told],
            [*shown, self.area, self.year, self.asked],
            api_visibility="private",
            **limits["reading"],
            show_progress="hidden",
        )
        self.task.change(self._choose_task, self.task, [self.target, self.least], **quick)
        gr.on([self.button.click, self.area.submit], lambda: waiting(), None, self.note, js=_SHOW_ANSWER, **quick).then(
            self._show,
            self._asked,
            [*shown, self.asked],
            api_visibility="private",
            **limits["model"],
            show_progress="hidden",
        ).failure(
            lambda: problem("Too many are asking at the moment. Wait a minute, then ask again."),
            None,
            self.note,
            **quick,
        )
        self.least.release(
            self._show_from,
            [self.asked, self.least],
            [*shown, self.asked],
            api_visibility="private",
            **limits["model"],
            show_progress="hidden",
        )

    def scene(
        self,
        image: str | None,
        task: str = "detect",
        target: str = "ship",
        area: str = "",
        tile: float | None = None,
        field: str = "",
        year: float | None = None,
        band: float | None = 1,
        place: str = "",
        stored: str = "",
        nodata: str = "",
        crs: str = "",
        height_m: float | None = None,
        polarization: str = "",
        least: float = 0.0,
    ) -> Generator[tuple[dict[str, object], str | None]]:
        """A scene asked tile by tile, growing; the last item has all places as the command writes them."""
        told = Told(band, stored, nodata, crs, height_m, polarization)
        try:
            asked = None
            for asked in self._ask(image, task, target, area, tile, field, year, told, place, least):
                if asked.state == "asking":
                    yield {"tiles": asked.tiles, "answered": asked.answered, "state": asked.state}, None
            assert asked is not None, "a scene has a first state"
            pixels, places = asked.in_pixels(self.demo.name), asked.feature_collection(self.demo.name)
            told_of = {"tiles": asked.tiles, "answered": asked.answered, "state": asked.state}
            told_of |= {"summary": asked.summary, "problems": list(asked.problems)}
            yield {**told_of, "pixels": pixels, "geojson": places}, self._write(asked)[0]
        except InputError as error:
            message = self.demo.message(error, image)
            raise gr.Error(message, title="This cannot be asked", print_exception=False) from error

    def _lay_out_request(self) -> None:
        with gr.Column(elem_classes="fg-step"):
            gr.HTML("<h2><span>1</span> Scene</h2><p>Asked in tiles, each as large as the model sees best.</p>")
            self._gallery = gr.Gallery(
                [(EXAMPLES / example["thumbnail"], example["caption"]) for example in self._examples],
                show_label=False,
                label="Scenes to ask",
                columns=len(self._examples),
                rows=1,
                allow_preview=False,
                interactive=False,
                buttons=[],
                height="auto",
                elem_classes="fg-examples",
            )
            self.image = gr.File(
                label=f"Yours: TIFF, PNG or JPEG to {MAX_UPLOAD_BYTES // 2**20} MB",
                file_types=IMAGE_TYPES,
                height=110,
                elem_id="fg-scene-image",
            )
        with gr.Column(elem_classes="fg-step"):
            gr.HTML("<h2><span>2</span> Question</h2>")
            self.task = gr.Radio(
                [(task.capitalize(), task) for task in ("detect", *(name for name in TASKS if name != "detect"))],
                value="detect",
                label="Task",
                elem_id="fg-scene-task",
            )
            self.target = gr.Radio(self._targets, value=self._targets[0], label="Target")
            self.area = gr.Textbox(
                "",
                label="Area",
                info="Drawn on the scene, or left, top, right, bottom in pixels; or bounds in degrees. Empty: all.",
                placeholder="120, 80, 480, 400 or 8.05, 53.56, 8.06, 53.57 degrees",
                max_lines=1,
                elem_id="fg-area",
            )
            self.least = gr.Slider(
                0,
                1,
                value=round(self.demo.predictor.min_score, 2),
                step=0.01,
                label="Least score",
                info="Boxes of which the model was less sure are left out; moving it asks no tile again.",
                elem_id="fg-scene-least",
            )
            self.button = gr.Button("Ask all tiles", variant="primary", elem_id="fg-scene")
        with gr.Column(elem_classes="fg-step"):
            gr.HTML("<h2>Prior <small>optional</small></h2><p>Each tile gets the anchors of its own place.</p>")
            self.field = gr.Dropdown(
                [("Without", ""), *self.demo.fields], value="", label="AlphaEarth field", elem_id="fg-scene-field"
            )
            self.year = gr.Number(None, label="Year", precision=0, placeholder="2024", elem_id="fg-scene-year")
            self.place = gr.Textbox(
                "", label="Bounds of the scene", info="West, south, east, north in degrees, if the file has none."
            )
        with gr.Column(elem_classes="fg-step"):
            self.tile = gr.Number(
                None,
                label="Side of a tile",
                info=f"In pixels, at most {MAX_SCENE_TILES} tiles; empty: what the model sees best.",
                precision=0,
                elem_id="fg-scene-tile",
            )
            self.band = gr.Number(1, label="Band to ask about", precision=0, minimum=1)
            told = reading_controls()
            self.told: list[Component] = [
                told[name] for name in ("stored", "nodata", "crs", "height_m", "polarization")
            ]

    @property
    def numbers(self) -> list[Component]:
        """Fields that show 0 until they are told that there is none."""
        return [self.tile, self.year, self.told[3]]

    @property
    def _asked(self) -> list[Component]:
        asked: list[Component] = [self.image, self.task, self.target, self.area, self.tile, self.field, self.year]
        return [*asked, self.band, self.place, *self.told, self.least]

    @property
    def _files(self) -> list[gr.DownloadButton]:
        return [self.picture_file, self.json_file, self.geojson_file]

    def _choose(self, event: gr.SelectData) -> Changes:
        example = self._examples[event.index]
        return {
            self.image: str(EXAMPLES / example["image"]),
            self.task: "detect",
            self.target: example["target"] if example["target"] in self._targets else self._targets[0],
            self.field: SIMULATED if SIMULATED in self.demo.fields else "",
        }

    def _choose_task(self, task: str) -> tuple[gr.Radio, gr.Slider]:
        return gr.Radio(visible=task in TARGET_TASKS), gr.Slider(visible=task == "detect")

    def _show_from(self, shown: list[object], least: float) -> Generator[Changes]:
        """What was asked last with another least score: its answers are kept."""
        if shown and shown[1] == "detect":
            yield from self._show(*cast(Any, [*shown, least]))
        else:
            yield {self.note: gr.skip()}

    def _look(
        self,
        image: str | None,
        band: float | None,
        place: str,
        stored: str,
        nodata: str,
        crs: str,
        height_m: float | None,
        polarization: str,
    ) -> Changes:
        """A new image is shown; the area was the last one's."""
        blank: Changes = {self.found: "", self.area: "", self.year: None, self.asked: []}
        blank |= {button: gr.DownloadButton(interactive=False) for button in self._files}
        if image is None:
            return {**blank, self.stage: empty_stage(), self.note: hint(SCENE_WELCOME)}
        try:
            scene = self.demo.look(image, Told(band, stored, nodata, crs, height_m, polarization), place)
        except InputError as error:
            return {**blank, self.stage: problem_stage(self.demo.message(error, image)), self.note: ""}
        return {
            **blank,
            self.stage: scene_stage(scene, scene.picture),
            self.note: hint("Draw an area, or ask about all of it."),
            self.year: None if scene.acquired is None else scene.acquired.year,
        }

    def _show(
        self,
        image: str | None,
        task: str,
        target: str,
        area: str,
        tile: float | None,
        field: str,
        year: float | None,
        band: float | None,
        place: str,
        stored: str,
        nodata: str,
        crs: str,
        height_m: float | None,
        polarization: str,
        least: float,
    ) -> Generator[Changes]:
        """How far it is, then what was found, drawn, listed, and as files."""
        told = Told(band, stored, nodata, crs, height_m, polarization)
        try:
            asked = None
            for asked in self._ask(image, task, target, area, tile, field, year, told, place, least):
                yield {self.note: note_of_scene(asked)}
            assert asked is not None, "a scene has a first state"
            picture, pixels, geojson = self._write(asked)
            yield {
                self.stage: scene_stage(asked.scene, asked.draw()),
                self.found: places_table(asked),
                self.picture_file: gr.DownloadButton(value=picture, interactive=True),
                self.json_file: gr.DownloadButton(value=pixels, interactive=True),
                self.geojson_file: gr.DownloadButton(value=geojson, interactive=geojson is not None),
                self.asked: [image, task, target, area, tile, field, year, band, place, *astuple(told)[1:]],
            }
        except InputError as error:
            yield {self.note: problem(self.demo.message(error, image)), self.found: ""}

    def _ask(
        self,
        image: str | None,
        task: str,
        target: str,
        area: str,
        tile: float | None,
        field: str,
        year: float | None,
        told: Told,
        place: str,
        least: float,
    ) -> Generator[AskedScene]:
        # A number field that is empty says 0.
        whole: list[int | None] = []
        for name, value in (("Tile", tile), ("Year", year)):
            if value and not float(value).is_integer():
                raise InputError(f"{name}: found {value}; expected a whole number, or nothing")
            whole.append(int(value) if value else None)
        yield from self.demo.scenes(
            image, SceneQuestion(task, target, area, whole[0], whole[1], least), field, told, place
        )

    def _write(self, asked: AskedScene) -> tuple[str, str, str | None]:
        """Paths of the picture, the places in pixels, and the map; None for the map where no place is known."""
        folder = self.demo.scratch.new_folder()
        asked.draw().save(folder / "scene.png")
        pixels = write_json(folder / "scene.json", asked.in_pixels(self.demo.name))
        places = asked.feature_collection(self.demo.name)
        geojson = None if places is None else write_json(folder / "scene.geojson", places)
        return str(folder / "scene.png"), pixels, geojson
