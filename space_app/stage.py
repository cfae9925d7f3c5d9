"""The picture on the page, as HTML: the image as the model sees it, and a slider that uncovers the prior over it."""

import base64
import html
import io

from PIL import Image

from fusargpt.geo.prior import Prior
from fusargpt.geo.prior_colours import mark_anchors, over_image
from fusargpt.tasks.seen_size import is_shrunk
from space_app.drawing import draw_answer, enlarge
from space_app.inputs import FREE
from space_app.one_question import GivenAnswer
from space_app.scenes import UploadedScene

_LONGEST_SIDE = 1280
"""Of the pictures in the page; downloads are whole."""
_HALF = 50
"""Of the image under the prior, until an answer is drawn on it: that shall be covered by nothing."""
_UNCOVER = "this.closest('figure').style.setProperty('--fg-share', this.value + '%')"


def draw(scene: UploadedScene, answer: GivenAnswer | None) -> tuple[Image.Image, str]:
    """The enlarged image with what the answer says about places, and a line about it; "" when there is none."""
    if answer is None or answer.state == "writing":
        return enlarge(scene.seen), ""
    task = None if answer.task == FREE else answer.task
    return draw_answer(scene.seen, task, answer.text, answer.question, answer.scores, answer.least)


def stage(scene: UploadedScene, prior: Prior | None, answer: GivenAnswer | None = None) -> str:
    """HTML of the image; with a prior, of its false colours and anchors under a slider, which an answer draws back."""
    front, note = draw(scene, answer)
    described = html.escape(f"{scene.name} as the model sees it. {note}".strip(), quote=True)
    picture = f'<img src="{data_url(front)}" alt="{described}">'
    if prior is None or not len(prior.embeddings):
        return f'<figure class="fg-stage"><div class="fg-layers">{picture}</div>{_caption(scene, None)}</figure>'
    task = "describe" if answer is None or answer.state == "writing" else answer.task
    coloured = over_image(scene.seen, prior)
    text, scores, least = ("", (), 0.0) if answer is None else (answer.text, answer.scores, answer.least)
    share = _HALF if answer is None or answer.state == "writing" else 0
    drawn, _ = draw_answer(coloured, None if task == FREE else task, text, scores=scores, least=least)
    behind = mark_anchors(drawn, prior)
    return (
        f'<figure class="fg-stage" style="--fg-share:{share}%"><div class="fg-layers">{picture}'
        f'<img class="fg-prior" src="{data_url(behind)}" alt="The prior in false colour, with its anchors">'
        '<span class="fg-edge" aria-hidden="true"></span></div>'
        '<label class="fg-slider"><span>SAR</span><input type="range" min="0" max="100" '
        f'value="{share}" aria-label="How much of the prior is shown" '
        f'oninput="{_UNCOVER}"><span>prior</span></label>'
        f"{_caption(scene, prior)}</figure>"
    )


def scene_stage(scene: UploadedScene, picture: Image.Image) -> str:
    """HTML of a whole scene, on which a visitor may draw an area with the mouse; see `AREA_SCRIPT`."""
    width, height = scene.picture.size
    shown = html.escape(f"{scene.name}, the whole scene", quote=True)
    return (
        f'<figure class="fg-stage fg-drawable" data-width="{width}" data-height="{height}"><div class="fg-layers">'
        f'<img src="{data_url(picture)}" alt="{shown}" draggable="false"><span class="fg-area" hidden></span></div>'
        f"<figcaption>{width} x {height} pixels. Drag over it to choose an area; a click chooses all of it.<br>"
        f'<small class="fg-read-as">{html.escape(scene.read_as)}</small></figcaption></figure>'
    )


AREA_SCRIPT = """
const start = {};
const pixels = (event) => {
  const figure = element.querySelector(".fg-drawable"), image = figure.querySelector("img");
  const rect = image.getBoundingClientRect(), width = +figure.dataset.width, height = +figure.dataset.height;
  const scale = Math.min(rect.width / width, rect.height / height);
  const left = rect.left + (rect.width - width * scale) / 2, top = rect.top + (rect.height - height * scale) / 2;
  const within = (value, most) => Math.round(Math.min(Math.max(value, 0), most));
  return {x: within((event.clientX - left) / scale, width), y: within((event.clientY - top) / scale, height),
          scale, left: left - rect.left, top: top - rect.top};
};
const draw = (event) => {
  const to = pixels(event), area = element.querySelector(".fg-area");
  const box = [Math.min(start.x, to.x), Math.min(start.y, to.y), Math.max(start.x, to.x), Math.max(start.y, to.y)];
  area.hidden = false;
  area.style.left = to.left + box[0] * to.scale + "px";
  area.style.top = to.top + box[1] * to.scale + "px";
  area.style.width = (box[2] - box[0]) * to.scale + "px";
  area.style.height = (box[3] - box[1]) * to.scale + "px";
  return {box, seen: Math.max(box[2] - box[0], box[3] - box[1]) * to.scale};
};
element.addEventListener("pointerdown", (event) => {
  // A finger scrolls the page.
  if (event.pointerType === "touch" || event.button || !event.target.closest(".fg-drawable .fg-layers")) return;
  event.preventDefault();
  Object.assign(start, pixels(event), {drawing: true});
});
window.addEventListener("pointermove", (event) => start.drawing && draw(event));
window.addEventListener("pointerup", (event) => {
  if (!start.drawing) return;
  start.drawing = false;
  const drawn = draw(event), field = document.querySelector("#fg-area textarea, #fg-area input");
  const none = drawn.seen < 4;
  element.querySelector(".fg-area").hidden = none;
  field.value = none ? "" : drawn.box.join(", ");
  field.dispatchEvent(new Event("input", {bubbles: true}));
});
"""
"""Of the component that holds a `scene_stage`: what is drawn on it stands in the text field #fg-area, in pixels."""


def empty_stage() -> str:
    """Before there is an image."""
    return (
        '<figure class="fg-stage fg-blank"><div><p class="fg-big">Choose an example, or upload a SAR image.</p>'
        "<p>It is shown here as the model sees it, and the answer is drawn on it.</p></div></figure>"
    )


def problem_stage(message: str) -> str:
    """Instead of an image that cannot be shown; `message` is escaped already."""
    return (
        '<figure class="fg-stage fg-blank fg-problem" role="alert"><div>'
        f'<p class="fg-big">This image cannot be used.</p><p>{message}</p></div></figure>'
    )


def _caption(scene: UploadedScene, prior: Prior | None) -> str:
    width, height = scene.seen.size
    parts = [f"{scene.picture.width} x {scene.picture.height} pixels, seen by the model at {width} x {height}"]
    known = [word for word in (scene.sensor, "+".join(filter(None, scene.bands))) if word]
    if known:
        parts.append(" ".join(known))
    if scene.acquired is not None:
        parts.append(scene.acquired.isoformat())
    if prior is not None:
        parts.append(f"{len(prior.embeddings)} anchors, in false colours that are the same for all images")
    problem = (
        ""
        if not scene.problem
        else f'<br><span role="alert">Georeference not used: {html.escape(scene.problem)}</span>'
    )
    shrunk = (
        ""
        if not is_shrunk(*scene.picture.size, width, height)
        else '<br><strong class="fg-shrunk" role="status">Seen at less than half its size: small targets are lost. '
        "The tab <i>Whole scene</i> asks it in tiles, as <code>fusargpt detect</code> and <code>count</code> do."
        "</strong>"
    )
    read_as = f'<br><small class="fg-read-as">{html.escape(scene.read_as)}</small>'
    return f"<figcaption>{html.escape(' · '.join(parts))}{shrunk}{read_as}{problem}</figcaption>"


def data_url(picture: Image.Image) -> str:
    """As the source of an `img`, at most 1,280 pixels on a side."""
    if max(picture.size) > _LONGEST_SIDE:
        picture = picture.copy()
        picture.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    encoded = io.BytesIO()
    # Grey levels as such: a third of the bytes of the same in colour.
    red, green, blue = (band.tobytes() for band in picture.split())
    (picture.convert("L") if red == green == blue else picture).save(encoded, "PNG", compress_level=6)
    return "data:image/png;base64," + base64.b64encode(encoded.getvalue()).decode()
