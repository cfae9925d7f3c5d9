"""FUSAR-GPT in the browser: a SAR image and a question in, the answer streamed and drawn on the image.

Run as a script in a Space, or by `fusargpt demo`. The environment variable FUSARGPT_MODEL names the model: a folder, or
`owner/name` on the Hub; without it, fusargpt-nano, which comes with the package.
"""

import html
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.themes import Default

from checkpoints import NANO
from fusar_geo.embeddings import ATTRIBUTION
from fusar_geo.errors import InputError
from modeling_fusargpt.predict import MAX_NEW_TOKENS, FusarGpt, load
from modeling_fusargpt.tasks import TARGETS

if __package__:
    from space_app.drawing import draw_answer, enlarge
    from space_app.inputs import FREE, TASKS_WITH_TARGET, read_question, read_seen_image, read_small_prior
    from space_app.streaming import stream_answer
else:  # In a Space this file is a script, and the modules beside it are in no package.
    from drawing import draw_answer, enlarge
    from inputs import FREE, TASKS_WITH_TARGET, read_question, read_seen_image, read_small_prior
    from streaming import stream_answer

EXAMPLES = Path(__file__).resolve().with_name("examples")
MAX_UPLOAD_BYTES = 64 * 2**20
QUEUE_LENGTH = 20  # requests that wait for the model; further ones are refused with a message
TASK_CHOICES = [
    ("Describe", "describe"),
    ("Count", "count"),
    ("Localize", "localize"),
    ("Classify", "classify"),
    ("Detect", "detect"),
    ("Ask freely", FREE),
]
# System fonts: the page asks no other server for anything.
THEME = Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
WELCOME = "Choose an example or upload an image, then ask."
NOTHING = ("", "", None)


class Demo:
    """What the page does, on one model; answers are cut after `max_new_tokens`."""

    def __init__(self, predictor: FusarGpt, max_new_tokens: int = MAX_NEW_TOKENS):
        self.predictor = predictor
        self.max_new_tokens = max_new_tokens

    def ask(
        self,
        image: str | None = None,
        prior: str | None = None,
        task: str = "describe",
        target: str = "ship",
        question: str = "",
        compare: bool = False,
    ) -> Iterator[tuple[Any, ...]]:
        """Answer one question about one image.

        Args:
            image: path of a PNG, JPEG or TIFF file.
            prior: path of an .npz file as `fusar_geo.prior.save_prior` writes it, or None.
            task: one of the five tasks, or "free" to ask `question`.
            target: "ship" or "aircraft"; used by count, localize and detect.
            question: used by "free" alone.
            compare: answer with the prior, then without it.

        Yields:
            Answer so far, note and picture, with the prior if there is one; the same without it, empty unless compared.

        Raises:
            gr.Error: an input that is not what it should be; the message says what to do.
        """
        try:
            asked = read_question(task, target, question)
            picture, seen = read_seen_image(self.predictor, image)
            anchors = None if prior is None else read_small_prior(prior)
            if compare and anchors is None:
                raise InputError("Side by side needs a prior: upload its .npz file, or choose an example.")
            start = ("", "Thinking ...", enlarge(seen))
            yield *start, *(start if compare else NOTHING)
            done = []
            for given in [anchors, None] if compare else [anchors]:
                answer = ""
                for answer in stream_answer(self.predictor, picture, asked, given, self.max_new_tokens):
                    unchanged = (gr.skip(), gr.skip(), gr.skip())
                    growing = (answer, "Answering ...", gr.skip())
                    yield *(unchanged if done else growing), *(growing if done else unchanged)
                drawing, note = draw_answer(seen, None if task == FREE else task, answer)
                how = "Without a prior." if given is None else f"With a prior of {len(given.embeddings)} anchors."
                done.append((answer, f"{how} {note}".strip(), drawing))
            yield *done[0], *(done[1] if compare else NOTHING)
        except InputError as error:
            raise _message(error, image, prior) from error

    def preview(self, image: str | None) -> tuple[Any, ...]:
        """The image as the model sees it, before a question."""
        if image is None:
            return "", WELCOME, None, *NOTHING
        try:
            _, seen = read_seen_image(self.predictor, image)
        except InputError as error:
            raise _message(error, image) from error
        return "", f"The model sees {seen.width} x {seen.height} pixels.", enlarge(seen), *NOTHING


def build(predictor: FusarGpt, name: str, max_new_tokens: int = MAX_NEW_TOKENS) -> gr.Blocks:
    """The page, with the endpoint `ask`; `name` is the model's, as the page shows it."""
    demo = Demo(predictor, max_new_tokens)
    examples = json.loads((EXAMPLES / "examples.json").read_text())

    def choose(event: gr.SelectData) -> tuple[str, str, str, str]:
        example = examples[event.index]
        return str(EXAMPLES / example["image"]), str(EXAMPLES / example["prior"]), example["task"], example["target"]

    with gr.Blocks(title="FUSAR-GPT", analytics_enabled=False, delete_cache=(3600, 3600)) as page:
        gr.Markdown(
            "# FUSAR-GPT\nAsk questions about a SAR image, with or without an AlphaEarth prior of the same place. "
            f"Model: `{name}`"
        )
        with gr.Row():
            with gr.Column(scale=3, min_width=320):
                gr.Markdown("Simulated examples, with what is there:")
                chosen = gr.Gallery(
                    [(EXAMPLES / example["image"], example["caption"]) for example in examples],
                    show_label=False,
                    columns=len(examples),
                    height=180,
                    allow_preview=False,
                    interactive=False,
                    buttons=[],
                )
                with gr.Row():
                    image = gr.File(
                        label="SAR image (PNG, JPEG, TIFF)",
                        file_types=[".png", ".jpg", ".jpeg", ".tif", ".tiff"],
                        height=150,
                    )
                    prior = gr.File(label="Its prior (.npz), optional", file_types=[".npz"], height=150)
                task = gr.Radio(TASK_CHOICES, value="describe", label="Task")
                target = gr.Radio(list(TARGETS), value="ship", label="Target", visible=False)
                question = gr.Textbox(
                    "", label="Question", placeholder="What is on the water?", max_lines=4, visible=False
                )
                compare = gr.Checkbox(label="Side by side: with and without the prior")
                ask = gr.Button("Ask", variant="primary")
            with gr.Column(scale=4, min_width=320), gr.Row():
                with gr.Column(min_width=280):
                    first = _column("", WELCOME)
                with gr.Column(visible=False, min_width=280) as without_prior:
                    second = _column(" without the prior", "")
        gr.Markdown(f"Examples are simulated. {ATTRIBUTION}")

        # Waiting and failing are shown once, on the picture, and not on each of the six outputs.
        *_, shown_on = first
        image.change(demo.preview, image, [*first, *second], show_progress_on=shown_on, api_visibility="private")
        # A prior belongs to one image; the last one's would be of another place.
        image.upload(lambda: None, None, prior, api_visibility="private")
        chosen.select(choose, None, [image, prior, task, target], api_visibility="private")
        task.change(
            lambda task: (gr.Radio(visible=task in TASKS_WITH_TARGET), gr.Textbox(visible=task == FREE)),
            task,
            [target, question],
            api_visibility="private",
        )
        compare.change(lambda compare: gr.Column(visible=compare), compare, without_prior, api_visibility="private")
        gr.on(
            [ask.click, question.submit],
            demo.ask,
            [image, prior, task, target, question, compare],
            [*first, *second],
            api_name="ask",
            concurrency_limit=1,
            show_progress="minimal",
            show_progress_on=shown_on,
        )
    return page.queue(max_size=QUEUE_LENGTH)


def launch(page: gr.Blocks, host: str | None = None, port: int | None = None, wait: bool = True) -> str:
    """Serve `page` and return its address, with `wait` only after it was closed.

    `host` and `port` are Gradio's own choice when None: 127.0.0.1 or what a Space sets, and the first free port from
    7860 on.

    Raises:
        InputError: the port is taken, or the host is not one of this machine.
    """
    try:
        _, address, _ = page.launch(
            server_name=host,
            server_port=port,
            prevent_thread_lock=not wait,
            max_file_size=MAX_UPLOAD_BYTES,
            allowed_paths=[str(EXAMPLES)],
            theme=THEME,
            footer_links=["api"],
        )
    except OSError as error:
        raise InputError(f"cannot serve on {host} port {port}: {error}") from error
    return address


def serve(model: str, host: str | None = None, port: int | None = None) -> None:
    """Load a model and serve its page until interrupted; raises what `load` and `launch` raise."""
    # A folder by its name alone: visitors need not know where it is kept.
    name = Path(model).name if Path(model).is_dir() else model
    launch(build(load(model), name), host, port)


def chosen_model() -> str:
    """What FUSARGPT_MODEL names, or the folder of fusargpt-nano."""
    return os.environ.get("FUSARGPT_MODEL", str(NANO))


def _column(suffix: str, hint: str) -> tuple[gr.Textbox, gr.Markdown, gr.Image]:
    # The answer above the picture, which may be higher than the window.
    answer = gr.Textbox(label=f"Answer{suffix}", interactive=False, lines=2, buttons=["copy"])
    note = gr.Markdown(hint, label=f"Note{suffix}")
    picture = gr.Image(label=f"Image{suffix}", interactive=False, format="png", buttons=["download", "fullscreen"])
    return answer, note, picture


def _message(error: InputError, *paths: str | None) -> gr.Error:
    """For the page: a file by its name, not by where the server keeps it, and markup of a file's content as text."""
    text = str(error)
    for path in paths:
        if path is not None:
            text = text.replace(str(path), Path(path).name)
    return gr.Error(html.escape(text, quote=False), title="This cannot be answered", print_exception=False)


if __name__ == "__main__":
    try:
        serve(chosen_model())
    except InputError as error:
        sys.exit(f"error: {error}")
