# pyright: reportMissingImports=false
# vLLM has an environment of its own, see docs/how-to/serve.md.
"""FUSAR-GPT answering through vLLM in this process: the same questions in, the same greedy answers out."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from PIL import Image
from transformers.generation.streamers import BaseStreamer
from vllm import LLM
from vllm.platforms import current_platform

from fusargpt.errors import InputError, one_line
from fusargpt.geo.prior import Prior
from fusargpt.inference.beginning import Asked, prompt_of
from fusargpt.inference.confidences import Decoded
from fusargpt.inference.counts import ALTERNATIVES, STEPS
from fusargpt.inference.loading import check_name
from fusargpt.inference.predict import FusarGpt
from fusargpt.inference.user_texts import UserTexts
from fusargpt.tasks.grammar import AnswerForm
from fusargpt.tasks.prompts import MAX_NEW_TOKENS
from modeling_fusargpt.artefacts import ArtefactError, read_artefact
from modeling_fusargpt.processing_fusargpt import FusarGptProcessor

CPU_CACHE_BYTES = 4 * 2**30


@dataclass(frozen=True, eq=False)
class VllmFusarGpt(FusarGpt):
    """As `FusarGpt`, with vLLM's engine as the model. It schedules by itself, so give it many questions at once."""

    model: LLM

    def answer(
        self,
        image: Image.Image,
        question: str,
        prior: Prior | None = None,
        max_new_tokens: int = MAX_NEW_TOKENS,
        streamer: BaseStreamer | None = None,
        form: AnswerForm | None = None,
        task: str | None = None,
    ) -> str:
        """As `FusarGpt.answer`. ValueError for a streamer or a form."""
        if streamer is not None:
            raise ValueError("streamer: found one, expected None; offline vLLM returns whole answers.")
        return self.answers([image], [question], [prior], max_new_tokens, forms=[form], tasks=[task])[0]

    def answers(
        self,
        images: Sequence[Image.Image],
        questions: Sequence[str],
        priors: Sequence[Prior | None] | None = None,
        max_new_tokens: int = MAX_NEW_TOKENS,
        batch_size: int = 0,
        forms: Sequence[AnswerForm | None] | None = None,
        tasks: Sequence[str | None] | None = None,
    ) -> list[str]:
        """As `FusarGpt.answers`; all go to vLLM at once, which decides on the batches. ValueError for a form."""
        if any(form is not None for form in forms or ()):
            raise ValueError("forms: found one, expected None; vLLM answers freely, `modeling_fusargpt` in a form.")
        priors = [None] * len(images) if priors is None else priors
        tasks = self._tasks(tasks, None, len(images))
        prompts = []
        for image, question, prior in zip(images, questions, priors, strict=True):
            self.seen_size(image)  # refuses what the image processor cannot take, as `FusarGpt` does
            texts = UserTexts(self.processor.tokenizer)
            prompt = prompt_of(self.processor, question, texts)
            prompts.append(request(image, texts.tokens(prompt) if texts.hold_special_tokens else prompt, prior))
        # The model's own settings (a penalty for repetition, the tokens that end), but greedy.
        sampling = self.model.get_default_sampling_params()
        sampling.temperature, sampling.top_p, sampling.top_k = 0.0, 1.0, 0
        sampling.max_tokens, sampling.detokenize = max_new_tokens, False
        # Of the token that is chosen, and of a count of the most probable ones too.
        sampling.logprobs = ALTERNATIVES if "count" in tasks else 0
        outputs = self.model.generate(prompts, sampling, use_tqdm=False)
        decoded = [decoded_of(output.outputs[0]) for output in outputs]
        return [self._text(answer, task) for answer, task in zip(decoded, tasks, strict=True)]

    def in_turn(
        self, asked: Iterable[Asked], max_new_tokens: int = MAX_NEW_TOKENS, batch_size: int = 16
    ) -> Iterator[list[tuple[int, str]]]:
        """As `FusarGpt.in_turn`; `batch_size` go to vLLM at once."""
        left, first = iter(asked), 0
        while batch := list(islice(left, batch_size)):
            images, questions, priors, forms, tasks = zip(*batch, strict=True)
            found = self.answers(images, questions, priors, max_new_tokens, forms=forms, tasks=tasks)
            yield list(enumerate(found, first))
            first += len(batch)


def decoded_of(completion: Any) -> Decoded:
    """What vLLM has written, with the log-probabilities that it gives: `token_ids`, and of each token a mapping of
    tokens to what has a `logprob`, of the one that was chosen and of the most probable ones."""
    tokens = list(completion.token_ids)
    steps = [{token: found.logprob for token, found in step.items()} for step in completion.logprobs]
    chosen = [step[token] for token, step in zip(tokens, steps, strict=True)]
    return Decoded(tokens, chosen, [list(step.items()) for step in steps[:STEPS]])


def request(image: Image.Image, prompt: str | list[int], prior: Prior | None) -> dict[str, object]:
    """One prompt for `LLM.generate`: text or tokens with one placeholder, its image, and the prior beside it."""
    form = "prompt" if isinstance(prompt, str) else "prompt_token_ids"
    inputs: dict[str, object] = {form: prompt, "multi_modal_data": {"image": image}}
    if prior is not None:
        arrays = prior.columns()
        inputs["mm_processor_kwargs"] = {"priors": [arrays]}
    return inputs


def load_vllm(model: str | Path, **options: Any) -> VllmFusarGpt:
    """Start vLLM on a whole FUSAR-GPT.

    Args:
        model: a folder with model and processor, or the Hub's `owner/name`.
        options: of `vllm.LLM`. Without a dtype among them the weights are float32 on a CPU, where nothing is compiled,
            else bfloat16. On a CPU the cache takes 4 GiB, or what VLLM_CPU_KVCACHE_SPACE says in GiB.

    Raises:
        InputError: no such model, one whose folder holds a TLM or an adapter alone, or an engine that does not start.
    """
    name = str(model)
    check_name(name)
    try:
        weights = read_artefact(name).weights
    except ArtefactError as error:
        raise InputError(str(error)) from error
    if weights != "whole":
        raise InputError(f"{name}: holds {weights} weights alone; write the whole model for vLLM with `fusargpt merge`")
    settings: dict[str, Any] = {"limit_mm_per_prompt": {"image": 1}, "dtype": "bfloat16"}
    if current_platform.is_cpu():
        settings |= {"dtype": "float32", "enforce_eager": True}
        if "VLLM_CPU_KVCACHE_SPACE" not in os.environ:
            # vLLM would take all memory but a twelfth for itself, and end where so much is not free.
            settings["kv_cache_memory_bytes"] = CPU_CACHE_BYTES
    try:
        engine = LLM(name, **{**settings, **options})
    # What vLLM raises when an engine does not start, after it has printed the reason.
    except RuntimeError as error:
        raise InputError(f"{name}: vLLM did not start: {one_line(error)}") from error
    return VllmFusarGpt(engine, FusarGptProcessor.from_pretrained(name))


__all__ = ["VllmFusarGpt", "decoded_of", "load_vllm", "request"]
