"""What the 7B recipes take on this machine's GPU, beside what `fusargpt plan` works out for it.

    python -m benchmarks.training_7b --gpu h100 --folder /dev/shm/fusargpt-7b

The backbone has the sizes of Qwen2.5-VL-7B and random weights, 17 GB of them in `--folder`: what a step takes does not
depend on their values. Each recipe runs as `fusargpt train` runs it, on simulated scenes at 504 x 504 pixels, without
flash attention. Nano's tokenizer stands in for Qwen's.

Time is the median of the steps after the first two. Memory is the peak of torch's allocator, which the plan's tensors
are held against, and what the driver says is taken of the GPU, in which what the plan calls the runtime is too.
"""

import argparse
import gc
import json
import math
import statistics
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from datasets import Dataset
from torch import Tensor
from transformers import TrainerCallback
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLTextConfig
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from fusargpt.checkpoints import NANO
from fusargpt.simulator.records import SPLIT_SEEDS, rows
from fusargpt.triplets.features import RECORD_FEATURES
from modeling_fusargpt import FusarGptForConditionalGeneration, FusarGptProcessor
from trl_recipes.arguments import parse
from trl_recipes.planning.memory import RUNTIME
from trl_recipes.planning.plan import GPUS, Data, Plan, make_plan
from trl_recipes.planning.sizes import qwen_7b_config
from trl_recipes.sft import make_trainer

RECIPES = Path(__file__).resolve().parents[1] / "trl_recipes"
RESULT = Path(__file__).parent / "results" / "training_7b.json"
IMAGE_SIZE = 504
WARM_UP = 2  # steps
SEQUENCES_A_STEP = 16  # in all of the recipes
NO_CHECKPOINTING = ["--activation_checkpointing", "false"]
RUNS: dict[str, tuple[str, list[str]]] = {
    "stage 1": ("stage1.yaml", []),
    "stage 1, no checkpointing": ("stage1.yaml", NO_CHECKPOINTING),
    "stage 1, TLM and LoRA": ("stage1.yaml", ["--train", "tlm+lora"]),
    "stage 2": ("stage2.yaml", []),
    "stage 2, no checkpointing": ("stage2.yaml", NO_CHECKPOINTING),
    "stage 2, cached tokens, four pairs a sequence": ("stage2.yaml", ["--pairs_per_sequence", "4"]),
    "stage 2, QLoRA": ("stage2_qlora.yaml", []),
}


def make_base(folder: Path) -> Path:
    """A backbone with random weights and the processor that goes with it, in folder/base; left as it is if there."""
    base = folder / "base"
    if (base / "processor_config.json").exists():
        return base
    processor = make_processor()
    identifier = processor.tokenizer.convert_tokens_to_ids
    config = qwen_7b_config(
        image_token_id=identifier("<|image_pad|>"),
        video_token_id=identifier("<|video_pad|>"),
        vision_start_token_id=identifier("<|vision_start|>"),
        vision_end_token_id=identifier("<|vision_end|>"),
    )
    text = cast(Qwen2_5_VLTextConfig, config.text_config)
    text.bos_token_id, text.eos_token_id = None, identifier("<|im_end|>")
    text.pad_token_id = identifier("<|endoftext|>")
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        model = FusarGptForConditionalGeneration(config)
    torch.set_default_dtype(torch.float32)
    # Stage 2 refuses a TLM that is still the identity.
    for parameter in model.model.tlm.parameters():
        torch.nn.init.normal_(parameter, std=0.002)
    model.save_pretrained(base)
    processor.save_pretrained(base)
    return base


def make_processor() -> FusarGptProcessor:
    """Nano's, but for the size of images."""
    nano = FusarGptProcessor.from_pretrained(NANO)
    images = Qwen2VLImageProcessorPil(size={"shortest_edge": IMAGE_SIZE**2, "longest_edge": IMAGE_SIZE**2})
    return FusarGptProcessor(images, nano.tokenizer, nano.chat_template)


class StepTimes(TrainerCallback):
    """Seconds between the ends of steps, with the GPU's work done."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        torch.cuda.synchronize()
        self.ends.append(time.perf_counter())

    @property
    def median(self) -> float:
        steps = [end - start for start, end in zip(self.ends, self.ends[1:], strict=False)]
        return statistics.median(steps[WARM_UP - 1 :])


class Lengths:
    """Before every forward pass: how many text tokens, padding among them, and answer tokens there are a sequence."""

    def __init__(self, visual_tokens: int) -> None:
        self.visual_tokens = visual_tokens
        self.text: list[int] = []
        self.learned: list[Tensor] = []

    def __call__(self, _: Any, __: Any, batch: dict[str, Any]) -> None:
        self.text.append(batch["input_ids"].shape[1] - self.visual_tokens)
        self.learned.append((batch["labels"] != -100).sum() / len(batch["labels"]))

    @property
    def answers(self) -> list[float]:
        return torch.stack(self.learned).tolist()


def make_data(folder: Path, layout: str, scenes: int) -> Path:
    """Rows about simulated scenes, in a folder of their own."""
    seeds = range(SPLIT_SEEDS["train"], SPLIT_SEEDS["train"] + scenes)
    data = folder / f"{layout}-{scenes}"
    data.mkdir(exist_ok=True)
    table = Dataset.from_list([row for seed in seeds for row in rows(seed, layout, "sar")], features=RECORD_FEATURES)
    table.to_parquet(data / "train-00000-of-00001.parquet")
    return data


def run(name: str, base: Path, folder: Path, gpu: str, steps: int) -> dict[str, Any]:
    """Train `steps` steps of one of `RUNS`, and plan the same."""
    recipe_name, own = RUNS[name]
    recipe_path = str(RECIPES / recipe_name)
    layout = "captions" if recipe_name == "stage1.yaml" else "instructions"
    # No step sees a scene that another has seen.
    scenes = steps * SEQUENCES_A_STEP
    if "cached" in name:
        own = [*own, "--feature_cache", str(folder / "features")]
    fixed = {
        "model_name_or_path": base,
        "output_dir": folder / "out",
        "dataset_name": make_data(folder, layout, scenes),
        "dataset_config": "default",
        "attn_implementation": "sdpa",
        "max_steps": steps,
        "logging_steps": 1,
        "save_strategy": "no",
        "disable_tqdm": "true",
    }
    overrides = [*own, *(str(part) for key, value in fixed.items() for part in (f"--{key}", value))]
    recipe, config = parse([recipe_path, *overrides])
    trainer = make_trainer(recipe, config)
    times, side = StepTimes(), IMAGE_SIZE // 28
    lengths = Lengths(side**2)
    trainer.model.register_forward_pre_hook(lengths, with_kwargs=True)
    trainer.add_callback(times)
    torch.cuda.reset_peak_memory_stats()
    trainer.train()
    free, total = torch.cuda.mem_get_info()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == steps and all(map(math.isfinite, losses)), f"{name}: losses {losses}"
    # The longest batch sets the peak, the mean one the time.
    peaks = planned(recipe_path, overrides, gpu, max(lengths.text), max(lengths.answers))
    means = planned(recipe_path, overrides, gpu, round(statistics.mean(lengths.text)), statistics.mean(lengths.answers))
    sequences = config.per_device_train_batch_size * config.gradient_accumulation_steps
    flops = means.per_sequence.total * sequences / times.median
    strategy = "qlora" if recipe.quantization != "none" else "ddp"
    option = next(option for option in peaks.options if option.strategy == strategy)
    return {
        "losses": [losses[0], losses[-1]],
        "sequences_a_step": sequences,
        "sequences_a_micro_batch": config.per_device_train_batch_size,
        "tokens_a_sequence": side**2 + means.text_tokens,
        "seconds_a_step": round(times.median, 3),
        "sequences_per_second": round(sequences / times.median, 2),
        "utilisation": round(flops / GPUS[gpu].flops, 3),
        "gib": {
            "allocated": gib(torch.cuda.max_memory_allocated()),
            "reserved": gib(torch.cuda.max_memory_reserved()),
            "taken": gib(total - free),
            "planned tensors": gib(option.memory.total),
            "planned with runtime": gib(option.memory.total + RUNTIME),
            "planned parts": {part: gib(size) for part, size in asdict(option.memory).items()},
        },
    }


def planned(recipe_path: str, overrides: list[str], gpu: str, text: float, answers: float) -> Plan:
    """The plan of a recipe whose sequences have so many tokens of text, `answers` of which are learned."""
    recipe, config = parse([recipe_path, *overrides])
    pairs = recipe.pairs_per_sequence
    learned = max(1, round(answers / pairs))
    data = Data(image_size=IMAGE_SIZE, prompt_tokens=max(1, round(text / pairs) - learned), answer_tokens=learned)
    return make_plan(recipe, config, gpu, 1, data=data)


def gib(size: float) -> float:
    return round(size / 2**30, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpu", choices=tuple(GPUS), required=True, help="what this machine's GPU is to the plan")
    parser.add_argument("--folder", type=Path, default=Path("build/training_7b"), help="for weights and features")
    parser.add_argument("--steps", type=int, default=8, help="of the optimizer")
    parser.add_argument("--runs", nargs="*", choices=tuple(RUNS), default=tuple(RUNS), help="all when left out")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("found no GPU that torch can use; this benchmark needs one of 40 GB or more")
    base, results = make_base(options.folder), {}
    for name in options.runs:
        try:
            results[name] = run(name, base, options.folder, options.gpu, options.steps)
        except torch.OutOfMemoryError as error:  # tells nothing about the next
            results[name] = {"error": str(error)}
        gc.collect()
        torch.cuda.empty_cache()
        print(json.dumps({name: results[name]}), flush=True)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        result = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "runs": results}
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
