"""The page on a tiny model: its functions directly, and its endpoint over loopback."""

import json
import re
import runpy
import shutil
import sys
from pathlib import Path

import gradio as gr
import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from fusar_geo.errors import InputError
from fusar_geo.image import read_image
from fusar_geo.prior import load_prior
from modeling_fusargpt.predict import FusarGpt
from modeling_fusargpt.tasks import TASKS, prompt
from space_app import app
from space_app.app import EXAMPLES, Demo, build, launch
from tests.tiny import stir_tlm, tiny_model, tiny_processor

LISTED = json.loads((EXAMPLES / "examples.json").read_text())
IMAGE, PRIOR = str(EXAMPLES / "harbour.png"), str(EXAMPLES / "harbour.npz")
MAX_NEW_TOKENS = 8
SMALL_LIMIT = 2**20


@pytest.fixture(scope="module")
def predictor() -> FusarGpt:
    model = tiny_model()
    stir_tlm(model)
    return FusarGpt(model, tiny_processor())


@pytest.fixture(scope="module")
def demo(predictor) -> Demo:
    return Demo(predictor, MAX_NEW_TOKENS)


@pytest.fixture(scope="module")
def address(predictor):
    page = build(predictor, "tiny", MAX_NEW_TOKENS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app, "MAX_UPLOAD_BYTES", SMALL_LIMIT)
        yield launch(page, wait=False)
    page.close()


@pytest.fixture(scope="module")
def client(address) -> Client:
    return Client(address, verbose=False)


def expected(predictor: FusarGpt, question: str, prior: bool) -> str:
    given = load_prior(PRIOR) if prior else None
    return predictor.answer(read_image(IMAGE), question, given, MAX_NEW_TOKENS)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_is_answered_with_the_prior(demo, predictor, task):
    *earlier, last = demo.ask(IMAGE, PRIOR, task, "aircraft", "", False)
    answer, note, picture, *without = last
    assert answer == expected(predictor, prompt(task, "aircraft"), prior=True)
    assert note.startswith("With a prior of 64 anchors.")
    assert min(picture.size) >= 640
    assert without == ["", "", None]
    # The image is there before the answer.
    assert isinstance(earlier[0][2], Image.Image)


def test_side_by_side_answers_with_and_without_the_prior(demo, predictor):
    *_, last = demo.ask(IMAGE, PRIOR, "free", "ship", "What is this?", True)
    with_prior, _, _, without_prior, note, _ = last
    assert with_prior == expected(predictor, "What is this?", prior=True)
    assert without_prior == expected(predictor, "What is this?", prior=False)
    assert with_prior != without_prior
    assert note.startswith("Without a prior.")


def test_the_preview_is_the_image_at_the_size_that_the_model_sees(demo):
    _, note, picture, *_ = demo.preview(IMAGE)
    assert note == "The model sees 128 x 128 pixels."
    assert picture.size == (640, 640)
    assert demo.preview(None)[2] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image": None}, "Upload an image first"),
        ({"prior": None, "compare": True}, "Side by side needs a prior"),
        ({"task": "free"}, "Write a question first"),
        ({"image": PRIOR}, "harbour.npz: not a PNG, JPEG or TIFF image"),
        ({"prior": IMAGE}, "harbour.png: not an .npz file"),
    ],
)
def test_wrong_input_is_a_message_without_the_server_s_paths(demo, arguments, message):
    with pytest.raises(gr.Error) as caught:
        list(demo.ask(**{"image": IMAGE, "prior": PRIOR, **arguments}))
    assert message in caught.value.message
    assert str(EXAMPLES) not in caught.value.message


def test_markup_in_a_file_is_shown_as_text(demo, tmp_path):
    (tmp_path / "image.png").write_bytes(b"<b>no")
    with pytest.raises(gr.Error) as caught:
        demo.preview(str(tmp_path / "image.png"))
    assert "<b>" not in caught.value.message


def test_the_endpoint_streams_what_the_model_says(client, predictor):
    job = client.submit(image=handle_file(IMAGE), prior=handle_file(PRIOR), task="count", api_name="/ask")
    answer, note, picture, *without = job.result(timeout=60)
    assert answer == expected(predictor, prompt("count"), prior=True)
    assert note.startswith("With a prior of 64 anchors.")
    with Image.open(picture) as drawn:
        assert drawn.size == (640, 640)
    assert without == ["", "", None]
    assert len(job.outputs()) > 1


def test_the_endpoint_says_what_is_wrong(client, tmp_path):
    (tmp_path / "chip.png").write_bytes(b"text")
    with pytest.raises(AppError, match=r"^chip\.png: not a PNG, JPEG or TIFF image"):
        client.predict(image=handle_file(tmp_path / "chip.png"), api_name="/ask")


def upload(address: str, content: bytes) -> httpx.Response:
    return httpx.post(f"{address}gradio_api/upload", files={"files": ("chip.png", content)}, timeout=60)


def outcome(address: str, path: str) -> str:
    """How a request without a client ends that names `path` as its image: complete or error."""
    call = f"{address}gradio_api/call/ask"
    named = {"path": path, "meta": {"_type": "gradio.FileData"}}
    event = httpx.post(call, json={"data": [named, None, "describe", "ship", "", False]}).json()["event_id"]
    return re.findall(r"^event: (\w+)$", httpx.get(f"{call}/{event}", timeout=60).text, re.MULTILINE)[-1]


def test_only_uploaded_files_are_read(address):
    (uploaded,) = upload(address, Path(IMAGE).read_bytes()).json()
    assert outcome(address, uploaded) == "complete"
    assert outcome(address, IMAGE) == "error"


def test_uploads_have_a_limit(address):
    assert upload(address, bytes(SMALL_LIMIT + 1)).status_code == 413


def test_the_readme_s_snippet_runs(address, monkeypatch, capsys):
    (snippet,) = re.findall(r"```python\n(.*?)```", (EXAMPLES.parent / "README.md").read_text(), re.DOTALL)
    assert "http://127.0.0.1:7860" in snippet
    monkeypatch.chdir(EXAMPLES.parents[1])
    exec(snippet.replace("http://127.0.0.1:7860", address), {})
    assert len(capsys.readouterr().out.splitlines()[-1]) > 0


def test_a_port_that_is_taken_is_named(address, predictor):
    port = int(address.rstrip("/").rpartition(":")[2])
    with pytest.raises(InputError, match=f"port {port}"):
        launch(build(predictor, "tiny"), "127.0.0.1", port, wait=False)


def test_the_examples_are_whole(demo):
    assert len(LISTED) == 3
    for example in LISTED:
        image, prior = str(EXAMPLES / example["image"]), str(EXAMPLES / example["prior"])
        *_, last = demo.ask(image, prior, example["task"], example["target"])
        assert last[1].startswith("With a prior of 64 anchors.")
    listed = {example[key] for example in LISTED for key in ("image", "prior")}
    assert listed == {path.name for path in EXAMPLES.iterdir()} - {"examples.json"}


def test_the_folder_runs_as_a_script_of_its_own(tmp_path, monkeypatch):
    """As a Space runs it: pushed alone, its modules beside app.py and in no package."""
    shutil.copytree(EXAMPLES.parent, tmp_path / "space", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setenv("FUSARGPT_MODEL", "no such model")
    monkeypatch.syspath_prepend(tmp_path / "space")
    with pytest.raises(SystemExit, match="error: no such model: no such model folder"):
        runpy.run_path(str(tmp_path / "space" / "app.py"), run_name="__main__")
    for name in ("drawing", "inputs", "streaming"):
        assert Path(sys.modules.pop(name).__file__ or "").parent == tmp_path / "space"


def test_the_card_names_the_app_and_a_gradio_that_the_project_takes():
    card = (EXAMPLES.parent / "README.md").read_text()
    front_matter = dict(re.findall(r"^(\w+): (.+)$", card.split("---")[1], re.MULTILINE))
    assert (EXAMPLES.parent / front_matter["app_file"]).is_file()
    assert front_matter["sdk"] == "gradio"
    assert front_matter["sdk_version"].split(".")[0] == gr.__version__.split(".")[0]
