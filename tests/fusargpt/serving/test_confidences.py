"""The same tokens have the same scores from vLLM's engine and from its server, here by what stands in for both."""

import math
import sys
from collections.abc import Sequence
from functools import partial
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import pytest
from PIL import Image

from fusargpt.checkpoints import NANO
from fusargpt.errors import InputError
from fusargpt.inference.confidences import Decoded, ScoredAnswer, scored
from fusargpt.inference.loading import load
from fusargpt.inference.predict import FusarGpt
from fusargpt.serving.server_answers import scored_choice
from fusargpt.simulator.records import SPLIT_SEEDS, scene_fields
from fusargpt.simulator.simulated_scene import simulate_scene
from fusargpt.tasks.prompts import TASKS, prompt

CALIBRATION = {
    "count": {"temperature": 1.5, "offset": 0.2},
    "detect": {"temperature": 0.4, "offset": 2.0},
}


@pytest.fixture(scope="module")
def own() -> FusarGpt:
    predictor = load(NANO, "cpu")
    predictor.processor.calibration = CALIBRATION
    return predictor


@pytest.fixture(scope="module")
def asked() -> tuple[list[Image.Image], list[str], list[str]]:
    """Images, questions and tasks: all tasks of three scenes."""
    scenes = [simulate_scene(SPLIT_SEEDS["test"] + seed) for seed in (0, 1, 4)]
    pictures = [scene_fields(scene)["image"].convert("RGB") for scene in scenes]
    tasks = [task for _ in pictures for task in TASKS]
    return [picture for picture in pictures for _ in TASKS], [prompt(task) for task in tasks], tasks


@pytest.fixture(scope="module")
def decoded(own: FusarGpt, asked: Any) -> list[Decoded]:
    return own.decoded(*asked[:2], tasks=asked[2])


@pytest.fixture(scope="module")
def expected(own: FusarGpt, asked: Any) -> list[ScoredAnswer]:
    answers = own.answers(*asked[:2], tasks=asked[2])
    assert any(answer.startswith("[") for answer in answers)
    return cast(list[ScoredAnswer], answers)


def check_same(found: Sequence[str], expected: Sequence[ScoredAnswer]) -> None:
    assert list(found) == expected
    for one, other in zip(found, expected, strict=True):
        assert isinstance(one, ScoredAnswer)
        assert one.scores == pytest.approx(other.scores) and one.confidence == pytest.approx(other.confidence)
        assert one.calibrated == other.calibrated and (one.counts is None) == (other.counts is None)
        if one.counts and other.counts:
            assert dict(one.counts.probabilities) == pytest.approx(dict(other.counts.probabilities))


def test_the_engine(
    own: FusarGpt, asked: Any, decoded: list[Decoded], expected: list[ScoredAnswer], monkeypatch: pytest.MonkeyPatch
) -> None:
    vllm = pytest.importorskip("vllm") if "vllm" in sys.modules else ModuleType("vllm")
    platforms = ModuleType("vllm.platforms")
    monkeypatch.setattr(vllm, "LLM", object, raising=False)
    monkeypatch.setattr(platforms, "current_platform", None, raising=False)
    for module in (vllm, platforms):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.delitem(sys.modules, "fusargpt.serving.vllm_engine", raising=False)
    from fusargpt.serving.vllm_engine import VllmFusarGpt

    class Engine:
        """Gives the tokens of our own path, each with the most probable others where they are asked for."""

        def get_default_sampling_params(self) -> Any:
            return SimpleNamespace()

        def generate(self, prompts: Sequence[object], sampling: Any, use_tqdm: bool) -> list[Any]:
            assert len(prompts) == len(decoded) and sampling.temperature == 0 and sampling.logprobs == 20
            return [SimpleNamespace(outputs=[completion(answer)]) for answer in decoded]

    found = VllmFusarGpt(cast(Any, Engine()), own.processor).answers(*asked[:2], tasks=asked[2])
    check_same(found, expected)
    monkeypatch.delitem(sys.modules, "fusargpt.serving.vllm_engine")


def completion(answer: Decoded) -> Any:
    steps = [
        {token: SimpleNamespace(logprob=value)}
        for token, value in zip(answer.tokens, answer.log_probabilities, strict=True)
    ]
    for step, others in zip(steps, answer.alternatives, strict=False):
        step |= {token: SimpleNamespace(logprob=value) for token, value in others}
    return SimpleNamespace(token_ids=answer.tokens, logprobs=steps)


def test_the_server(own: FusarGpt, asked: Any, decoded: list[Decoded], expected: list[ScoredAnswer]) -> None:
    choices = [choice(own, answer) for answer in decoded]
    check_same([scored_choice(one, task, CALIBRATION) for one, task in zip(choices, asked[2], strict=True)], expected)
    raw = scored_choice(choices[1], "count")
    assert not raw.calibrated and raw.confidence != expected[1].confidence


def choice(own: FusarGpt, answer: Decoded) -> dict[str, Any]:
    """As the server writes it: special tokens are in the log-probabilities, and not in the text."""
    decode = own.processor.tokenizer.decode

    def told(token: int, value: float) -> dict[str, Any]:
        written = decode([token])
        return {"token": written, "logprob": value, "bytes": list(written.encode())}

    content = [told(*pair) for pair in zip(answer.tokens, answer.log_probabilities, strict=True)]
    for one, others in zip(content, answer.alternatives, strict=False):
        one["top_logprobs"] = [told(*pair) for pair in others]
    text = partial(decode, skip_special_tokens=True)(answer.tokens)
    return {"message": {"content": text}, "logprobs": {"content": content}}


def test_letters_of_several_tokens_count_as_in_our_own_path() -> None:
    text = '{"bbox_2d": [1, 2, 3, 4], "label": "ön"}'
    pieces = [bytes([byte]) for byte in text.encode()]
    half = next(place for place, piece in enumerate(pieces) if piece == "ö".encode()[:1])
    values = [0.0] * len(pieces)
    values[half + 1] = -3.0
    content = [
        {"token": "\N{REPLACEMENT CHARACTER}", "logprob": value, "bytes": list(piece)}
        for piece, value in zip(pieces, values, strict=True)
    ]
    found = scored_choice({"message": {"content": text}, "logprobs": {"content": content}}, "detect")
    answer = Decoded(list(text.encode()), values)
    own = scored(answer, lambda tokens: bytes(tokens).decode(errors="replace"))
    # Four digits, and three tokens of the two letters.
    assert found.scores == own.scores == pytest.approx([math.exp(-3 / 7)])


def test_a_completion_without_log_probabilities_says_how_to_ask() -> None:
    with pytest.raises(InputError, match=r"logprobs: found none; .* ask with logprobs=True"):
        scored_choice({"message": {"content": "2"}, "logprobs": None})
