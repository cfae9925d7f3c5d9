"""Score a model on simulated held-out scenes: python -m benchmarks.score_nano --out scores.json

Every scene is asked all five tasks, with the prior of its own place (true), without one (none), and with that of
another scene (shuffled). The majority answer is the most frequent one of each task in the training split; for
detection, which would then find nothing, it is the most frequent one that names a box.
"""

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm import tqdm

from checkpoints import NANO
from dataset_card.records import SPLIT_SEEDS, question_answer, scene_fields
from dataset_card.scene import simulate_scene
from fusar_geo.embeddings import dequantize
from fusar_geo.prior import Prior
from metrics.scores import task_scores
from metrics.tally import Score
from modeling_fusargpt.predict import FusarGpt, load
from modeling_fusargpt.tasks import NONE_ANSWER, TASKS

PRIORS = ("true", "none", "shuffled")
MAJORITY_SCENES = 2000
BATCH_SIZE = 50


def majority_answer(task: str) -> str:
    """The most frequent answer in the training split."""
    scenes = (simulate_scene(SPLIT_SEEDS["train"] + seed) for seed in range(MAJORITY_SCENES))
    answers = Counter(question_answer(scene, task)[1] for scene in scenes)
    if task == "detect":
        del answers[NONE_ANSWER]
    return answers.most_common(1)[0][0]


def held_out(split: str, scenes: int) -> tuple[list[Image.Image], list[Prior], dict[str, list[tuple[str, str]]]]:
    """Images, priors, and for each task the (question, answer) of every scene."""
    images, priors = [], []
    asked: dict[str, list[tuple[str, str]]] = {task: [] for task in TASKS}
    for seed in range(scenes):
        scene = simulate_scene(SPLIT_SEEDS[split] + seed)
        fields = scene_fields(scene)
        images.append(fields["image"].convert("RGB"))
        priors.append(Prior(dequantize(fields["prior_embeddings"]), fields["prior_positions"]))
        for task in TASKS:
            asked[task].append(question_answer(scene, task))
    return images, priors, asked


def score(predictor: FusarGpt, split: str, scenes: int) -> dict[str, Any]:
    """Scores and predictions by task and prior, with the majority answer beside them."""
    images, priors, asked = held_out(split, scenes)
    # One step round the circle: every scene gets another one's prior.
    given = {"true": priors, "none": [None] * scenes, "shuffled": priors[1:] + priors[:1]}
    result: dict[str, Any] = {"split": split, "scenes": scenes, "scores": {}, "predictions": {}}
    with tqdm(total=len(TASKS) * len(PRIORS) * scenes, unit="answer") as progress:
        for task in TASKS:
            questions, references = zip(*asked[task], strict=True)
            result["scores"][task] = {"majority": task_scores(task, [majority_answer(task)] * scenes, references)}
            result["predictions"][task] = {"question": questions, "reference": references}
            for name in PRIORS:
                answers: list[str] = []
                for start in range(0, scenes, BATCH_SIZE):
                    part = slice(start, start + BATCH_SIZE)
                    answers += predictor.answers(
                        images[part], questions[part], given[name][part], max_new_tokens=160, batch_size=BATCH_SIZE
                    )
                    progress.update(len(answers) - start)
                result["scores"][task][name] = task_scores(task, answers, references)
                result["predictions"][task][name] = answers
    return result


def table(scores: dict[str, dict[str, dict[str, Score]]]) -> str:
    """Markdown: a row for each task and metric, a column for each prior and the majority answer; percent."""
    lines = ["| task | metric | n | prior true | none | shuffled | majority answer |", "|---|---|---|---|---|---|---|"]
    for task, columns in scores.items():
        for metric, first in columns["true"].items():
            cells = [str(columns[name][metric]) for name in (*PRIORS, "majority")]
            lines.append(f"| {task} | {metric} | {first.n} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(NANO))
    parser.add_argument("--split", choices=("validation", "test"), default="test")
    parser.add_argument("--scenes", type=int, default=500)
    parser.add_argument("--out", type=Path, required=True, help="JSON with all scores and predictions")
    options = parser.parse_args()
    result = score(load(options.model), options.split, options.scenes)
    print(table(result["scores"]))
    partial = options.out.with_suffix(".partial")
    partial.write_text(json.dumps(result, default=vars, indent=1))
    partial.replace(options.out)


if __name__ == "__main__":
    main()
