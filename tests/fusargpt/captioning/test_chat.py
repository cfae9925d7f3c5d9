"""Captions by a chat model behind a server that misbehaves: what is waited out, asked again, told and remembered."""

import json
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusargpt.captioning.chat.backend import ATTEMPTS, ChatBackend
from fusargpt.captioning.chat.endpoint import Endpoint, EndpointSettings
from fusargpt.captioning.chat.models import Budget, Memory
from fusargpt.captioning.chat.reading import read_claims
from fusargpt.captioning.stages import Caption, Stopped, caption
from fusargpt.errors import InputError, OptionError
from tests.fusargpt.captioning.chat_server import Body, Response, Stub, good_answer, stub
from tests.fusargpt.captioning.places import TREES, WATER, halves

OBSERVATION = halves(WATER, TREES, targets=())
Respond = Callable[[Body, int], Response]


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between tries; what a server asks to wait is waited."""
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)
    monkeypatch.setattr("openai._base_client.MAX_RETRY_DELAY", 0.01)


@contextmanager
def asking(
    respond: Respond, tmp_path: Path, budget: int | None = None, seconds: float = 5.0
) -> Generator[tuple[Stub, ChatBackend]]:
    with stub(respond) as server:
        settings = EndpointSettings("stub", server.url, seconds=seconds, retries=2)
        memory = Memory(tmp_path / "replies.sqlite")
        yield server, ChatBackend(Endpoint(settings), memory, Budget(budget))
        memory.close()


def place_alone(backend: ChatBackend) -> Caption:
    return caption(OBSERVATION, backend, ("place",))


def well(request: Body, number: int) -> Response:
    return Response(good_answer(request))


def test_every_stage_is_asked_with_the_image_and_what_was_measured(tmp_path: Path) -> None:
    with asking(well, tmp_path) as (server, backend):
        made = caption(OBSERVATION, backend)
    assert [len(step.asked) for step in made.steps] == [1] * 5
    assert made.findings.record("landform") == dict.fromkeys(made.findings.record("landform") or {}) | {
        "terrain": "what landform.terrain is",
        "functionality": "what landform.functionality is",
    }
    image, text = server.requests[0]["messages"][1]["content"]
    assert image["image_url"]["url"].startswith("data:image/png;base64,")
    assert "resolution: 5 m a pixel" in text["text"] and "water (50%) and trees (50%)" in text["text"]
    assert "backscatter: " in server.requests[2]["messages"][1]["content"][1]["text"]
    assert made.steps[0].asked[0].prompt_tokens == 100


@pytest.mark.parametrize(
    "bad",
    [
        "no JSON",
        '{"claims": [',
        "[" * 50_000,
        '{"claims": "none"}',
        '{"answers": []}',
        '{"claims": [{"dimension": "landform.terrain"}]}',
        '{"claims": [{"dimension": "target.count", "text": "a", "evidence": "b", "confidence": 1}]}',
        '{"claims": [{"dimension": "landform.terrain", "text": "a", "evidence": "b", "confidence": NaN}]}',
        '{"claims": [{"dimension": "landform.terrain", "text": "a", "evidence": "b", "confidence": 80}]}',
        '{"claims": [{"dimension": "landform.terrain", "text": " ", "evidence": "b", "confidence": 1}]}',
        '{"claims": [{"dimension": "landform.terrain", "text": "%s", "evidence": "b", "confidence": 1}]}' % ("a" * 500),
    ],
)
def test_what_cannot_be_read_is_asked_again_with_the_reason(bad: str, tmp_path: Path) -> None:
    with asking(lambda request, number: Response(bad) if number == 0 else well(request, number), tmp_path) as pair:
        server, backend = pair
        made = place_alone(backend)
    assert len(server.requests) == len(made.steps[0].asked) == 2
    again = server.requests[1]["messages"]
    assert again[-1]["content"].startswith("Your answer could not be read: ")
    assert len(again[-2]["content"]) <= 2_000


def test_a_model_that_never_answers_in_its_form_fails_the_image_with_the_reason(tmp_path: Path) -> None:
    with asking(lambda request, number: Response("Sure! Here it is."), tmp_path) as (server, backend):
        with pytest.raises(InputError, match=f"no answer in {ATTEMPTS} could be read: found no JSON"):
            place_alone(backend)
        assert len(server.requests) == ATTEMPTS


def test_a_fence_around_json_is_taken_off(tmp_path: Path) -> None:
    with asking(lambda request, number: Response(f"```json\n{good_answer(request)}\n```"), tmp_path) as (_, backend):
        assert place_alone(backend).findings.claim("landform", "terrain") is not None


def test_a_busy_server_is_asked_again_after_as_long_as_it_says(tmp_path: Path) -> None:
    def busy_once(request: Body, number: int) -> Response:
        return Response(status=429, headers={"Retry-After": "1"}) if number == 0 else well(request, number)

    with asking(busy_once, tmp_path) as (server, backend):
        place_alone(backend)
    assert len(server.requests) == 2


def test_a_server_that_stays_busy_stops_the_run(tmp_path: Path) -> None:
    with (
        asking(lambda request, number: Response(status=429), tmp_path) as (_, backend),
        pytest.raises(Stopped, match="lets no more through"),
    ):
        place_alone(backend)


def test_a_server_that_fails_in_passing_is_asked_again(tmp_path: Path) -> None:
    with asking(lambda r, number: Response(status=503) if number < 2 else well(r, number), tmp_path) as (_, backend):
        place_alone(backend)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_key_or_a_model_that_is_refused_ends_the_run(status: int, tmp_path: Path) -> None:
    with (
        asking(lambda request, number: Response(status=status), tmp_path) as (server, backend),
        pytest.raises(OptionError, match="stub at http"),
    ):
        place_alone(backend)
    assert len(server.requests) == 1


def test_no_server_stops_the_run(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    backend = ChatBackend(
        Endpoint(EndpointSettings("stub", url, retries=1)), Memory(tmp_path / "replies.sqlite"), Budget(None)
    )
    with pytest.raises(Stopped, match="cannot be reached"):
        place_alone(backend)


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (Response(refusal="I cannot help with that."), "the model refused: I cannot help with that."),
        (Response("", finish="content_filter"), "the model refused: its content filter"),
        (Response('{"claims": [', finish="length"), "cut at 1024 tokens; allow more with --max-new-tokens"),
        (Response("x" * 100_000), "found an answer of 100,000 characters"),
        (
            Response(body={"id": "a", "object": "chat.completion", "created": 0, "model": "m", "choices": []}),
            "without choices",
        ),
        (Response(body={"detail": "what a proxy says"}), "without choices"),
        (Response(status=400), "not now"),
        (Response("{}", delay=1.5), "no answer in 0.3 s, 3 times"),
    ],
)
def test_other_failures_cost_the_image_alone_and_are_told(response: Response, reason: str, tmp_path: Path) -> None:
    seconds = 0.3 if response.delay else 5.0
    with (
        asking(lambda request, number: response, tmp_path, seconds=seconds) as (_, backend),
        pytest.raises(InputError, match=reason),
    ):
        place_alone(backend)


def test_an_empty_answer_is_asked_again(tmp_path: Path) -> None:
    with asking(lambda r, number: Response(None) if number == 0 else well(r, number), tmp_path) as (server, backend):
        place_alone(backend)
    assert len(server.requests) == 2


def test_calibration_corrects_and_drops_with_the_models_reasons(tmp_path: Path) -> None:
    def judge(request: Body, number: int) -> Response:
        if "verdicts" not in request["response_format"]["json_schema"]["schema"]["properties"]:
            return well(request, number)
        return Response(
            json.dumps(
                {
                    "verdicts": [
                        {
                            "dimension": "landform.terrain",
                            "verdict": "correct",
                            "text": "nothing but water.",
                            "reason": "all is dark",
                        },
                        {"dimension": "target.count", "verdict": "drop", "text": "", "reason": "no boxes"},
                    ]
                }
            )
        )

    with asking(judge, tmp_path) as (_, backend):
        made = caption(OBSERVATION, backend)
    terrain = made.findings.claim("landform", "terrain")
    assert terrain is not None and (terrain.text, terrain.stage) == ("nothing but water", "calibration")
    assert made.findings.claim("target", "count") is None
    assert [(change.after, change.reason) for change in made.steps[-1].changes] == [
        ("nothing but water", "all is dark"),
        (None, "no boxes"),
    ]


def test_what_was_answered_once_is_not_asked_for_again(tmp_path: Path) -> None:
    with asking(well, tmp_path) as (server, backend):
        first = caption(OBSERVATION, backend)
        asked = len(server.requests)
        second = caption(OBSERVATION, backend)
    assert asked == len(server.requests) == 5
    assert [step.as_json() for step in first.steps] == [step.as_json() for step in second.steps]


def test_another_image_or_another_claim_is_asked_anew(tmp_path: Path) -> None:
    with asking(well, tmp_path) as (server, backend):
        place_alone(backend)
        caption(halves(TREES, TREES, targets=()), backend, ("place",))
    assert len(server.requests) == 2


def test_no_more_is_spent_than_the_budget_and_remembered_replies_are_free(tmp_path: Path) -> None:
    with asking(well, tmp_path, budget=300) as (server, backend):
        with pytest.raises(Stopped, match="240 of 300 tokens are spent"):
            caption(OBSERVATION, backend)
        assert len(server.requests) == 2
    with asking(well, tmp_path, budget=360) as (server, backend):
        # The address differs, and so does what the server is called by it alone.
        caption(OBSERVATION, backend)
        assert len(server.requests) == 3


def test_a_server_that_counts_no_tokens_is_charged_by_its_letters(tmp_path: Path) -> None:
    with asking(lambda request, number: Response(good_answer(request), usage=False), tmp_path) as (_, backend):
        (asked,) = place_alone(backend).steps[0].asked
    assert asked.answer_tokens > 10


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["claims", "text"]) | st.text(), inner),
)


@given(st.text() | JSON.map(json.dumps))
def test_whatever_a_model_writes_is_claims_or_one_line(answer: str) -> None:
    try:
        claims = read_claims(answer, "place", "a model")
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert all(claim.text and 0 <= claim.confidence <= 1 for claim in claims)
