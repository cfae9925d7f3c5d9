"""The named endpoints over loopback, as programs call them, and how the page refuses."""

import contextlib
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from fusargpt.errors import InputError
from fusargpt.geo.prior import load_prior
from fusargpt.tasks.prompts import prompt
from space_app.demo import Demo, Question
from space_app.fields import EXAMPLES, SIMULATED
from space_app.launch import launch
from tests.space_app.conftest import UPLOAD_LIMIT, VISITOR_LIMIT

ROOT = EXAMPLES.parents[1]
README = (EXAMPLES.parent / "README.md").read_text()
ANY_SERVER = "http://127.0.0.1:7860"


@pytest.fixture(scope="module")
def client(address: str) -> Client:
    return Client(address, verbose=False)


def test_the_endpoints_are_named_and_their_inputs_typed(client: Client):
    endpoints = client.view_api(return_format="dict", print_info=False)
    assert isinstance(endpoints, dict) and not endpoints["unnamed_endpoints"]
    named = {
        name: {parameter["parameter_name"]: parameter["python_type"]["type"] for parameter in endpoint["parameters"]}
        for name, endpoint in endpoints["named_endpoints"].items()
    }
    assert set(named) == {"/look", "/anchors", "/ask", "/scene", "/search"}
    assert named["/ask"]["task"].startswith("Literal['describe', 'count', 'localize'")
    assert named["/ask"]["image"] == "filepath" and named["/ask"]["compare"] == "bool"
    assert named["/anchors"]["year"] == "int" and named["/anchors"]["field"].startswith("Literal[")


def test_look_tells_what_the_file_says(client: Client, image: str):
    found = client.predict(image=handle_file(image), api_name="/look")
    assert (found["image"], found["image_size"], found["seen_size"]) == ("harbour.tif", [168, 168], [128, 128])
    assert (found["acquired"], found["bands"]) == ("2024-06-15", ["VV"])
    assert found["bounds"][0] == pytest.approx(8.05, abs=0.01)


def test_anchors_are_fetched_as_the_file_of_a_prior(client: Client, image: str):
    path, told = client.predict(image=handle_file(image), year=2024, field=SIMULATED, per_side=4, api_name="/anchors")
    prior = load_prior(path)
    assert told["anchors"] == len(prior.embeddings) == 16
    assert prior.lonlat is not None and told["lonlat"] == prior.lonlat.tolist()


def test_ask_streams_what_the_model_says_and_draws_it(client: Client, demo: Demo, image: str, prior: str):
    job = client.submit(
        image=handle_file(image), prior=handle_file(prior), task="localize", compare=True, api_name="/ask"
    )
    result, pictures = job.result(timeout=60)
    *_, (_, _, answers) = demo.answers(Question(image, prior, "localize", compare=True))
    assert [answer["text"] for answer in result["answers"]] == [answer.text for answer in answers]
    assert result["answers"][0]["question"] == prompt("localize")
    assert [Image.open(path).size for path in pictures] == [(640, 640)] * 2
    assert result["geojson"]["features"][0]["properties"]["name"] == "harbour.tif"
    assert len(job.outputs()) > 2


def test_a_scene_is_asked_in_tiles_with_the_anchors_of_each(client: Client, image: str):
    job = client.submit(
        image=handle_file(image), task="count", target="ship", area="0, 0, 90, 90", tile=84, field=SIMULATED,
        year=2024, api_name="/scene",
    )  # fmt: skip
    result, picture = job.result(timeout=60)
    assert (result["tiles"], result["answered"], result["state"]) == (4, 4, "whole")
    assert result["pixels"]["places"][0]["bbox"] == [0, 0, 84, 84]
    properties = result["geojson"]["features"][0]["properties"]
    assert properties["anchors"] > 0 and properties["prior"] == f"AlphaEarth 2024, {SIMULATED}"
    assert Image.open(picture).size == (672, 672)
    with pytest.raises(AppError, match=r"^Area: found '1, 2'; expected left, top"):
        client.predict(image=handle_file(image), area="1, 2", tile=None, year=None, api_name="/scene")


def test_search_finds_the_tiles_that_words_are_about(client: Client, image: str, prior: str):
    job = client.submit(image=handle_file(image), words="ships", prior=handle_file(prior), tile=42, api_name="/search")
    result, picture = job.result(timeout=60)
    assert (result["tiles"], result["searched"], result["state"], result["anchors"]) == (16, 16, "whole", 64)
    assert [found["rank"] for found in result["found"]] == [*range(1, 11)]
    scores = [found["score"] for found in result["found"]]
    assert scores == sorted(scores, reverse=True) and result["found"][0]["centre"][0] == pytest.approx(8.05, abs=0.02)
    assert len(result["geojson"]["features"]) == 16
    drawn = Image.open(picture)
    assert drawn.width == 672 and drawn.height > 672, "four times as large, and the scale below"
    assert len(job.outputs()) > 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image": None}, "^Upload an image first"),
        ({"words": " "}, "^Write first what to search for"),
        ({"words": "zebra"}, "^text: the model knows no word of 'zebra'"),
        ({"words": "ships " * 100}, "^599 characters; at most 500"),
        ({"tile": 3}, "^Tile: found 3 pixels; expected 28 or more"),
    ],
)
def test_a_search_that_cannot_be_made_is_one_line(client: Client, image: str, arguments: dict[str, Any], message: str):
    given: dict[str, Any] = {"image": handle_file(image), "words": "ships", "prior": None, "tile": None, **arguments}
    with pytest.raises(AppError, match=message):
        client.predict(**given, api_name="/search")


def test_requests_at_the_same_time_get_their_own_answers(client: Client, demo: Demo):
    asked = [(name, target) for name in ("harbour", "inland", "airfield") for target in ("ship", "aircraft")]
    jobs = [
        client.submit(
            image=handle_file(str(EXAMPLES / f"{name}.tif")), prior=None, task="count", target=target, api_name="/ask"
        )
        for name, target in asked
    ]
    for (name, target), job in zip(asked, jobs, strict=True):
        result, _ = job.result(timeout=60)
        *_, (_, _, (answer,)) = demo.answers(Question(str(EXAMPLES / f"{name}.tif"), None, "count", target))
        assert result["image"] == f"{name}.tif"
        assert result["answers"][0]["text"] == answer.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "^Upload an image first"),
        ({"image": "chip.png"}, r"^chip\.png: not a PNG, JPEG or TIFF image"),
        ({"image": "harbour.tif", "prior": "chip.npz"}, r"^chip\.npz: not an \.npz file"),
        ({"image": "harbour.tif", "compare": True}, "^Side by side needs a prior"),
        ({"image": "harbour.tif", "task": "free"}, "^Write a question first"),
        ({"image": "harbour.tif", "band": 2}, r"^harbour\.tif: no band 2; the file has 1"),
        ({"image": "harbour.png", "place": "here"}, "^Place: found 'here'"),
    ],
)
def test_wrong_input_is_one_line_without_the_server_s_paths(
    client: Client, tmp_path: Path, arguments: dict[str, Any], message: str
):
    for name in ("chip.png", "chip.npz"):
        (tmp_path / name).write_bytes(b"<b>text")
    given: dict[str, Any] = dict(arguments)
    for key in {"image", "prior"} & set(given):
        path = (tmp_path if given[key].startswith("chip") else EXAMPLES) / given[key]
        given[key] = handle_file(str(path))
    with pytest.raises(AppError, match=message) as caught:
        client.predict(**{"image": None, "prior": None, **given}, api_name="/ask")
    said = str(caught.value)
    assert "\n" not in said and "Traceback" not in said and "<b>" not in said
    assert "/tmp" not in said and str(EXAMPLES) not in said


def test_a_field_that_is_not_offered_is_refused(client: Client, image: str):
    with pytest.raises(AppError, match="not in the list of choices"):
        client.predict(image=handle_file(image), year=2024, field="http://127.0.0.1:1/", api_name="/anchors")


def upload(address: str, content: bytes, name: str = "chip.png") -> httpx.Response:
    return httpx.post(f"{address}gradio_api/upload", files={"files": (name, content)}, timeout=60)


def outcome(
    address: str, path: str, name: str = "look", rest: tuple[Any, ...] = (1, "", "", "", "", None, "")
) -> tuple[str, str]:
    """How a request without a client ends that names `path` as its image: complete or error, and its data."""
    call = f"{address}gradio_api/call/{name}"
    named = {"path": path, "meta": {"_type": "gradio.FileData"}}
    event = httpx.post(call, json={"data": [named, *rest]}).json()["event_id"]
    found = re.findall(r"^event: (\w+)\ndata: (.*)$", httpx.get(f"{call}/{event}", timeout=60).text, re.MULTILINE)
    return found[-1]


def test_only_uploaded_files_are_read(address: str, image: str):
    (uploaded,) = upload(address, Path(image).read_bytes(), "harbour.tif").json()
    assert outcome(address, uploaded)[0] == "complete"
    for path in (image, "/etc/passwd", f"{uploaded}/../../../../etc/passwd", "http://127.0.0.1:1/a.tif"):
        how, said = outcome(address, path)
        assert how == "error"
        assert "root:" not in said and "Traceback" not in said


def test_uploads_have_a_limit_and_lose_their_folders(address: str):
    assert upload(address, bytes(UPLOAD_LIMIT + 1)).status_code == 413
    (path,) = upload(address, b"text", "../../escaped.png").json()
    assert Path(path).name == "escaped.png" and Path(path).is_file()
    assert not (Path(path).parents[2] / "escaped.png").exists()


def test_the_readme_s_python_runs(address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    (snippet,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert ANY_SERVER in snippet
    monkeypatch.chdir(ROOT)
    exec(snippet.replace(ANY_SERVER + '"', address + '"'), {})
    first, *printed = capsys.readouterr().out.splitlines()
    assert first.startswith("Loaded as API")
    assert printed[0].startswith("harbour.tif")
    assert printed[1] == "64 anchors"
    assert len(printed) >= 4


def test_the_readme_s_curl_runs(address: str):
    (snippet,) = [text for text in re.findall(r"```shell\n(.*?)```", README, re.DOTALL) if "curl" in text]
    assert ANY_SERVER in snippet
    command = snippet.replace(ANY_SERVER, address.rstrip("/"))
    result = subprocess.run(["bash", "-euc", command], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    *_, (event, data) = re.findall(r"^event: (\w+)\ndata: (.*)$", result.stdout, re.MULTILINE)
    assert event == "complete"
    assert json.loads(data)[0]["image"] == "harbour.tif"


def test_a_port_that_is_taken_is_named(address: str, demo: Demo):
    from space_app.interface import build

    port = int(address.rstrip("/").rpartition(":")[2])
    with pytest.raises(InputError, match=f"port {port}"):
        launch(build(demo), "127.0.0.1", port, wait=False)


def test_one_visitor_does_not_take_all_places(address: str, image: str, demo: Demo):
    with contextlib.ExitStack() as busy:
        for _ in range(VISITOR_LIMIT):
            busy.enter_context(demo.visitors.at_work("127.0.0.1"))
        (uploaded,) = upload(address, Path(image).read_bytes(), "harbour.tif").json()
        how, said = outcome(address, uploaded)
        assert how == "error" and "of your requests are under way" in said
    assert outcome(address, uploaded)[0] == "complete"
