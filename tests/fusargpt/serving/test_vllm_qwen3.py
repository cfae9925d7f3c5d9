# pyright: reportMissingImports=false
# vLLM has an environment of its own, which `make test-serving` makes.
"""The other backbone in vLLM: a tiny FUSAR-GPT on Qwen3-VL, whose deep-stack features the prior modulates as well."""

import os
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("vllm", reason="vLLM is not installed here; `make test-serving` makes its environment")
os.environ |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1"}

import torch

from fusargpt.geo.prior import Prior
from fusargpt.inference.loading import load
from fusargpt.serving.vllm_engine import load_vllm
from modeling_fusargpt import FusarGptQwen3Config, FusarGptQwen3ForConditionalGeneration
from tests.tiny import random_image, random_prior, stir_tlm, tiny_processor, tiny_qwen3_config

TOKENS = 12


@pytest.mark.parametrize("deepstack", ["modulated", "untouched"])
def test_the_answers_are_those_of_our_own_path(deepstack: str, tmp_path: Path) -> None:
    small = tiny_qwen3_config()
    text: Any = small.text_config
    # vLLM's attention on the CPU takes heads of 32 channels and more.
    rope = {**text.rope_parameters, "mrope_section": [8, 4, 4]}
    text_config = {**text.to_dict(), "head_dim": 32, "rope_parameters": rope}
    tlm_config = {"deepstack": deepstack}
    fields: dict[str, Any] = {**small.to_dict(), "text_config": text_config, "tlm_config": tlm_config}
    config = FusarGptQwen3Config(**fields)
    torch.manual_seed(0)
    model = FusarGptQwen3ForConditionalGeneration(config)
    stir_tlm(model)
    model.save_pretrained(tmp_path)
    tiny_processor().save_pretrained(tmp_path)

    images = [random_image(32 + 8 * (index % 3), 40 + 8 * index, seed=index) for index in range(8)]
    arrays = [random_prior(anchors, seed=anchors) for anchors in (5, 9, 5, 2)]
    given = [Prior(prior["prior_embeddings"], prior["prior_positions"]) for prior in arrays]
    priors = [given[index // 2] if index % 2 else None for index in range(8)]
    questions = ["How many ships?"] * 8
    own = load(tmp_path)
    expected = own.answers(images, questions, priors, TOKENS)
    assert expected != own.answers(images, questions, None, TOKENS)
    engine = load_vllm(tmp_path, max_model_len=256, max_num_seqs=8)
    assert engine.answers(images, questions, priors, TOKENS) == expected
