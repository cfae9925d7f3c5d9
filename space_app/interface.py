"""How the page is laid out: what an answer takes on the left, the answer in the middle, place and prior right of it."""

import html
import json
from typing import Any

import gradio as gr

from fusargpt.geo.embeddings import ATTRIBUTION
from fusargpt.tasks.target_names import TARGETS
from space_app.demo import Demo
from space_app.endpoints import add_endpoints
from space_app.events import Events
from space_app.fields import EXAMPLES
from space_app.inputs import FREE
from space_app.limits import (
    IMAGE_TYPES,
    KEEP_SECONDS,
    MAX_ANCHORS_PER_SIDE,
    MAX_AT_ONCE,
    MAX_UPLOAD_BYTES,
    QUEUE_LENGTH,
    Concurrency,
)
from space_app.place_map import place_map
from space_app.reading_controls import reading_controls
from space_app.scene_tab import SceneTab
from space_app.search_tab import SearchTab
from space_app.stage import empty_stage
from space_app.widgets import AnswerView, Widgets
from space_app.wording import WELCOME, earlier, hint

TASK_CHOICES = [
    ("Describe", "describe"),
    ("Count", "count"),
    ("Localize", "localize"),
    ("Classify", "classify"),
    ("Detect", "detect"),
    ("Ask freely", FREE),
]
# How many of each kind of work run at the same time. An answer takes all the cores there are: of those at the model,
# one is answered (see `space_app.streaming`), while the images of the others are read.
LIMITS: dict[str, Concurrency] = {
    "model": {"concurrency_id": "model", "concurrency_limit": 4},
    # More than one visitor may have under way, whose files are read one by one.
    "reading": {"concurrency_id": "reading", "concurrency_limit": MAX_AT_ONCE + 1},
    "fetching": {"concurrency_id": "fetching", "concurrency_limit": 2},
}


def build(demo: Demo) -> gr.Blocks:
    """The page of one model, with its named endpoints."""
    examples = json.loads((EXAMPLES / "examples.json").read_text())
    with gr.Blocks(
        title="FUSAR-GPT", analytics_enabled=False, fill_width=True, delete_cache=(KEEP_SECONDS // 4, KEEP_SECONDS)
    ) as page:
        gr.HTML(
            '<header class="fg-head"><h1>FUSAR-GPT</h1><p>Ask about a SAR image, with or without what AlphaEarth knows '
            f"of the place. Model: <code>{html.escape(demo.name)}</code></p></header>"
        )
        searching: SearchTab | None = None
        with gr.Tabs():
            with gr.Tab("Ask"), gr.Row(elem_classes="fg-page"):
                with gr.Column(scale=3, min_width=300):
                    asking = _image_and_question(examples, list(demo.predictor.targets or TARGETS))
                with gr.Column(scale=6, min_width=320):
                    results = _results()
                with gr.Column(scale=3, min_width=300):
                    knowing = _place_and_prior(list(demo.fields))
            with gr.Tab("Whole scene", elem_id="fg-scene-tab"):
                asking_scenes = SceneTab(demo, examples)
            if demo.scene_search is not None:
                with gr.Tab("Search", elem_id="fg-search-tab"):
                    searching = SearchTab(demo, examples)
        gr.HTML(f'<p class="fg-foot">Examples are simulated. {ATTRIBUTION} Outlines of the map: Natural Earth.</p>')
        widgets = Widgets(**asking, **results, **knowing)
        # First, so that their names are theirs: events have those of their functions.
        add_endpoints(demo, widgets, LIMITS)
        asking_scenes.connect(LIMITS)
        if searching is not None:
            searching.connect(LIMITS)
        Events(demo, widgets, examples, LIMITS).connect()
        # A number field shows 0 until it is told that there is none.
        empty = [widgets.year, widgets.height_m, *asking_scenes.numbers]
        empty += [] if searching is None else searching.numbers
        page.load(
            lambda: [None] * len(empty), None, empty, queue=False, show_progress="hidden", api_visibility="private"
        )
    # Requests straight to the run endpoints would pass the queue and its limits.
    return page.queue(max_size=QUEUE_LENGTH, api_open=False)


def _image_and_question(examples: list[dict[str, str]], targets: list[str]) -> dict[str, Any]:
    """All that an answer takes, so that it fits on one screen."""
    made: dict[str, Any] = {}
    with gr.Column(elem_classes="fg-step"):
        gr.HTML("<h2><span>1</span> Image</h2><p>Simulated ones say what is truly there.</p>")
        made["examples"] = gr.Gallery(
            [(EXAMPLES / example["thumbnail"], example["caption"]) for example in examples],
            show_label=False,
            label="Examples",
            columns=len(examples),
            rows=1,
            allow_preview=False,
            interactive=False,
            buttons=[],
            height="auto",
            elem_classes="fg-examples",
        )
        made["image"] = gr.File(
            label=f"Yours: TIFF, PNG or JPEG to {MAX_UPLOAD_BYTES // 2**20} MB",
            file_types=IMAGE_TYPES,
            height=110,
            elem_id="fg-image",
        )
    with gr.Column(elem_classes="fg-step"):
        gr.HTML("<h2><span>2</span> Question</h2>")
        made["task"] = gr.Radio(TASK_CHOICES, value="describe", label="Task")
        made["target"] = gr.Radio(targets, value=targets[0], label="Target", visible=False)
        made["question"] = gr.Textbox(
            "",
            label="Question",
            placeholder="What is on the water? (Enter asks)",
            max_lines=4,
            visible=False,
        )
        made["compare"] = gr.Checkbox(label="Side by side: with the prior, and without")
        made["ask"] = gr.Button("Ask", variant="primary", elem_id="fg-ask")
        made["stop"] = gr.Button("Stop", variant="stop", visible=False, elem_id="fg-stop")
        made["least"] = gr.Slider(
            0,
            1,
            value=0,
            step=0.01,
            label="Least score",
            info="Boxes of which the model was less sure are not shown; moving it asks nothing again.",
            visible=False,
            elem_id="fg-least",
        )
    # Below the button, which has to be in sight: few files need them.
    with gr.Column(elem_classes="fg-step"):
        made["band"] = gr.Number(
            1, label="Band", info="Which band of the file to look at.", precision=0, minimum=1, visible=False
        )
        made |= reading_controls()
    return made


def _place_and_prior(fields: list[str]) -> dict[str, Any]:
    """Where the image lies and what is known of the place; none of it is needed for an answer."""
    made: dict[str, Any] = {}
    with gr.Column(elem_classes="fg-step"):
        gr.HTML("<h2>Place <small>optional</small></h2><p>Where and when the image was taken.</p>")
        made["map"] = gr.HTML(place_map(None, None), elem_id="fg-map")
        made["place"] = gr.Textbox(
            "",
            label="Bounds",
            info="West, south, east, north in degrees: from the file, or typed (Enter shows them on the map).",
            placeholder="8.05, 53.56, 8.07, 53.57",
            max_lines=1,
        )
        made["year"] = gr.Number(
            None,
            label="Year",
            info="Filled in from the file's date.",
            precision=0,
            placeholder="2024",
            elem_id="fg-year",
        )
    with gr.Column(elem_classes="fg-step"):
        gr.HTML("<h2>Prior <small>optional</small></h2><p>Without one, the model looks at the image alone.</p>")
        made["field"] = gr.Dropdown(
            fields,
            value=fields[0] if fields else None,
            label="AlphaEarth field",
            info="Where anchors are fetched from; the published ones need a network.",
        )
        made["per_side"] = gr.Slider(
            1, MAX_ANCHORS_PER_SIDE, value=8, step=1, label="Anchors a side", info="mini was trained with 8 x 8."
        )
        made["fetch"] = gr.Button("Fetch anchors", elem_id="fg-fetch")
        made["fetched"] = gr.HTML("", elem_id="fg-fetched")
        made["prior"] = gr.File(
            label="Anchors (.npz): fetched or your own", file_types=[".npz"], height=130, elem_id="fg-prior"
        )
    return made


def _results() -> dict[str, Any]:
    """The image with its answer, twice for a comparison, and what can be taken home."""
    made: dict[str, Any] = {}
    with gr.Row(elem_classes="fg-answers", elem_id="fg-answer"):
        with gr.Column(min_width=280):
            made["first"] = _answer_view("Answer", empty_stage(), hint(WELCOME), "fg-first")
        with gr.Column(min_width=280, visible=False) as beside:
            made["second"] = _answer_view("Answer without the prior", "", "", "fg-second")
    made["beside"] = beside
    with gr.Row(elem_classes="fg-downloads"):
        for name, label in (("picture_file", "PNG"), ("json_file", "JSON"), ("geojson_file", "GeoJSON")):
            made[name] = gr.DownloadButton(
                f"Download {label}", interactive=False, size="sm", min_width=120, elem_id=f"fg-{label.lower()}"
            )
    with gr.Accordion("Earlier questions about this image", open=False):
        made["earlier"] = gr.HTML(earlier([]))
    made["history"] = gr.State([], time_to_live=KEEP_SECONDS)
    return made


def _answer_view(label: str, stage: str, note: str, name: str) -> AnswerView:
    # The picture last: it may be higher than the window.
    return AnswerView(
        note=gr.HTML(note, elem_id=f"{name}-note"),
        text=gr.Textbox(
            label=label,
            interactive=False,
            lines=2,
            max_lines=12,
            buttons=["copy"],
            placeholder="What the model writes appears here.",
            elem_id=f"{name}-text",
        ),
        stage=gr.HTML(stage, elem_id=f"{name}-stage"),
    )
