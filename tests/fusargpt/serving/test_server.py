# pyright: reportMissingImports=false
# vLLM has an environment of its own, which `make test-serving` makes.
"""`vllm serve` as the documentation starts it, asked as the documentation asks it."""

import base64
import io
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("vllm", reason="vLLM is not installed here; `make test-serving` makes its environment")

import numpy as np
from openai import BadRequestError, OpenAI
from PIL import Image

from fusargpt.captioning.chat.endpoint import Endpoint, EndpointSettings
from fusargpt.captioning.chat.prompts import DROP, KEEP
from fusargpt.checkpoints import NANO
from fusargpt.errors import OptionError
from fusargpt.geo.prior import Prior, save_prior
from fusargpt.inference.confidences import ScoredAnswer
from fusargpt.inference.loading import load
from fusargpt.inference.predict import FusarGpt
from fusargpt.serving.server_answers import scored_choice
from tests.fusargpt.serving.adapters import write_ships_adapter
from tests.fusargpt.serving.questions import MAX_NEW_TOKENS, sample_questions
from tests.paths import ROOT

PAGE = (ROOT / "docs" / "how-to" / "serve.md").read_text()
MODEL = "fusargpt/checkpoints/fusargpt-nano"
STARTS_IN = 900


@pytest.fixture(scope="module")
def own() -> FusarGpt:
    return load(NANO)


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory, own: FusarGpt) -> Path:
    return write_ships_adapter(tmp_path_factory.mktemp("adapters") / "ships", own)


@pytest.fixture(scope="module")
def server(adapter: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the documented server on a free port, on the CPU."""
    (line,) = re.findall(r"^vllm serve .*$", PAGE, re.MULTILINE)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = shlex.split(line.replace("runs/ships", str(adapter)))
    command += ["--dtype", "float32", "--enforce-eager", "--max-loras", "2", "--host", "127.0.0.1", "--port", str(port)]
    # A model that knows no JSON fills its answer with the blanks that JSON allows anywhere.
    command += ["--structured-outputs-config", '{"backend": "xgrammar", "disable_any_whitespace": true}']
    command[0] = str(Path(sys.executable).with_name("vllm"))
    log = tmp_path_factory.mktemp("server") / "log.txt"
    environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1"}
    with log.open("w") as file:
        running = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        _wait(f"http://127.0.0.1:{port}/health", running, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        running.terminate()
        try:
            running.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()


def _wait(address: str, running: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(STARTS_IN):
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except (OSError, urllib.error.URLError):
            assert running.poll() is None, log.read_text()[-5000:]
            time.sleep(1)
    raise AssertionError(f"the server did not start in {STARTS_IN} s:\n{log.read_text()[-5000:]}")


@pytest.fixture
def client(server: str) -> OpenAI:
    return OpenAI(base_url=f"{server}/v1", api_key="none", max_retries=0)


def ask(client: OpenAI, image: Image.Image, question: str, priors: Any = None, model: str = MODEL) -> str:
    messages: Any = [{"role": "user", "content": _content(image, question)}]
    answer = client.chat.completions.create(
        model=model,
        messages=messages,
        temperature=0,
        max_tokens=MAX_NEW_TOKENS,
        extra_body={} if priors is None else {"mm_processor_kwargs": {"priors": priors}},
    )
    return (answer.choices[0].message.content or "").strip()


def plain(prior: Prior | None) -> dict[str, list[Any]] | None:
    """As JSON has it. float32 values survive the way through decimal text."""
    if prior is None:
        return None
    return {"prior_embeddings": prior.embeddings.tolist(), "prior_positions": prior.positions.tolist()}


@pytest.mark.parametrize("prior", ["prior", "none"])
def test_answers_are_those_of_our_own_path(client: OpenAI, own: FusarGpt, prior: str) -> None:
    asked = sample_questions()
    images, questions, priors = asked.images[::2], asked.questions[::2], asked.given(prior)[::2]
    expected = own.answers(images, questions, priors, MAX_NEW_TOKENS)
    # Without a prior a request may leave the list out, or say null.
    given = [None if one is None and index % 2 else [plain(one)] for index, one in enumerate(priors)]
    assert [ask(client, *parts) for parts in zip(images, questions, given, strict=True)] == expected


def test_scores_are_those_of_our_own_path(client: OpenAI, own: FusarGpt) -> None:
    asked = sample_questions()
    for image, question in zip(asked.images[::4], asked.questions[::4], strict=True):
        task = "count" if "How many" in question else None
        messages: Any = [{"role": "user", "content": _content(image, question)}]
        answer = client.chat.completions.create(
            model=MODEL,
            messages=messages,
            temperature=0,
            max_tokens=MAX_NEW_TOKENS,
            logprobs=True,
            top_logprobs=20,
        )
        found = scored_choice(answer.choices[0].model_dump(), task, own.processor.calibration)
        expected = own.answer(image, question, None, MAX_NEW_TOKENS, task=task)
        assert isinstance(expected, ScoredAnswer) and found == expected
        assert found.scores == pytest.approx(expected.scores, rel=1e-3)
        assert found.confidence == pytest.approx(expected.confidence, rel=1e-3)
        assert (found.counts is None) == (expected.counts is None)


def test_an_adapter_answers_by_its_name(client: OpenAI, own: FusarGpt, adapter: Path) -> None:
    asked = sample_questions()
    images, questions, priors = asked.images[::4], asked.questions[::4], asked.priors[::4]
    expected = load(adapter).answers(images, questions, priors, MAX_NEW_TOKENS)
    assert expected != own.answers(images, questions, priors, MAX_NEW_TOKENS)
    found = [ask(client, *parts, model="ships") for parts in zip(images, questions, map(listed, priors), strict=True)]
    assert found == expected
    assert {model.id for model in client.models.list()} == {MODEL, "ships"}


def listed(prior: Prior | None) -> list[Any]:
    return [plain(prior)]


def test_the_documented_client_call(server: str, own: FusarGpt, tmp_path: Path) -> None:
    asked = sample_questions()
    prior = asked.priors[1]
    assert prior is not None
    asked.images[1].save(tmp_path / "scene.png")
    save_prior(tmp_path / "scene.npz", prior)
    (snippet,) = [code for code in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "OpenAI" in code]
    code = snippet.replace("http://localhost:8000", server)
    output = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    question = "Detect all ships in this image. Answer in JSON."
    assert output.stdout.strip() == own.answer(asked.images[1], question, prior)


def bad(**changed: Any) -> list[Any]:
    prior = plain(sample_questions().priors[1])
    assert prior is not None
    return [{**prior, **changed}]


def test_a_picture_of_16_bit_gets_a_400_that_names_the_cure(client: OpenAI) -> None:
    deep = Image.fromarray(np.full((168, 168), 5000, np.uint16))
    with pytest.raises(BadRequestError, match=r"found a picture of mode I;16, expected 8 bit; fusargpt.read_image"):
        ask(client, deep, "How many ships are there in this image?")


def test_a_bad_prior_gets_a_400_that_names_the_field(client: OpenAI, server: str) -> None:
    asked = sample_questions()
    image, question = asked.images[1], asked.questions[1]
    (good,) = bad()
    cases = [
        (bad(prior_embeddings=np.ones((3, 63)).tolist()), "prior_embeddings"),
        (bad(prior_embeddings=[["x"] * 64]), "prior_embeddings"),
        (bad(prior_positions=[[2.0, 0.5]] * len(good["prior_positions"])), "prior_positions"),
        (bad(prior_positions=good["prior_positions"][1:]), "embeddings and"),
        (bad(years=2020), "years"),
        ([good, good], "priors: found 2 entries, expected one for each of the 1 images"),
        ("scene.npz", "priors: found str, expected a list"),
    ]
    for priors, message in cases:
        with pytest.raises(BadRequestError, match=message):
            ask(client, image, question, priors)
    # The client refuses to write NaN; another one may not.
    body: dict[str, Any] = {
        "model": MODEL,
        "max_tokens": 5,
        "messages": [{"role": "user", "content": _content(image, question)}],
    }
    embeddings = np.full((len(good["prior_positions"]), 64), np.nan).tolist()
    body["mm_processor_kwargs"] = {"priors": bad(prior_embeddings=embeddings)}
    status, text = _post(f"{server}/v1/chat/completions", body)
    assert status == 400 and "prior_embeddings" in text and "found NaN" in text
    body["mm_processor_kwargs"] = {"max_pixels": 10**9}
    status, text = _post(f"{server}/v1/chat/completions", body)
    assert status == 400 and "max_pixels" in text
    assert ask(client, image, question, [good])


def _content(image: Image.Image, question: str) -> list[dict[str, Any]]:
    file = io.BytesIO()
    image.save(file, "PNG")
    url = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    return [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": question}]


def _post(address: str, body: dict[str, Any]) -> tuple[int, str]:
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(address, json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_captions_are_asked_for_as_the_server_understands_it(server: str) -> None:
    """With the image in the first turn and a JSON schema, to which the server holds even a model that knows no JSON."""
    asked = sample_questions()
    endpoint = Endpoint(EndpointSettings(MODEL, f"{server}/v1", answer_tokens=64, retries=0))
    verdict = {"type": "string", "enum": [KEEP, DROP]}
    schema = {
        "type": "object",
        "properties": {"verdict": verdict},
        "required": ["verdict"],
        "additionalProperties": False,
    }
    turns = (("system", "Answer with JSON alone."), ("user", "Does this image show water? Keep or drop."))
    reply = endpoint.reply(asked.images[0], turns, schema)
    assert json.loads(reply.text)["verdict"] in (KEEP, DROP)
    assert reply.prompt_tokens > 0 and 0 < reply.answer_tokens <= 64


def test_a_model_that_the_server_has_not_ends_the_captions(server: str) -> None:
    endpoint = Endpoint(EndpointSettings("another", f"{server}/v1", retries=0))
    with pytest.raises(OptionError, match="another at http"):
        endpoint.reply(sample_questions().images[0], (("user", "What is this?"),), {"type": "object"})
