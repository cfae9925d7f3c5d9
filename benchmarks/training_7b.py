"""What the 7B recipes take on this machine's GPU, beside what `fusargpt plan` works out for it.

    python -m benchmarks.training_7b --gpu h100 --folder /dev/shm/fusargpt-7b

The backbone has the sizes of Qwen2.5-VL-7B and random weights, which are drawn on the GPU once and shared by all runs:
what trains is copied or stands beside them, and what a step takes does not depend on their values. Each recipe runs as
`fusargpt train` runs it, on simulated scenes at 504 x 504 pixels, without flash attention. Nano's tokenizer stands in
for Qwen's.

Time is the median of the steps after the first two, and of the first, which compiles what is compiled, alone. Memory is
the peak of torch's allocator, which the plan's tensors are held against, and what the driver says is taken of the GPU,
in which what the plan calls the runtime is too. `--tiny` goes through the same on a CPU, at sizes that tell nothing.
"""

import argparse
import gc
import json
import math
import statistics
import time
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

import torch
from accelerate import init_empty_weights
from datasets import Dataset
from torch import Tensor
from transformers import AutoModelForImageTextToText, TrainerCallback
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLTextConfig
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from fusargpt.checkpoints import NANO
from fusargpt.simulator.records import SPLIT_SEEDS, rows
from fusargpt.triplets.features import CAPTION_FEATURES, RECORD_FEATURES
from modeling_fusargpt import FusarGptConfig, FusarGptForConditionalGeneration, FusarGptProcessor
from trl_recipes.arguments import parse
from trl_recipes.model.parameters import without_adapters
from trl_recipes.planning.memory import RUNTIME
from trl_recipes.planning.plan import GPUS, Data, Plan, make_plan
from trl_recipes.planning.planned_recipe import read_recipe
from trl_recipes.planning.sizes import qwen_7b_config
from trl_recipes.sft import make_trainer

RECIPES = Path(__file__).resolve().parents[1] / "trl_recipes"
RESULT = Path(__file__).parent / "results" / "training_7b.json"
IMAGE_SIZE = 504
WARM_UP = 2  # steps
SEQUENCES_A_STEP = 16  # in all of the recipes
NO_CHECKPOINTING = ("--activation_checkpointing", "false")
# Windows of the tower one by one, as transformers has them without flash attention, and in one call.
ONE_BY_ONE, TOGETHER = ("--attn_implementation", "sdpa"), ("--attn_implementation", "default")


def _batches(sequences: int) -> tuple[str, ...]:
    """So many in a micro-batch, and as many micro-batches as make a step."""
    accumulated = SEQUENCES_A_STEP // sequences
    return "--per_device_train_batch_size", str(sequences), "--gradient_accumulation_steps", str(accumulated)


RUNS: dict[str, tuple[str, tuple[str, ...]]] = {
    "stage 1, 4 x 4": ("stage1.yaml", (*_batches(4), *ONE_BY_ONE)),
    "stage 1, 16 x 1, tower in one call": ("stage1.yaml", (*_batches(16), *TOGETHER)),
    "stage 1, TLM and LoRA, 16 x 1, tower in one call": (
        "stage1.yaml",
        (*_batches(16), *TOGETHER, "--train", "tlm+lora"),
    ),
    "stage 2, 4 x 4": ("stage2.yaml", (*_batches(4), *ONE_BY_ONE)),
    "stage 2, 4 x 4, tower in one call": ("stage2.yaml", (*_batches(4), *TOGETHER)),
    "stage 2, 16 x 1": ("stage2.yaml", (*_batches(16), *ONE_BY_ONE)),
    "stage 2, 16 x 1, tower in one call": ("stage2.yaml", (*_batches(16), *TOGETHER)),
    "stage 2, 16 x 1, tower in one call, no checkpointing": (
        "stage2.yaml",
        (*_batches(16), *TOGETHER, *NO_CHECKPOINTING),
    ),
    "stage 2, 16 x 1, tower in one call, no checkpointing, layers compiled": (
        "stage2.yaml",
        (*_batches(16), *TOGETHER, *NO_CHECKPOINTING),
    ),
    "stage 2, 16 x 1, no checkpointing, cached tokens, four pairs a sequence": (
        "stage2.yaml",
        (*_batches(16), *TOGETHER, *NO_CHECKPOINTING, "--pairs_per_sequence", "4"),
    ),
    "stage 2, QLoRA, 8 x 2, tower in one call": ("stage2_qlora.yaml", (*_batches(8), *TOGETHER)),
    "stage 2, QLoRA, 16 x 1, tower in one call": ("stage2_qlora.yaml", (*_batches(16), *TOGETHER)),
}


@dataclass(frozen=True)
class Machine:
    """What the runs stand on: one GPU at the sizes of the 7B, or a CPU at sizes that only show that all goes through.

    Attributes:
        folder: holds the base's configuration and processor, data and cached tokens.
        config: of the backbone.
        device: on which the weights are.
        image_size: side in pixels.
        sequences: of an optimizer step; micro-batches are cut to it.
    """

    folder: Path
    config: FusarGptConfig
    device: torch.device
    image_size: int
    sequences: int

    @property
    def is_gpu(self) -> bool:
        return self.device.type == "cuda"


class Base:
    """A backbone with random weights, drawn once; models made of it share them."""

    def __init__(self, machine: Machine) -> None:
        self.path = machine.folder / "base"
        self._config = machine.config
        processor = make_processor(machine.image_size)
        _name_tokens(machine.config, processor)
        machine.config.save_pretrained(self.path)
        processor.save_pretrained(self.path)
        torch.manual_seed(0)
        torch.set_default_dtype(torch.bfloat16)
        with machine.device:
            model = FusarGptForConditionalGeneration(machine.config)
        torch.set_default_dtype(torch.float32)
        # Stage 2 refuses a TLM that is still the identity.
        for parameter in model.model.tlm.parameters():
            torch.nn.init.normal_(parameter, std=0.002)
        self._weights = model.state_dict()

    def model(
        self, name: str, revision: str, dtype: torch.dtype, attention: str | None
    ) -> FusarGptForConditionalGeneration:
        """In place of `load_model`."""
        assert (name, dtype) == (str(self.path), torch.bfloat16), (name, revision, dtype)
        config = deepcopy(self._config)
        # What is computed when a model is made, such as frequencies of positions, is no weight.
        with init_empty_weights(include_buffers=False):
            model = AutoModelForImageTextToText.from_config(config, dtype=dtype, attn_implementation=attention)
        model.load_state_dict(self._weights, assign=True)
        model.tie_weights()
        return model


def _name_tokens(config: FusarGptConfig, processor: FusarGptProcessor) -> None:
    """Give a configuration the tokens of a processor."""
    identifier = processor.tokenizer.convert_tokens_to_ids
    config.image_token_id, config.video_token_id = identifier("<|image_pad|>"), identifier("<|video_pad|>")
    config.vision_start_token_id = identifier("<|vision_start|>")
    config.vision_end_token_id = identifier("<|vision_end|>")
    text = cast(Qwen2_5_VLTextConfig, config.text_config)
    text.bos_token_id, text.eos_token_id = None, identifier("<|im_end|>")
    text.pad_token_id = identifier("<|endoftext|>")


def make_processor(image_size: int) -> FusarGptProcessor:
    """Nano's, but for the size of images."""
    nano = FusarGptProcessor.from_pretrained(NANO)
    images = Qwen2VLImageProcessorPil(size={"shortest_edge": image_size**2, "longest_edge": image_size**2})
    return FusarGptProcessor(images, nano.tokenizer, nano.chat_template)


class StepTimes(TrainerCallback):
    """Seconds between the ends of steps, with the GPU's work done."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        if torch.cuda.is_available():
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
    features = CAPTION_FEATURES if layout == "captions" else RECORD_FEATURES
    table = Dataset.from_list([row for seed in seeds for row in rows(seed, layout, "sar")], features=features)
    table.to_parquet(data / "train-00000-of-00001.parquet")
    return data


def run(name: str, base: Base, machine: Machine, gpu: str, steps: int) -> dict[str, Any]:
    """Train `steps` steps of one of `RUNS`, and plan the same."""
    recipe_name, own = RUNS[name]
    folder = machine.folder
    recipe_path = str(RECIPES / recipe_name)
    layout = "captions" if recipe_name == "stage1.yaml" else "instructions"
    # No step sees a scene that another has seen.
    scenes = steps * machine.sequences
    if "cached" in name:
        own = (*own, "--feature_cache", str(folder / "features"))
    fixed = {
        "model_name_or_path": base.path,
        "output_dir": folder / "out",
        "dataset_name": make_data(folder, layout, scenes),
        "dataset_config": "default",
        "max_steps": steps,
        "logging_steps": 1,
        "save_strategy": "no",
        "disable_tqdm": "true",
    }
    overrides = [*own, *(str(part) for key, value in fixed.items() for part in (f"--{key}", value))]
    if not machine.is_gpu:
        overrides += ["--use_cpu", "true", "--per_device_train_batch_size", str(machine.sequences)]
        overrides += ["--gradient_accumulation_steps", "1", "--dataloader_num_workers", "0"]
    recipe, config = parse([recipe_path, *overrides])
    with patch("trl_recipes.sft.load_model", base.model):
        trainer = make_trainer(recipe, config)
    if "compiled" in name:
        for layer in without_adapters(trainer.model).model.language_model.layers:
            layer.compile()
    times, side = StepTimes(), machine.image_size // 28
    lengths = Lengths(side**2)
    trainer.model.register_forward_pre_hook(lengths, with_kwargs=True)
    trainer.add_callback(times)
    if machine.is_gpu:
        torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == steps and all(map(math.isfinite, losses)), f"{name}: losses {losses}"
    # The longest batch sets the peak, the mean one the time.
    peaks = planned(recipe_path, overrides, gpu, side, max(lengths.text), max(lengths.answers))
    means = planned(
        recipe_path, overrides, gpu, side, round(statistics.mean(lengths.text)), statistics.mean(lengths.answers)
    )
    sequences = config.per_device_train_batch_size * config.gradient_accumulation_steps
    flops = means.per_sequence.total * sequences / times.median
    strategy = "qlora" if recipe.quantization != "none" else "ddp"
    option = next(option for option in peaks.options if option.strategy == strategy)
    return {
        "losses": [losses[0], losses[-1]],
        "sequences_a_step": sequences,
        "sequences_a_micro_batch": config.per_device_train_batch_size,
        "tokens_a_sequence": side**2 + means.text_tokens,
        "seconds_of_the_first_step": round(times.ends[0] - started, 3),
        "seconds_a_step": round(times.median, 3),
        "sequences_per_second": round(sequences / times.median, 2),
        "utilisation": round(flops / GPUS[gpu].flops, 3),
        "gib": {
            **(_taken() if machine.is_gpu else {}),
            "planned tensors": gib(option.memory.total),
            "planned with runtime": gib(option.memory.total + RUNTIME),
            "planned parts": {part: gib(size) for part, size in asdict(option.memory).items()},
        },
    }


def _taken() -> dict[str, float]:
    """GiB of the GPU, of which the base's weights are a part."""
    free, total = torch.cuda.mem_get_info()
    return {
        "allocated": gib(torch.cuda.max_memory_allocated()),
        "reserved": gib(torch.cuda.max_memory_reserved()),
        "taken": gib(total - free),
    }


def planned(recipe_path: str, overrides: list[str], gpu: str, side: int, text: float, answers: float) -> Plan:
    """The plan of a recipe whose sequences have so many tokens of text, `answers` of which are learned."""
    recipe, config = read_recipe([recipe_path, *overrides])
    pairs = recipe.pairs_per_sequence
    learned = max(1, round(answers / pairs))
    data = Data(image_size=side * 28, prompt_tokens=max(1, round(text / pairs) - learned), answer_tokens=learned)
    return make_plan(recipe, config, gpu, 1, data=data)


def gib(size: float) -> float:
    return round(size / 2**30, 2)


def the_7b(folder: Path) -> Machine:
    return Machine(folder, qwen_7b_config(), torch.device("cuda"), IMAGE_SIZE, SEQUENCES_A_STEP)


def tiny(folder: Path) -> Machine:
    """Nano's sizes, images of 4 x 4 tokens, two sequences a step."""
    config = FusarGptConfig.from_pretrained(NANO)
    return Machine(folder, config, torch.device("cpu"), 112, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpu", choices=tuple(GPUS), default="h100", help="what this machine's GPU is to the plan")
    parser.add_argument("--folder", type=Path, default=Path("build/training_7b"), help="for data and features")
    parser.add_argument("--steps", type=int, default=6, help="of the optimizer")
    parser.add_argument("--runs", nargs="*", choices=tuple(RUNS), default=tuple(RUNS), help="all when left out")
    parser.add_argument("--minutes", type=float, default=9.5, help="no run begins after so many")
    parser.add_argument("--tiny", action="store_true", help="on a CPU, to see that it goes through")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    if not options.tiny and not torch.cuda.is_available():
        parser.error("found no GPU that torch can use; this benchmark needs one of 40 GB or more, or --tiny")
    started = time.perf_counter()
    options.folder.mkdir(parents=True, exist_ok=True)
    machine = tiny(options.folder) if options.tiny else the_7b(options.folder)
    base, results = Base(machine), dict[str, Any]()
    for name in options.runs:
        if time.perf_counter() - started > 60 * options.minutes:
            print(f"{name}: left out, the time is up", flush=True)
            continue
        try:
            results[name] = run(name, base, machine, options.gpu, options.steps)
        except torch.OutOfMemoryError as error:  # tells nothing about the next
            results[name] = {"error": str(error)}
        gc.collect()
        if machine.is_gpu:
            torch.cuda.empty_cache()
        print(json.dumps({name: results[name]}), flush=True)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        device = torch.cuda.get_device_name() if machine.is_gpu else "CPU"
        result = {"gpu": device, "torch": torch.__version__, "runs": results}
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
