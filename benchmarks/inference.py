"""Images per second beside a loop that does what the authors' release does, and beside transformers' own batches.

    python -m benchmarks.inference
    python -m benchmarks.inference --batch-sizes 1 16 64

All answer the same questions about the same simulated scenes with the same weights of fusargpt-nano in float32. The
release's loop takes one image and one question at a time, runs the tower for each, and at every call builds the
Gaussian weights anew, and gamma and beta as fields [H W, C] on the whole patch grid, which it resizes to the tokens.
Ours is `FusarGpt.answers`: an image is encoded and read once for its questions, alignment weights are built once a
batch, and rows leave the batch as their answers end. `generate` of transformers gets the same questions in batches of
the same size, padded on the left: what a user has who batches without this package's decoding. All take turns in one
process, so that a busy machine slows all. The answers must be the same token for token, or the run fails.

With `--batch-sizes`, ours beside ours: batches of several sizes with and without drafts of the tokens to come
(`fusargpt.inference.drafts`), by processor time and passes of the decoder.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial, wraps
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from transformers.utils import logging

from fusargpt.checkpoints import NANO
from fusargpt.geo.embeddings import dequantize
from fusargpt.geo.prior import PRIOR_EMBEDDINGS, PRIOR_POSITIONS, Prior
from fusargpt.inference.loading import load
from fusargpt.inference.predict import FusarGpt
from fusargpt.inference.running_batch import RunningBatch
from fusargpt.simulator.records import LAYOUTS, SPLIT_SEEDS, rows
from fusargpt.tasks.prompts import MAX_NEW_TOKENS
from modeling_fusargpt.tlm import EPSILON, TokenwiseLinearModulation

RESULT = Path(__file__).parent / "results" / "inference.json"
BATCHES_RESULT = RESULT.with_name("inference_batches.json")
# Which tasks are asked about each scene.
SETTINGS = {"five tasks": LAYOUTS["questions"], "detect": ("detect",), "count": ("count",)}


class Question(NamedTuple):
    image: Image.Image
    text: str
    prior: Prior


class ReleaseModulation(nn.Module):
    """The TLM's computation in the authors' release, with the parameters of ours: one image, fields of C channels."""

    def __init__(self, tlm: TokenwiseLinearModulation) -> None:
        super().__init__()
        self.tlm = tlm

    def forward(
        self, tokens: Tensor, patch_grids: list[tuple[int, int]], embeddings: Tensor, positions: Tensor, mask: Tensor
    ) -> Tensor:
        """As of `TokenwiseLinearModulation`, for one image."""
        (height, width), sigma, merge = patch_grids[0], self.tlm.config.sigma, self.tlm.merge_size
        hidden = functional.silu(self.tlm.input_projection(embeddings[0]))
        modulation = self.tlm.output_projection(hidden) + self.tlm.output_bias
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        cells = torch.stack([rows, columns], -1).reshape(1, -1, 2)
        centres = positions[0] * torch.tensor([height - 1, width - 1])
        weights = torch.exp(-(cells - centres[:, None]).square().sum(-1) / (2 * sigma**2))
        weights = weights / (weights.sum(0, keepdim=True) + EPSILON)
        weights = weights * mask[0][:, None]
        weights = weights / (weights.sum(0, keepdim=True) + EPSILON)
        field = (weights.T @ modulation).reshape(1, height, width, -1).permute(0, 3, 1, 2)
        resized = functional.interpolate(field, (height // merge, width // merge), mode="bilinear", align_corners=False)
        gamma, beta = resized[0].flatten(1).T.chunk(2, dim=-1)
        return tokens * (1 + gamma) + beta


def release_loop(predictor: FusarGpt, questions: list[Question], max_new_tokens: int) -> list[list[int]]:
    """The tokens of each answer."""
    model: Any = predictor.model
    ours = model.model.tlm
    model.model.tlm = ReleaseModulation(ours)
    answers = []
    try:
        for image, text, prior in questions:
            message: dict[str, Any] = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}
            prompt = predictor.processor.apply_chat_template([message], add_generation_prompt=True)
            arrays = prior.columns()
            features = predictor.processor(images=[image], text=[prompt], priors=[arrays], return_tensors="pt")
            with torch.inference_mode():
                tokens = model.generate(**features, max_new_tokens=max_new_tokens, do_sample=False)
            answers.append(tokens[0, features["input_ids"].shape[1] :].tolist())
    finally:
        model.model.tlm = ours
    return answers


def batched_generate(
    predictor: FusarGpt, questions: list[Question], max_new_tokens: int, batch_size: int
) -> list[list[int]]:
    """The tokens of each answer."""
    model: Any = predictor.model
    end = model.generation_config.eos_token_id
    ends = set(end if isinstance(end, list) else [end])
    answers = []
    for first in range(0, len(questions), batch_size):
        images, texts, priors = zip(*questions[first : first + batch_size], strict=True)
        messages: Any = [
            [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}] for text in texts
        ]
        prompts = predictor.processor.apply_chat_template(messages, add_generation_prompt=True)
        features = predictor.processor(
            images=list(images),
            text=prompts,
            priors=[prior.columns() for prior in priors],
            padding=True,
            padding_side="left",
            return_tensors="pt",
        )
        with torch.inference_mode():
            tokens = model.generate(**features, max_new_tokens=max_new_tokens, do_sample=False)
        for row in tokens[:, features["input_ids"].shape[1] :].tolist():
            length = next((place for place, token in enumerate(row, 1) if token in ends), len(row))
            answers.append(row[:length])
    return answers


def scenes(first: int, count: int, tasks: tuple[str, ...]) -> list[Question]:
    """Their questions, scene by scene."""
    asked = []
    for seed in range(SPLIT_SEEDS["test"] + first, SPLIT_SEEDS["test"] + first + count):
        of_scene = rows(seed, "questions", "sar")
        image = of_scene[0]["image"]
        prior = Prior(
            dequantize(np.asarray(of_scene[0][PRIOR_EMBEDDINGS], np.int8)),
            np.asarray(of_scene[0][PRIOR_POSITIONS], np.float32),
        )
        asked += [
            Question(image, row["prompt"][0]["content"], prior) for row in of_scene if cast(str, row["task"]) in tasks
        ]
    return asked


def timed(answer: Callable[[], list[list[int]]]) -> tuple[list[list[int]], np.ndarray]:
    """The answers, and the seconds they took on the wall and of processor time."""
    start = np.array([time.perf_counter(), time.process_time()])
    answers = answer()
    return answers, np.array([time.perf_counter(), time.process_time()]) - start


def measure(predictor: FusarGpt, tasks: tuple[str, ...], options: argparse.Namespace) -> dict[str, Any]:
    """All paths in turns over the same scenes; SystemExit when an answer differs."""
    seconds: list[tuple[np.ndarray, ...]] = []
    count = 0
    for turn in range(options.turns):
        questions = scenes(turn * options.images, options.images, tasks)
        images, texts, priors = (list(column) for column in zip(*questions, strict=True))

        ours = partial(predictor.answer_tokens, images, texts, priors, options.max_new_tokens, options.batch_size)
        theirs = partial(release_loop, predictor, questions, options.max_new_tokens)
        batched = partial(batched_generate, predictor, questions, options.max_new_tokens, options.batch_size)

        # Who is first changes, so that a load that grows or falls favours none.
        paths = [theirs, batched, ours]
        found = {path: timed(path) for path in (paths[::-1] if turn % 2 else paths)}
        own = found[ours][0]
        for other in (found[theirs][0], found[batched][0]):
            for text, one, two in zip(texts, own, other, strict=True):
                if one != two:
                    raise SystemExit(f"{text}: found {one}, expected {two}")
        count += len(questions)
        seconds.append(tuple(found[path][1] for path in paths))
    ratios = [theirs / own for theirs, _, own in seconds]
    of_batches = [batched / own for _, batched, own in seconds]
    release, _, ours_total = (np.sum(column, axis=0) for column in zip(*seconds, strict=True))
    images = options.turns * options.images
    return {
        "images": images,
        "questions": count,
        "equal_answers": count,
        "images_per_second": {"release": round(images / release[0], 2), "ours": round(images / ours_total[0], 2)},
        "ratio": round(statistics.median(float(ratio[0]) for ratio in ratios), 2),
        "ratio_by_turn": [round(float(ratio[0]), 2) for ratio in ratios],
        "ratio_of_processor_time": round(statistics.median(float(ratio[1]) for ratio in ratios), 2),
        "ratio_to_batched_generate": round(statistics.median(float(ratio[0]) for ratio in of_batches), 2),
        "ratio_to_batched_generate_of_processor_time": round(
            statistics.median(float(ratio[1]) for ratio in of_batches), 2
        ),
    }


def count_passes(monitored: list[int]) -> Callable[[], None]:
    """Put 1 into `monitored` for each pass that decodes; returns what ends it."""
    step = RunningBatch.step

    @wraps(step)
    def counted(batch: RunningBatch) -> None:
        monitored.append(1)
        step(batch)

    put = partial(setattr, RunningBatch, "step")
    put(counted)
    return partial(put, step)


def measure_batches(predictor: FusarGpt, tasks: tuple[str, ...], options: argparse.Namespace) -> dict[str, Any]:
    """Sizes of batches, with and without drafts, in turns over the same scenes; SystemExit when an answer differs."""
    sides = {
        f"{size}{'' if drafting else ' without drafts'}": (size, replace(predictor, drafting=drafting))
        for size in options.batch_sizes
        for drafting in (True, False)
    }
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    passes = dict.fromkeys(sides, 0)
    count = 0
    for turn in range(options.turns):
        questions = scenes(turn * options.images, options.images, tasks)
        images, texts, priors = (list(column) for column in zip(*questions, strict=True))
        found: dict[str, list[list[int]]] = {}
        for name, (size, model) in sorted(sides.items(), reverse=bool(turn % 2)):
            monitored: list[int] = []
            stop = count_passes(monitored)
            answer = partial(model.answer_tokens, images, texts, priors, options.max_new_tokens, size)
            found[name], taken = timed(answer)
            stop()
            seconds[name].append(float(taken[1]))
            passes[name] += len(monitored)
            if found[name] != next(iter(found.values())):
                raise SystemExit(f"batches of {name}: other answers than {next(iter(found))}")
        count += len(questions)

    def ratio(one: str, other: str) -> float:
        return round(statistics.median(a / b for a, b in zip(seconds[one], seconds[other], strict=True)), 2)

    return {
        "answers": count,
        "equal_answers": count,
        "processor_time_over_that_of_the_largest": {name: ratio(name, str(max(options.batch_sizes))) for name in sides},
        "processor_time_without_drafts_over_with": {
            str(size): ratio(f"{size} without drafts", str(size)) for size in options.batch_sizes
        },
        "passes_an_answer": {name: round(number / count, 2) for name, number in passes.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=48, help="scenes a turn")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=240, help="questions that are decoded together")
    parser.add_argument("--max-new-tokens", type=int, default=MAX_NEW_TOKENS)
    parser.add_argument("--threads", type=int, default=1, help="of torch, for all")
    parser.add_argument("--batch-sizes", type=int, nargs="+", help="measure ours by size of batch, and nothing else")
    parser.add_argument("--asked", nargs="+", choices=SETTINGS, default=list(SETTINGS), help="about each scene")
    parser.add_argument("--out", type=Path, help="default: in benchmarks/results")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    logging.disable_progress_bar()
    predictor = load(NANO, "cpu")
    result: dict[str, Any] = {
        "model": NANO.name,
        "dtype": "float32",
        "threads": options.threads,
        "batch_size": options.batch_sizes or options.batch_size,
        "torch": torch.__version__,
    }
    for name in options.asked:
        tasks = SETTINGS[name]
        result[name] = (measure_batches if options.batch_sizes else measure)(predictor, tasks, options)
        print(f"{name}: {json.dumps(result[name])}", flush=True)
    out: Path = options.out or (BATCHES_RESULT if options.batch_sizes else RESULT)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
