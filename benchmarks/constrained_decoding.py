"""Constrained decoding: how many answers can be read, what it costs, and what it does to the scores.

    python -m benchmarks.constrained_decoding

1. A model of nano's sizes with random weights answers one question about each of 1,000 simulated scenes, free and
   constrained: the share that the parsers read without a problem.
2. The trained nano answers the same questions free and constrained, batch by batch in turns: the ratio of both times.
   Compared are the batches in which both decode the same tokens, so that it is the price of the masks and nothing else.
3. The same model on all four tasks of further scenes, free and constrained: its scores with 95 % intervals.
"""

import argparse
import json
import statistics
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm
from transformers.utils import logging

from fusargpt.checkpoints import NANO
from fusargpt.geo.embeddings import dequantize
from fusargpt.geo.prior import PRIOR_EMBEDDINGS, PRIOR_POSITIONS, Prior
from fusargpt.inference.backbones import model_class
from fusargpt.inference.loading import load
from fusargpt.inference.predict import FusarGpt
from fusargpt.metrics.scores import task_scores
from fusargpt.simulator.records import LAYOUTS, SPLIT_SEEDS, rows
from fusargpt.tasks.answers import parse_boxes, parse_cells, parse_count
from fusargpt.tasks.grammar import AnswerForm
from fusargpt.tasks.prompts import MAX_NEW_TOKENS, NONE_ANSWER
from fusargpt.tasks.target_names import TARGETS

RESULT = Path(__file__).parent / "results" / "constrained_decoding.json"
TASKS = LAYOUTS["instructions"]
# Of all that a task is scored with; each with its 95 % interval.
SCORES = ("accuracy", "mae", "acc@100", "exact", "f1@0.25", "f1@0.50")


class Asked(NamedTuple):
    task: str
    image: Image.Image
    question: str
    prior: Prior
    reference: str


def question(seed: int, task: str) -> Asked:
    """That of one scene of the test split."""
    (row,) = (row for row in rows(SPLIT_SEEDS["test"] + seed, "instructions", "sar") if row["task"] == task)
    prior = Prior(dequantize(np.asarray(row[PRIOR_EMBEDDINGS], np.int8)), np.asarray(row[PRIOR_POSITIONS], np.float32))
    return Asked(task, row["image"], row["prompt"][0]["content"], prior, row["completion"][0]["content"])


def readable(task: str, answer: str) -> bool:
    """Whether the answer is read without a problem, and names a class that there is."""
    if task == "count":
        return not parse_count(answer).problems
    if task == "localize":
        return not parse_cells(answer).problems
    if task == "classify":
        return answer in (*TARGETS, NONE_ANSWER)
    return not parse_boxes(answer).problems


def answer(
    predictor: FusarGpt, asked: list[Asked], constrained: bool, batch_size: int, max_new_tokens: int
) -> list[list[int]]:
    forms = [AnswerForm(one.task) for one in asked] if constrained else None
    images, questions, priors = (
        [one.image for one in asked],
        [one.question for one in asked],
        [one.prior for one in asked],
    )
    return predictor.answer_tokens(images, questions, priors, max_new_tokens, batch_size, forms)


def parse_rates(predictor: FusarGpt, asked: list[Asked], options: argparse.Namespace) -> dict[str, Any]:
    """Readable answers of a model with random weights."""
    config = predictor.model.config
    torch.manual_seed(0)
    untrained = FusarGpt(model_class(config)(config).float().eval(), predictor.processor)
    untrained.model.generation_config = predictor.model.generation_config
    found: dict[str, Any] = {"scenes": len(asked)}
    for name, constrained in (("free", False), ("constrained", True)):
        read = []
        for start in tqdm(range(0, len(asked), options.batch_size), desc=f"untrained, {name}", disable=None):
            batch = asked[start : start + options.batch_size]
            texts = predictor.processor.batch_decode(
                answer(untrained, batch, constrained, options.batch_size, options.untrained_tokens),
                skip_special_tokens=True,
            )
            read += [readable(one.task, text) for one, text in zip(batch, texts, strict=True)]
        found[name] = {"readable": sum(read), "share": sum(read) / len(read)}
    return found


def speed(predictor: FusarGpt, asked: list[Asked], options: argparse.Namespace) -> dict[str, Any]:
    """Time of constrained over time of free decoding, in turns."""
    answer(
        predictor, asked[: options.batch_size], True, options.batch_size, options.max_new_tokens
    )  # grammars are compiled once
    ratios, processor_ratios, alike = [], [], 0
    for turn in range(options.turns):
        for start in tqdm(range(0, len(asked), options.batch_size), desc=f"turn {turn + 1}", disable=None):
            batch = asked[start : start + options.batch_size]
            seconds, tokens = {}, {}
            # Who is first changes, so that a load that grows or falls favours neither.
            for constrained in (False, True) if (turn + start // options.batch_size) % 2 else (True, False):
                begun = np.array([time.perf_counter(), time.process_time()])
                tokens[constrained] = answer(predictor, batch, constrained, options.batch_size, options.max_new_tokens)
                seconds[constrained] = np.array([time.perf_counter(), time.process_time()]) - begun
            if tokens[True] == tokens[False]:
                alike += 1
                wall, processor = (float(value) for value in seconds[True] / seconds[False])
                ratios.append(wall)
                processor_ratios.append(processor)
    quartiles = [round(value, 3) for value in statistics.quantiles(ratios, n=4)]
    return {
        "batches": options.turns * -(-len(asked) // options.batch_size),
        "batches_with_the_same_tokens": alike,
        "time_constrained_over_free": round(statistics.median(ratios), 3),
        "quartiles": quartiles,
        "processor_time_constrained_over_free": round(statistics.median(processor_ratios), 3),
    }


def scores(predictor: FusarGpt, asked: list[Asked], options: argparse.Namespace) -> dict[str, Any]:
    """Of the trained model, by task."""
    found: dict[str, Any] = {}
    for name, constrained in (("free", False), ("constrained", True)):
        tokens = answer(predictor, asked, constrained, options.batch_size, options.max_new_tokens)
        texts = predictor.processor.batch_decode(tokens, skip_special_tokens=True)
        found[name] = {}
        for task in TASKS:
            pairs = [(text, one.reference) for one, text in zip(asked, texts, strict=True) if one.task == task]
            read = sum(readable(task, text) for text, _ in pairs)
            values = task_scores(task, [text for text, _ in pairs], [reference for _, reference in pairs])
            found[name][task] = {"n": len(pairs), "readable": read} | {
                metric: [round(number, 4) for number in (score.value, score.low, score.high)]
                for metric, score in values.items()
                if metric in SCORES
            }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=1000, help="one question each, the four tasks in turn")
    parser.add_argument("--untrained-tokens", type=int, default=128, help="at which they are cut")
    parser.add_argument("--timed-scenes", type=int, default=96)
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--scored-scenes", type=int, default=100, help="asked all four tasks")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--max-new-tokens", type=int, default=MAX_NEW_TOKENS)
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    logging.disable_progress_bar()
    predictor = load(NANO, "cpu")
    asked = [question(seed, TASKS[seed % len(TASKS)]) for seed in range(options.scenes)]
    further = range(options.scenes, options.scenes + options.scored_scenes)
    result = {
        "model": NANO.name,
        "dtype": "float32",
        "threads": options.threads,
        "batch_size": options.batch_size,
        "max_new_tokens": {"untrained": options.untrained_tokens, "trained": options.max_new_tokens},
        "llguidance": version("llguidance"),
        "untrained": parse_rates(predictor, asked, options),
        "speed": speed(predictor, asked[: options.timed_scenes], options),
        "scores": scores(predictor, [question(seed, task) for seed in further for task in TASKS], options),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
