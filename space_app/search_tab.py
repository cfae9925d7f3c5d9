"""The tab that searches an image by words: its controls, what happens on it, and its endpoint."""

import html
from collections.abc import Generator

import gradio as gr
from gradio.components import Component

from fusargpt.errors import InputError
from space_app.demo import Demo
from space_app.downloads import write_json
from space_app.fields import EXAMPLES
from space_app.inputs import Told
from space_app.limits import IMAGE_TYPES, MAX_TILES, MAX_UPLOAD_BYTES, Concurrency
from space_app.reading_controls import reading_controls
from space_app.scene_search import Searched
from space_app.stage import data_url, empty_stage, problem_stage, stage
from space_app.wording import SEARCH_WELCOME, found_table, hint, note_of_search, problem, waiting

Changes = dict[object, object]


class SearchTab:
    """Laid out where it is made, inside the page that is being built.

    Args:
        demo: does the work.
        examples: entries of examples.json.
    """

    def __init__(self, demo: Demo, examples: list[dict[str, str]]) -> None:
        self.demo, self._examples = demo, examples
        with gr.Row(elem_classes="fg-page"):
            with gr.Column(scale=3, min_width=300):
                self._lay_out_request()
            with gr.Column(scale=8, min_width=320):
                self.note = gr.HTML(hint(SEARCH_WELCOME), elem_id="fg-search-note")
                self.stage = gr.HTML(empty_stage(), elem_id="fg-search-stage")
                self.found = gr.HTML("", elem_id="fg-found")
                with gr.Row(elem_classes="fg-downloads"):
                    self.picture_file, self.json_file, self.geojson_file = (
                        gr.DownloadButton(
                            f"Download {kind}",
                            interactive=False,
                            size="sm",
                            min_width=120,
                            elem_id=f"fg-search-{kind.lower()}",
                        )
                        for kind in ("PNG", "JSON", "GeoJSON")
                    )

    def connect(self, limits: dict[str, Concurrency]) -> None:
        """Attach the endpoint `search` and every handler.

        Args:
            limits: for each kind of work ("model", "reading") the arguments that bound its concurrency.
        """
        result = gr.JSON(visible=False, label="result")
        picture = gr.File(visible=False, label="picture", interactive=False)
        gr.Button(visible=False).click(
            self.search, self._asked, [result, picture], api_name="search", **limits["model"]
        )
        shown: list[Component] = [self.stage, self.note, self.found, *self._files]
        self._gallery.select(self._choose, None, [self.image, self.prior, self.words], api_visibility="private")
        self.image.change(
            self._look,
            [self.image, self.prior, self.band, self.place, *self.told],
            shown,
            api_visibility="private",
            **limits["reading"],
            show_progress="hidden",
        )
        self.image.upload(lambda: None, None, self.prior, api_visibility="private", queue=False, show_progress="hidden")
        gr.on(
            [self.button.click, self.words.submit],
            lambda: waiting(),
            None,
            self.note,
            api_visibility="private",
            queue=False,
            show_progress="hidden",
        ).then(
            self._show, self._asked, shown, api_visibility="private", **limits["model"], show_progress="hidden"
        ).failure(
            lambda: problem("Too many are searching at the moment. Wait a minute, then search again."),
            None,
            self.note,
            api_visibility="private",
            queue=False,
            show_progress="hidden",
        )

    def search(
        self,
        image: str | None,
        words: str,
        prior: str | None = None,
        tile: float | None = None,
        band: float | None = 1,
        place: str = "",
        stored: str = "",
        nodata: str = "",
        crs: str = "",
        height_m: float | None = None,
        polarization: str = "",
    ) -> Generator[tuple[dict[str, object], str | None]]:
        """The tiles of an image that fit words best, growing; the last item has all of them, and the heat map."""
        told = Told(band, stored, nodata, crs, height_m, polarization)
        try:
            searched = None
            for searched in self.demo.searches(image, words, prior, tile, told, place):
                if searched.state == "searching":
                    yield searched.as_json(), None
            assert searched is not None, "a search has a first state"
            files = self._write(searched)
            yield {**searched.as_json(), "geojson": searched.feature_collection()}, files[0]
        except InputError as error:
            message = self.demo.message(error, image, prior)
            raise gr.Error(message, title="This cannot be searched", print_exception=False) from error

    def _lay_out_request(self) -> None:
        with gr.Column(elem_classes="fg-step"):
            gr.HTML(
                "<h2><span>1</span> Image</h2><p>It is cut into tiles, each of which is compared with the words.</p>"
            )
            self._gallery = gr.Gallery(
                [(EXAMPLES / example["thumbnail"], example["caption"]) for example in self._examples],
                show_label=False,
                label="Images to search",
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
                elem_id="fg-search-image",
            )
            self.prior = gr.File(
                label="Its anchors (.npz), optional", file_types=[".npz"], height=130, elem_id="fg-search-prior"
            )
            self.band = gr.Number(1, label="Band to search", precision=0, minimum=1)
            self.place = gr.Textbox(
                "", label="Bounds of the image", info="West, south, east, north in degrees, if the file has none."
            )
            told = reading_controls()
            self.told: list[Component] = [
                told[name] for name in ("stored", "nodata", "crs", "height_m", "polarization")
            ]
        with gr.Column(elem_classes="fg-step"):
            gr.HTML("<h2><span>2</span> Words</h2><p>As in a caption; Enter searches.</p>")
            self.words = gr.Textbox(
                "",
                label="Search for",
                placeholder="ships at anchor off a port",
                max_lines=3,
                elem_id="fg-words",
            )
            self.tile = gr.Number(
                None,
                label="Tile",
                info=f"Side in pixels, at most {MAX_TILES:,} tiles; empty: what the model sees unscaled.",
                precision=0,
                elem_id="fg-tile",
            )
            self.button = gr.Button("Search", variant="primary", elem_id="fg-search")

    @property
    def numbers(self) -> list[Component]:
        """Fields that show 0 until they are told that there is none."""
        return [self.tile, self.told[3]]

    @property
    def _asked(self) -> list[Component]:
        return [self.image, self.words, self.prior, self.tile, self.band, self.place, *self.told]

    @property
    def _files(self) -> list[gr.DownloadButton]:
        return [self.picture_file, self.json_file, self.geojson_file]

    def _choose(self, event: gr.SelectData) -> Changes:
        example = self._examples[event.index]
        return {
            self.image: str(EXAMPLES / example["image"]),
            self.prior: str(EXAMPLES / example["prior"]),
            self.words: "",
        }

    def _look(
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
    ) -> Changes:
        """A new image is shown."""
        blank: Changes = {self.found: "", **{button: gr.DownloadButton(interactive=False) for button in self._files}}
        if image is None:
            return {**blank, self.stage: empty_stage(), self.note: hint(SEARCH_WELCOME)}
        try:
            scene = self.demo.look(image, Told(band, stored, nodata, crs, height_m, polarization), place)
        except InputError as error:
            return {**blank, self.stage: problem_stage(self.demo.message(error, image)), self.note: ""}
        return {**blank, self.stage: stage(scene, None), self.note: hint("Write what to search for.")}

    def _show(
        self,
        image: str | None,
        words: str,
        prior: str | None,
        tile: float | None,
        band: float | None,
        place: str,
        stored: str,
        nodata: str,
        crs: str,
        height_m: float | None,
        polarization: str,
    ) -> Generator[Changes]:
        """How far it is, then the heat map, the best tiles, and what can be taken home."""
        told = Told(band, stored, nodata, crs, height_m, polarization)
        try:
            searched = None
            # A number field that is empty says 0.
            for searched in self.demo.searches(image, words, prior, tile or None, told, place):
                yield {self.note: note_of_search(searched)}
            assert searched is not None, "a search has a first state"
            picture, found, geojson = self._write(searched)
            described = f"Heat map of the scores for these words over {searched.scene.name}"
            drawn = f'<img src="{data_url(searched.draw())}" alt="{html.escape(described, quote=True)}">'
            yield {
                self.stage: f'<figure class="fg-stage"><div class="fg-layers">{drawn}</div></figure>',
                self.found: found_table(searched),
                self.picture_file: gr.DownloadButton(value=picture, interactive=True),
                self.json_file: gr.DownloadButton(value=found, interactive=True),
                self.geojson_file: gr.DownloadButton(value=geojson, interactive=geojson is not None),
            }
        except InputError as error:
            yield {self.note: problem(self.demo.message(error, image, prior)), self.found: ""}

    def _write(self, searched: Searched) -> tuple[str, str, str | None]:
        """Paths of the heat map, the list and the map; None for the map where no place is known."""
        folder = self.demo.scratch.new_folder()
        searched.draw().save(folder / "found.png")
        found = write_json(folder / "found.json", searched.as_json())
        places = searched.feature_collection()
        geojson = None if places is None else write_json(folder / "found.geojson", places)
        return str(folder / "found.png"), found, geojson
