"""What a training step does beside computing: places where it would wait for a GPU, operators, walks over modules.

    python -m benchmarks.training_overhead

Counts, of one optimizer step of nano on a CPU, of which none depends on how busy the machine is. `benchmarks/waits.py`
says how waits are counted where there is no GPU. Nano's stages are trained as their recipes say, but in float32, with
`--sequences` a micro-batch and `--micro-batches` a step; stage 2 with the tower in the pass, and with cached visual
tokens and four pairs a sequence, as its recipe has it. The first step prepares, the second is counted, the third
profiled.
"""

import argparse
import cProfile
import json
import pstats
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from datasets import Dataset
from datasets import config as datasets_config
from transformers import TrainerCallback
from transformers.utils import logging

from benchmarks.waits import Waits
from fusargpt.checkpoints import NANO
from fusargpt.simulator.records import SPLIT_SEEDS, rows
from fusargpt.triplets.features import CAPTION_FEATURES, RECORD_FEATURES
from trl_recipes.arguments import parse
from trl_recipes.sft import make_trainer

RECIPES = Path(__file__).resolve().parents[1] / "trl_recipes" / "nano"
RESULT = Path(__file__).parent / "results" / "training_overhead.json"
PAIRS = 4  # of a sequence, in stage 2's recipe
RUNS: dict[str, tuple[str, str, bool]] = {
    # Recipe, layout of the data, and whether visual tokens are cached.
    "stage 1": ("stage1.yaml", "captions", False),
    "stage 1, cached tokens": ("stage1.yaml", "captions", True),
    "stage 2, one pair a sequence": ("stage2.yaml", "instructions", False),
    "stage 2, cached tokens, four pairs a sequence": ("stage2.yaml", "instructions", True),
}
STEPS = 3


class Counted(TrainerCallback):
    """Counts in the second step and profiles the third, from the first micro-batch to the optimizer's end."""

    def __init__(self) -> None:
        self.waits = Waits()
        self.profile = cProfile.Profile()
        self._stack = ExitStack()

    def on_step_begin(self, args: Any, state: Any, *_: Any, **__: Any) -> None:
        if state.global_step == 1:
            self._stack.enter_context(self.waits)
        elif state.global_step == 2:
            self._stack.enter_context(self.profile)

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self._stack.close()

    def module_visits(self) -> int:
        """Of modules: to be put into training, and by everyone who looks through all of them or their weights."""
        calls = 0
        for (file, _, name), (_, count, *_) in pstats.Stats(self.profile).stats.items():  # pyright: ignore
            if file.endswith("torch/nn/modules/module.py") and name in ("train", "named_modules"):
                calls += count
        return calls


def counted(name: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """What one step of a run comes to, per micro-batch where it is said."""
    recipe, layout, is_cached = RUNS[name]
    pairs = PAIRS if layout == "instructions" and is_cached else 1
    settings = {
        "model_name_or_path": NANO,
        "dataset_name": folder / layout,
        "output_dir": folder / name.replace(" ", "-").replace(",", ""),
        "feature_cache": folder / "features" if is_cached else None,
        "pairs_per_sequence": pairs,
        "per_device_train_batch_size": options.sequences,
        "gradient_accumulation_steps": options.micro_batches,
        "max_steps": STEPS,
        "bf16": False,
        "bf16_on_cpu": "always",
        "dataloader_num_workers": 0,
        "dataloader_persistent_workers": False,
        "save_strategy": "no",
        "logging_steps": 100,
        "resume": False,
        "disable_tqdm": True,
    }
    path = folder / "recipe.yaml"
    path.write_text(_with(RECIPES / recipe, settings))
    trainer = make_trainer(*parse([str(path)]))
    own = Counted()
    trainer.add_callback(own)
    trainer.train()
    waits = own.waits
    return {
        "reads_of_the_device": waits.reads.total(),
        "copies_to_the_device": waits.copies.total(),
        "operators": waits.operators,
        "visits_of_modules": own.module_visits(),
        "modules": sum(1 for _ in trainer.model.modules()),
        "reads": _by_number(waits.reads),
        "copies": _by_number(waits.copies),
    }


def _with(recipe: Path, settings: Mapping[str, object]) -> str:
    import yaml

    fields = {**yaml.safe_load(recipe.read_text()), **settings}
    fields = {key: value for key, value in fields.items() if value is not None or key == "max_length"}
    if fields["pairs_per_sequence"] == 1:
        fields.pop("earlier_answers", None)
    fields.pop("num_train_epochs", None)
    return json.dumps(fields, default=str)  # JSON is YAML


def _by_number(found: Counter[str]) -> dict[str, int]:
    return dict((+found).most_common())


def write_data(folder: Path, scenes: int) -> None:
    seeds = range(SPLIT_SEEDS["train"], SPLIT_SEEDS["train"] + scenes)
    for layout, features in (("captions", CAPTION_FEATURES), ("instructions", RECORD_FEATURES)):
        (folder / layout).mkdir()
        made = [row for seed in seeds for row in rows(seed, layout, "sar")]
        Dataset.from_list(made, features=features).to_parquet(folder / layout / "train-00000-of-00001.parquet")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sequences", type=int, default=4, help="of a micro-batch")
    parser.add_argument("--micro-batches", type=int, default=2, help="of an optimizer step")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable_progress_bar()
    result: dict[str, Any] = {
        "torch": torch.__version__,
        "sequences": options.sequences,
        "micro_batches": options.micro_batches,
    }
    with TemporaryDirectory() as name:
        folder = Path(name)
        datasets_config.HF_DATASETS_CACHE = folder / "datasets"
        write_data(folder, options.sequences * options.micro_batches)
        for run in RUNS:
            result[run] = counted(run, folder, options)
            print(json.dumps({run: result[run]}, indent=1), flush=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
