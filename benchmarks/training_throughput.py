"""Training images per second beside a loop that does what the authors' release does, in one process, step by step.

    python -m benchmarks.training_throughput

Both train the same LoRA from the same weights on the same simulated pairs in the same order, with the same optimiser,
and take their steps in turns, so that a busy machine slows both. The release's loop reads one image at a time and runs
the tower again for each of its question-answer pairs, one pair a sequence; it takes an optimiser step after the pairs
of `--images-a-step` images. Ours takes that step at once, reads visual tokens from a feature cache, and has all pairs
about an image in one sequence that hides them from each other. The losses agree to rounding: it is the same training.
"""

import argparse
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
import torch
from datasets import Dataset
from datasets import config as datasets_config
from peft import LoraConfig, get_peft_model
from transformers import TrainerCallback
from transformers.utils import logging
from trl.trainer.sft_config import SFTConfig

from fusargpt.checkpoints import NANO
from fusargpt.simulator.records import SPLIT_SEEDS, rows
from fusargpt.triplets.features import RECORD_FEATURES
from modeling_fusargpt import FusarGptProcessor
from trl_recipes.arguments import RecipeArguments, parse
from trl_recipes.data.collator import TripletCollator
from trl_recipes.model.checkpoint import load_model
from trl_recipes.model.parameters import freeze, lora_config
from trl_recipes.model.patch_embedding import use_linear_patch_embedding
from trl_recipes.running.trainer import StageTrainer
from trl_recipes.sft import in_sequences, load_split, make_trainer, prepare_data

PAIRS = 4  # about each image, in the layout `instructions`


def recipe(folder: Path, options: argparse.Namespace) -> tuple[RecipeArguments, SFTConfig]:
    """Stage 2 of nano with cache and pairs, at a constant rate and in the order of the rows."""
    settings = {
        "model_name_or_path": str(NANO),
        "dataset_name": str(folder / "data"),
        "output_dir": str(folder / "out"),
        "train": "lora",
        "feature_cache": str(folder / "feature_cache"),
        "pairs_per_sequence": PAIRS,
        "per_device_train_batch_size": options.images_a_step,
        "num_train_epochs": options.epochs,
        "learning_rate": 1e-3,
        "lr_scheduler_type": "constant",
        "optim": "adamw_torch",
        "max_grad_norm": 1.0,
        "use_cpu": True,
        "bf16": False,
        "activation_checkpointing": False,
        "train_sampling_strategy": "sequential",
        "max_length": None,
        "remove_unused_columns": False,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }
    path = folder / "recipe.yaml"
    path.write_text(json.dumps(settings))  # JSON is YAML
    return parse([str(path)])


def clocks() -> np.ndarray:
    """Seconds on the wall and of this process's processor time; on an idle machine and one thread they go alike."""
    return np.array([time.perf_counter(), time.process_time()])


class ReleaseLoop(TrainerCallback):
    """After each step of ours, the same step as the release takes it; keeps the time of both.

    The model is that of transformers: our faster patch embedding is left out.
    """

    def __init__(self, fields: RecipeArguments, rows: Dataset, like: StageTrainer, pairs_a_step: int) -> None:
        model = load_model(fields.model_name_or_path)
        freeze(model, fields)
        self.model = get_peft_model(model, cast(LoraConfig, lora_config(fields)))
        self.model.load_state_dict(like.model.state_dict())
        self.model.train()
        self.optimizer = torch.optim.AdamW(
            [parameter for parameter in self.model.parameters() if parameter.requires_grad],
            lr=like.args.learning_rate,
            betas=(like.args.adam_beta1, like.args.adam_beta2),
            eps=like.args.adam_epsilon,
            weight_decay=like.args.weight_decay,
        )
        self.rows = rows
        self.collate = TripletCollator(like.processing_class)
        self.pairs_a_step = pairs_a_step
        self.losses: list[float] = []
        self.release_seconds, self.our_seconds, self.mark = np.zeros(2), np.zeros(2), np.zeros(2)

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.mark = clocks()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        start = clocks()
        self.our_seconds += start - self.mark
        self.step()
        self.mark = clocks()
        self.release_seconds += self.mark - start

    def step(self) -> None:
        first = len(self.losses) * self.pairs_a_step % len(self.rows)
        batches = [self.collate([self.rows[index]]) for index in range(first, first + self.pairs_a_step)]
        learned = [int((batch["labels"] != -100).sum()) for batch in batches]
        total = 0.0
        for batch, tokens in zip(batches, learned, strict=True):
            # The mean over all answer tokens of the step, as the trainer takes it.
            loss = self.model(**batch, use_cache=False).loss * tokens / sum(learned)
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.losses.append(total)


def measure(folder: Path, options: argparse.Namespace) -> None:
    """Write the data, run both, print losses and throughput."""
    (folder / "data").mkdir()
    seeds = range(SPLIT_SEEDS["train"], SPLIT_SEEDS["train"] + options.images)
    pairs = [row for seed in seeds for row in rows(seed, "instructions", "sar")]
    Dataset.from_list(pairs, features=RECORD_FEATURES).to_parquet(folder / "data" / "train-00000-of-00001.parquet")
    fields, config = recipe(folder, options)
    # Once for itself, to know what it takes; the trainer then finds all of it.
    model = load_model(fields.model_name_or_path)
    use_linear_patch_embedding(model.model)
    split = load_split(fields, fields.dataset_train_split)
    start = clocks()
    processor = FusarGptProcessor.from_pretrained(fields.model_name_or_path)
    _, keyed = prepare_data(fields, config, model, processor, [split])
    in_sequences(fields, config, keyed)
    encoding = clocks() - start
    ours = make_trainer(fields, config)
    loop = ReleaseLoop(fields, split, ours, options.images_a_step * PAIRS)
    ours.add_callback(loop)
    ours.train()
    losses = [entry["loss"] for entry in ours.state.log_history if "loss" in entry]
    print(f"{'step':>4} {'loss, release':>14} {'loss, ours':>12}")
    for step, (theirs, own) in enumerate(zip(loop.losses, losses, strict=True), start=1):
        print(f"{step:>4} {theirs:>14.6f} {own:>12.6f}")
    images = options.images * options.epochs
    print(f"{'':<8} {'images/s':>9} {'pairs/s':>9} {'images per processor second':>29}")
    for name, seconds in (("release", loop.release_seconds), ("ours", loop.our_seconds)):
        wall, processor = images / seconds
        print(f"{name:<8} {wall:>9.2f} {PAIRS * wall:>9.1f} {processor:>29.2f}")
    wall, processor = loop.release_seconds / loop.our_seconds
    print(f"ratio    {wall:>9.2f} {'':>9} {processor:>29.2f}")
    wall, processor = loop.release_seconds / (loop.our_seconds + encoding)
    print(
        f"Visual tokens of {options.images} images, once before the first step: {encoding[0]:.1f} s. Counted into "
        f"these {options.epochs} epochs the ratio is {wall:.2f} ({processor:.2f} in processor seconds)."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=32, help="scenes, each with four pairs")
    parser.add_argument("--images-a-step", type=int, default=4, help="of which an optimiser step takes the pairs")
    parser.add_argument("--epochs", type=int, default=5, help="as many as the paper's stage 2")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    options = parser.parse_args()
    if options.images % options.images_a_step:
        parser.error(f"--images: found {options.images}, expected a multiple of --images-a-step")
    torch.set_num_threads(options.threads)
    logging.disable_progress_bar()
    with TemporaryDirectory() as folder:
        datasets_config.HF_DATASETS_CACHE = Path(folder) / "datasets"
        measure(Path(folder), options)


if __name__ == "__main__":
    main()
