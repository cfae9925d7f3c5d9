"""The controls and results of the page, which its layout makes and its events connect."""

from dataclasses import dataclass

import gradio as gr
from gradio.components import Component


@dataclass(frozen=True)
class AnswerView:
    """One answer: the image that it is drawn on, its text, and a line about it."""

    stage: gr.HTML
    text: gr.Textbox
    note: gr.HTML


@dataclass(frozen=True)
class Widgets:
    """Everything that an event reads or changes."""

    examples: gr.Gallery
    image: gr.File
    band: gr.Number
    map: gr.HTML
    stored: gr.Dropdown
    nodata: gr.Textbox
    crs: gr.Textbox
    height_m: gr.Number
    polarization: gr.Textbox
    place: gr.Textbox
    year: gr.Number
    field: gr.Dropdown
    per_side: gr.Slider
    fetch: gr.Button
    fetched: gr.HTML
    prior: gr.File
    task: gr.Radio
    target: gr.Radio
    question: gr.Textbox
    compare: gr.Checkbox
    least: gr.Slider
    ask: gr.Button
    stop: gr.Button
    first: AnswerView
    second: AnswerView
    beside: gr.Column
    picture_file: gr.DownloadButton
    json_file: gr.DownloadButton
    geojson_file: gr.DownloadButton
    earlier: gr.HTML
    history: gr.State

    @property
    def asked(self) -> list[Component]:
        """The controls that make a question."""
        asked: list[Component] = [self.image, self.prior, self.task, self.target, self.question, self.compare]
        return [*asked, self.band, self.place, *self.told, self.least]

    @property
    def told(self) -> list[Component]:
        """What is said of the file beside its band, in the order of `space_app.inputs.Told`."""
        return [self.stored, self.nodata, self.crs, self.height_m, self.polarization]
