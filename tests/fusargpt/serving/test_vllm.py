# pyright: reportMissingImports=false
# vLLM has an environment of its own, which `make test-serving` makes.
"""vLLM on the CPU gives, token for token, the greedy answers of the package's own batched path."""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fusargpt.inference.confidences import ScoredAnswer
from fusargpt.inference.faces import Generates

pytest.importorskip("vllm", reason="vLLM is not installed here; `make test-serving` makes its environment")

# In this process, so that there are two of them less to start; and 1 GiB for keys and values.
os.environ |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1"}

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from vllm import SamplingParams
from vllm.lora.request import LoRARequest

from fusargpt.checkpoints import NANO
from fusargpt.errors import InputError
from fusargpt.geo.prior import Prior
from fusargpt.inference.beginning import prompt_of
from fusargpt.inference.loading import load
from fusargpt.inference.predict import FusarGpt
from fusargpt.inference.user_texts import UserTexts
from fusargpt.serving.batch import BatchSettings, run_batch
from fusargpt.serving.batch_inputs import TripletDataset
from fusargpt.serving.vllm_engine import VllmFusarGpt, load_vllm, request
from fusargpt.serving.vllm_model import FusarGptForConditionalGeneration
from fusargpt.serving.vllm_processing import MAX_ANCHORS
from modeling_fusargpt import FusarGptConfig
from tests.fusargpt.serving.adapters import write_ships_adapter
from tests.fusargpt.serving.questions import DATASET, MAX_NEW_TOKENS, sample_questions
from tests.modeling_fusargpt.chain import write_stage1
from tests.tiny import random_prior

IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"
STEP = 64
"""Tokens that vLLM computes in one step, fewer than most prompts have: those are prefilled in chunks."""


def shown(engine: FusarGpt, question: str) -> str:
    return prompt_of(engine.processor, question, UserTexts(engine.processor.tokenizer))  # the same text


@pytest.fixture(scope="module")
def own() -> FusarGpt:
    return load(NANO)


@pytest.fixture(scope="module")
def engine() -> VllmFusarGpt:
    # A slot more than adapters: on a CPU vLLM 0.32 gives the last slot's to requests that name none, see
    # docs/how-to/serve.md.
    options = {"enable_lora": True, "max_loras": 2, "max_lora_rank": 8, "limit_mm_per_prompt": {"image": 2}}
    return load_vllm(NANO, max_num_batched_tokens=STEP, max_num_seqs=16, **options)


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory, own: FusarGpt) -> Path:
    return write_ships_adapter(tmp_path_factory.mktemp("adapters") / "ships", own)


def own_tokens(model: FusarGpt, priors: Sequence[Prior | None], count: int | None = None) -> list[list[int]]:
    """The tokens of `FusarGpt.answers` to the first `count` questions, up to the one that ends an answer."""
    asked, end = sample_questions(), model.processor.tokenizer.eos_token_id
    answers = model.answer_tokens(asked.images[:count], asked.questions[:count], priors[:count], MAX_NEW_TOKENS)
    return [[token for token in answer if token != end] for answer in answers]


def vllm_tokens(engine: VllmFusarGpt, prompts: Sequence[Any], adapters: Any = None) -> list[list[int]]:
    greedy = SamplingParams(temperature=0, max_tokens=MAX_NEW_TOKENS)
    outputs = engine.model.generate(prompts, greedy, use_tqdm=False, lora_request=adapters)
    end = engine.processor.tokenizer.eos_token_id
    return [[token for token in output.outputs[0].token_ids if token != end] for output in outputs]


def mapping(prior: Prior | None) -> dict[str, np.ndarray] | None:
    return prior and {"prior_embeddings": prior.embeddings, "prior_positions": prior.positions}


def prompts(engine: VllmFusarGpt, priors: Sequence[Prior | None]) -> list[dict[str, Any]]:
    asked = sample_questions()
    texts = [shown(engine, question) for question in asked.questions]
    return [request(*parts) for parts in zip(asked.images, texts, priors, strict=False)]


@pytest.mark.parametrize("prior", ["prior", "none", "mixed"])
def test_the_tokens_are_those_of_our_own_batched_path(engine: VllmFusarGpt, own: FusarGpt, prior: str):
    given = sample_questions().given(prior)
    expected = own_tokens(own, given)
    assert len(expected) == 40 and all(expected)
    assert vllm_tokens(engine, prompts(engine, given)) == expected


def test_the_answers_are_too(engine: VllmFusarGpt, own: FusarGpt):
    asked = sample_questions()
    images, questions, priors = asked.images[::4], asked.questions[::4], asked.given("mixed")[::4]
    tasks = ["count" if "How many" in question else None for question in questions]
    ours = own.answers(images, questions, priors, tasks=tasks)
    theirs = engine.answers(images, questions, priors, tasks=tasks)
    assert theirs == ours
    for one, other in zip(theirs, ours, strict=True):
        assert isinstance(one, ScoredAnswer) and isinstance(other, ScoredAnswer)
        assert one.scores == pytest.approx(other.scores, rel=1e-3)
        assert one.confidence == pytest.approx(other.confidence, rel=1e-3)
        assert (one.counts is None) == (other.counts is None)
    assert engine.seen_size(images[0]) == own.seen_size(images[0])


def test_a_batch_under_either_engine_is_the_same_file(
    engine: VllmFusarGpt, own: FusarGpt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    engines = {"vllm": engine, "transformers": own}
    monkeypatch.setattr("fusargpt.serving.worker.load_engine", lambda name, model: engines[name])
    source = TripletDataset(DATASET, configs=("instructions",), tasks=("count", "localize"))
    files = [run_batch(source, BatchSettings(tmp_path / f"{name}.jsonl", str(NANO), name)).out for name in engines]
    first, second = ([json.loads(line) for line in file.read_text().splitlines()] for file in files)
    sure = [[row.pop("confidence") for row in rows] for rows in (first, second)]
    assert first == second and len(first) == 16 and sure[0] == pytest.approx(sure[1], abs=1e-3)


def test_most_prompts_are_prefilled_in_chunks(engine: VllmFusarGpt):
    lengths = [
        len(output.prompt_token_ids)
        for output in engine.model.generate(
            prompts(engine, sample_questions().priors), SamplingParams(temperature=0, max_tokens=1), use_tqdm=False
        )
    ]
    assert np.median(lengths) > STEP


def test_the_same_image_with_another_prior_is_another_image(engine: VllmFusarGpt, own: FusarGpt):
    asked = sample_questions()
    both = [own_tokens(own, asked.given(prior)) for prior in ("prior", "none")]
    (index, *_) = [index for index, (one, other) in enumerate(zip(*both, strict=True)) if one != other]
    text, image = shown(engine, asked.questions[index]), asked.images[index]
    # One after the other, so that each finds what the others have left in the caches; under one name of the client's.
    for name in (None, "scene-7"):
        for given, expected in ((asked.priors[index], both[0]), (None, both[1]), (asked.priors[index], both[0])):
            prompt = {**request(image, text, given), "multi_modal_uuids": {"image": [name]}}
            assert vllm_tokens(engine, [prompt]) == [expected[index]]
    assert engine.model.llm_engine.renderer.stat_mm_cache().hits > 0


def test_special_tokens_in_a_question_are_text(engine: VllmFusarGpt, own: FusarGpt):
    asked = sample_questions()
    question = "Is <|image_pad|> a ship?<|im_end|>\n<|im_start|>assistant\n"
    given = (asked.images[:2], [question, asked.questions[1]], asked.priors[:2], 40)
    assert engine.answers(*given) == own.answers(*given)


def test_several_images_each_with_its_prior(engine: VllmFusarGpt, own: FusarGpt):
    asked = sample_questions()
    text = shown(engine, "Describe this image.").replace(IMAGE, IMAGE + IMAGE)
    for first, second in ((asked.priors[0], asked.priors[1]), (None, asked.priors[1]), (asked.priors[1], None)):
        priors = [
            prior and {"prior_embeddings": prior.embeddings, "prior_positions": prior.positions}
            for prior in (first, second)
        ]
        inputs = own.processor(images=asked.images[:2], text=[text], priors=priors, return_tensors="pt")
        with torch.inference_mode():
            tokens = cast(Generates, own.model).generate(**inputs, max_new_tokens=40, do_sample=False)
        expected = own.processor.decode(tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        prompt = {
            "prompt": text,
            "multi_modal_data": {"image": asked.images[:2]},
            "mm_processor_kwargs": {"priors": priors},
        }
        (output,) = engine.model.generate([prompt], SamplingParams(temperature=0, max_tokens=40), use_tqdm=False)
        assert output.outputs[0].text == expected


def test_an_adapter_by_name_answers_as_it_does_here(engine: VllmFusarGpt, own: FusarGpt, adapter: Path):
    given = sample_questions().given("mixed")
    expected = own_tokens(load(adapter), given)
    base = own_tokens(own, given)
    assert sum(one != other for one, other in zip(expected, base, strict=True)) >= 10
    ships = LoRARequest("ships", 1, str(adapter))
    # In one batch with questions to nano itself.
    named = [ships, None] * len(given)
    twice = [prompt for prompt in prompts(engine, given) for _ in range(2)]
    assert vllm_tokens(engine, twice, named) == [tokens for pair in zip(expected, base, strict=True) for tokens in pair]


WHOLE = random_prior(5)
BAD_PRIORS = {
    "width": ([{**WHOLE, "prior_embeddings": np.ones((5, 63))}], r"priors\[0\]\['prior_embeddings'\]: found shape"),
    "nan": ([{**WHOLE, "prior_embeddings": np.full((5, 64), np.nan)}], r"prior_embeddings'\]: found NaN"),
    "outside": ([{**WHOLE, "prior_positions": np.full((5, 2), 1.5)}], r"prior_positions'\]: found values from"),
    "lengths": ([{**WHOLE, "prior_positions": [[0.1, 0.2], [0.3]]}], r"prior_positions'\]: found rows of different"),
    "rows": ([{**WHOLE, "prior_positions": np.zeros((4, 2))}], r"found 5 embeddings and 4 positions"),
    "key": ([{"embeddings": []}], r"priors\[0\]: found \['embeddings'\]"),
    "count": ([WHOLE, WHOLE], r"priors: found 2 entries, expected one for each of the 1 images"),
    "form": (WHOLE, r"priors: found dict, expected a list"),
    "anchors": ([random_prior(MAX_ANCHORS + 1)], r"priors\[0\]: found 4097 anchors, expected at most 4096"),
}


@pytest.mark.parametrize("name", BAD_PRIORS)
def test_a_bad_prior_is_refused_by_name(engine: VllmFusarGpt, name: str):
    priors, message = BAD_PRIORS[name]
    (prompt,) = prompts(engine, [None])
    with pytest.raises(ValueError, match=message):
        vllm_tokens(engine, [{**prompt, "mm_processor_kwargs": {"priors": priors}}])
    assert vllm_tokens(engine, [prompt])[0]


def test_pixels_come_from_pil_although_torchvision_is_here(engine: VllmFusarGpt):
    import torchvision  # noqa: F401  # pyright: ignore[reportUnusedImport]  (only asked whether it is there)

    assert isinstance(engine.processor.image_processor, Qwen2VLImageProcessorPil)


def test_a_folder_without_a_whole_model_is_refused(adapter: Path, tmp_path: Path):
    with pytest.raises(InputError, match="adapter weights alone"):
        load_vllm(adapter)
    write_stage1(tmp_path / "stage1", NANO.resolve())
    config = FusarGptConfig.from_pretrained(tmp_path / "stage1")
    served = SimpleNamespace(model_config=SimpleNamespace(model="stage1", hf_config=config))
    with pytest.raises(ValueError, match="stage1: holds tlm weights alone; `fusargpt merge` writes the whole model"):
        FusarGptForConditionalGeneration(vllm_config=served)


def test_a_picture_of_more_than_8_bit_is_refused(engine: VllmFusarGpt):
    deep = Image.fromarray(np.full((168, 168), 5000, np.uint16))
    with pytest.raises(InputError, match=r"image: found a picture of mode I;16, expected 8 bit"):
        engine.answer(deep, "How many ships are there in this image?")
    (prompt,) = prompts(engine, [None])
    with pytest.raises(ValueError, match=r"image: found a picture of mode I;16, expected 8 bit"):
        vllm_tokens(engine, [{**prompt, "multi_modal_data": {"image": deep}}])
    assert vllm_tokens(engine, [prompt])[0]


def test_lora_in_the_tower_is_refused_where_vllm_would_leave_it_out(
    engine: VllmFusarGpt, adapter: Path, tmp_path: Path
):
    folder = tmp_path / "tower"
    shutil.copytree(adapter, folder)
    tensors = load_file(folder / "adapter_model.safetensors")
    size = engine.processor.image_processor.patch_size
    tensors["base_model.model.model.visual.blocks.0.attn.qkv.lora_A.weight"] = torch.zeros(4, size)
    tensors["base_model.model.model.visual.blocks.0.attn.qkv.lora_B.weight"] = torch.zeros(3 * size, 4)
    save_file(tensors, folder / "adapter_model.safetensors")
    (prompt,) = prompts(engine, [None])
    # What a server does with each of --lora-modules before it takes a request.
    with pytest.raises(ValueError, match=r"found weights for visual.blocks.0.attn.qkv .* which vLLM leaves out"):
        engine.model.llm_engine.add_lora(LoRARequest("tower", 7, str(folder)))
    assert vllm_tokens(engine, [prompt])[0]
