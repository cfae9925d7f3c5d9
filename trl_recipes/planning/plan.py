"""What a recipe will cost on GPUs that are not here: FLOPs, hours, memory and bytes, from configurations alone."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import cast, get_args

from fusargpt.alphaearth.layout import BLOCK_SIZE
from fusargpt.errors import InputError
from fusargpt.geo.embeddings import EMBEDDING_SIZE
from trl_recipes.arguments import RecipeArguments
from trl_recipes.planning.flops import Shape, Stage, Work, sequence_flops
from trl_recipes.planning.memory import (
    FLOAT32,
    RUNTIME,
    Attention,
    Memory,
    Run,
    Strategy,
    memory_per_gpu,
    trained_parameters,
)
from trl_recipes.planning.planned_recipe import TrainerFields
from trl_recipes.planning.sizes import Sizes, find_model
from trl_recipes.planning.utilisation import Basis, Conditions, Utilisation, expected


@dataclass(frozen=True)
class Gpu:
    """Memory in bytes, and bfloat16 products in FLOP/s: dense ones, with sums in float32."""

    memory: float
    flops: float


# Memory as it is sold, in 10^9 bytes, and half of the FLOP/s that are given "with sparsity": from NVIDIA's data sheets
# of A10, A100 (SXM), L4, L40S, H100 (SXM and PCIe), H200 (SXM), B200 (HGX) and RTX A6000, and from its white papers of
# the GA102 (RTX 3090), Ada (RTX 4090) and RTX Blackwell (RTX 5090) architectures.
GPUS = {
    "a10": Gpu(24e9, 125e12),
    "a100-40g": Gpu(40e9, 312e12),
    "a100-80g": Gpu(80e9, 312e12),
    "b200": Gpu(180e9, 2250e12),
    "h100": Gpu(80e9, 989.4e12),
    "h100-pcie": Gpu(80e9, 756e12),
    "h200": Gpu(141e9, 989.4e12),
    "l4": Gpu(24e9, 121e12),
    "l40s": Gpu(48e9, 362.05e12),
    "rtx-3090": Gpu(24e9, 71e12),
    "rtx-4090": Gpu(24e9, 165.2e12),
    "rtx-5090": Gpu(32e9, 209.5e12),
    "rtx-a6000": Gpu(48e9, 154.8e12),
}

STRATEGIES = get_args(Strategy)
# Bytes of optimizer states for one trained parameter.
OPTIMIZERS = {"adamw_torch": 8, "adamw_torch_fused": 8, "adamw_bnb_8bit": 2, "paged_adamw_8bit": 2, "sgd": 0}
# Speckle hardly compresses: Sentinel-1 scenes and simulated ones in 8 bit, as PNG, measure 0.78 to 0.81.
_PNG_BYTES_A_PIXEL = 0.8
IMAGE_SIZE = 504
"""Pixels: of the dataset builder's chips, and of the square that the authors' release squeezes images to."""
# int8 [64], float32 [2] and float64 [2]: embedding, position, and longitude with latitude.
_ANCHOR_BYTES = 64 + 2 * 4 + 2 * 8
_BYTES_A_TOKEN = 4
_CACHE_ENTRY_BYTES = 256  # of a shard's header
# AlphaEarth's pixels are of 10 m, and its blocks one for each band of a byte. They are counted as they are before
# Zstandard, which saves a few percent.
_BLOCK_METRES = BLOCK_SIZE * 10.0
_BLOCK_BYTES = BLOCK_SIZE**2 * EMBEDDING_SIZE


@dataclass(frozen=True)
class Data:
    """What a plan has to suppose of the data, which need not exist yet.

    Attributes:
        image_size: side in pixels as the model sees images; None for what the model's processor fixes, or `IMAGE_SIZE`.
        anchors: of one image.
        prompt_tokens: of one pair: the question, and the chat template around it and the answer.
        answer_tokens: of one pair, on which the loss falls.
        pairs_per_image: triplets about one image; None for as many as the recipe puts into one sequence.
        resolution_m: metres a pixel.

    Raises:
        InputError: a value that is not positive.
    """

    image_size: int | None = None
    anchors: int = 64
    prompt_tokens: int = 64
    answer_tokens: int = 64
    pairs_per_image: int | None = None
    resolution_m: float = 10.0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise InputError(f"--{name.removesuffix('_m').replace('_', '-')}: found {value}; expected more than 0")


@dataclass(frozen=True)
class Option:
    """One way to spread a stage over the GPUs, with the bytes that each of them needs."""

    strategy: Strategy
    checkpointing: bool
    memory: Memory
    runtime: int
    total: int
    fits: bool


@dataclass(frozen=True)
class Scale:
    """A number of triplets, and what it takes to train on them.

    Attributes:
        triplets: question-answer pairs about images.
        images: that they are about.
        steps: of the optimizer.
        flops: of the whole run.
        gpu_hours: of all GPUs together, at the plan's utilisation.
        hours: from beginning to end.
        dataset_bytes: on disk: images of 8 bit as PNG, priors and text.
        feature_cache_bytes: on disk, of all visual tokens; None where the tower is trained.
        alphaearth_scattered_bytes: to read where no two images share a block; None without a prior.
        alphaearth_adjacent_bytes: to read where images lie side by side, so that each block is read once.
    """

    triplets: int
    images: int
    steps: int
    flops: float
    gpu_hours: float
    hours: float
    dataset_bytes: int
    feature_cache_bytes: int | None
    alphaearth_scattered_bytes: int | None
    alphaearth_adjacent_bytes: int | None


@dataclass(frozen=True)
class Plan:
    """Everything that was worked out, and what it was worked out from.

    Attributes:
        model: that training starts from, or whose sizes it has.
        train: as in the recipe.
        parameters: of the model, without LoRA.
        trained: parameters that get gradients.
        gpu: name in `GPUS`.
        gpus: how many.
        utilisation: share of the GPU's peak that is reached.
        utilisation_basis: whether that was given, measured under these conditions, or modelled.
        sequences_per_gpu: in a micro-batch.
        image_size: pixels.
        visual_tokens: of one image.
        text_tokens: of one sequence.
        pairs_per_sequence: question-answer pairs.
        anchors: of one image, 0 without a prior.
        feature_cache: whether the recipe uses one.
        flops: of one sequence, by part of the model.
        options: ways to spread it over the GPUs; the recipe's own choice of checkpointing comes first.
        scales: for each number of triplets.
    """

    model: str
    train: str
    parameters: int
    trained: int
    gpu: str
    gpus: int
    utilisation: float
    utilisation_basis: Basis
    sequences_per_gpu: int
    image_size: int
    visual_tokens: int
    text_tokens: int
    pairs_per_sequence: int
    anchors: int
    feature_cache: bool
    flops: dict[str, Work]
    options: list[Option]
    scales: list[Scale]

    @property
    def per_image(self) -> Work:
        """FLOPs of tower, merger and TLM, for one image."""
        return self.flops["vision tower"] + self.flops["merger"] + self.flops["TLM"]

    @property
    def per_token(self) -> Work:
        """FLOPs of the language model's layers with their LoRA, for one token of a sequence."""
        work, tokens = self.flops["language model"] + self.flops["LoRA"], self.visual_tokens + self.text_tokens
        return Work(*(value // tokens for value in (work.forward, work.backward, work.recomputed)))

    @property
    def per_sequence(self) -> Work:
        return sum(self.flops.values(), Work())

    def to_dict(self) -> dict[str, object]:
        """What JSON can hold, with sums."""
        flops = {"image": self.per_image, "token": self.per_token, "sequence": self.per_sequence, **self.flops}
        return {**asdict(self), "flops": {name: {**asdict(work), "total": work.total} for name, work in flops.items()}}


def make_plan(
    recipe: RecipeArguments,
    config: TrainerFields,
    gpu: str,
    gpus: int,
    *,
    utilisation: float | None = None,
    triplets: Sequence[int] = (10_000, 1_000_000),
    data: Data | None = None,
    recipes: Path | None = None,
) -> Plan:
    """Plan the stage of a recipe, as `trl_recipes.planning.planned_recipe.read_recipe` reads it.

    Args:
        recipe: the stage's own fields.
        config: the trainer's.
        gpu: a name in `GPUS`.
        gpus: how many share the work, at least 1.
        utilisation: share of the GPU's peak that training reaches, above 0 and at most 1; None for what is expected by
            micro-batch and attention, as `trl_recipes.planning.utilisation` says.
        triplets: numbers to plan for.
        data: what is supposed of the data.
        recipes: folder in which the recipe of the stage before is looked for, where its model is not there yet.

    Raises:
        InputError: an unknown GPU or model, a number out of range, or a recipe that a plan knows no sizes for.
    """
    data = data or Data()
    if gpu not in GPUS:
        raise InputError(f"--gpu: found {gpu}; expected one of {', '.join(GPUS)}")
    if gpus < 1:
        raise InputError(f"--gpus: found {gpus}; expected 1 or more")
    if utilisation is not None and not 0 < utilisation <= 1:
        raise InputError(f"--utilisation: found {utilisation}; expected a share of the peak above 0, at most 1")
    if not triplets or min(triplets) < 1:
        raise InputError(f"--triplets: found {', '.join(map(str, triplets)) or 'none'}; expected 1 or more")
    model, sizes, fixed_size = find_model(recipe.model_name_or_path, recipe.model_revision, recipes)
    run = _run(recipe, config, gpus, sizes)
    pairs_per_image = data.pairs_per_image or recipe.pairs_per_sequence
    pairs = min(pairs_per_image, recipe.pairs_per_sequence)
    side = max(1, round((data.image_size or fixed_size or IMAGE_SIZE) / (sizes.patch * sizes.merge))) * sizes.merge
    text, answers = pairs * (data.prompt_tokens + data.answer_tokens), pairs * data.answer_tokens
    shape = Shape(side, side, text, answers, data.anchors if recipe.prior == "true" else None)
    flops = sequence_flops(sizes, shape, run.stage)
    if utilisation is None:
        work = run.sequences * sum(flops.values(), Work()).total
        reached = expected(_conditions(recipe, run, gpu, sizes.layers), work, GPUS[gpu].flops)
    else:
        reached = Utilisation(utilisation, "given")
    plan = Plan(
        model=model,
        train=recipe.train,
        parameters=sum(sizes.parameters().values()),
        trained=trained_parameters(sizes, run.stage),
        gpu=gpu,
        gpus=gpus,
        utilisation=reached.share,
        utilisation_basis=reached.basis,
        sequences_per_gpu=run.sequences,
        image_size=side * sizes.patch,
        visual_tokens=shape.visual_tokens(sizes),
        text_tokens=text,
        pairs_per_sequence=pairs,
        anchors=shape.anchors or 0,
        feature_cache=run.stage.feature_cache,
        flops=flops,
        options=_options(sizes, shape, run, GPUS[gpu], recipe.quantization != "none"),
        scales=[],
    )
    encode = sequence_flops(sizes, shape, replace(run.stage, feature_cache=False, checkpointing=False))
    once = encode["vision tower"].forward + encode["merger"].forward if run.stage.feature_cache else 0
    scales = [_scale(plan, config, data, number, pairs_per_image, run, sizes, once) for number in triplets]
    return replace(plan, scales=scales)


def _conditions(recipe: RecipeArguments, run: Run, gpu: str, layers: int) -> Conditions:
    return Conditions(
        gpu=gpu,
        layers=layers,
        sequences=run.sequences,
        attention=recipe.attn_implementation,
        checkpointing=run.stage.checkpointing,
        trains_adapter=recipe.train != "tlm",
        quantized=recipe.quantization != "none",
        cached=run.stage.feature_cache,
    )


def _run(recipe: RecipeArguments, config: TrainerFields, gpus: int, sizes: Sizes) -> Run:
    attention = "sdpa" if recipe.attn_implementation == "default" else recipe.attn_implementation
    if attention not in get_args(Attention):
        expected = ", ".join(("default", *get_args(Attention)))
        raise InputError(f"attn_implementation: found {attention}; a plan knows {expected}")
    if attention == "flash_attention_2" and recipe.hides_earlier_answers:
        raise InputError(
            f"attn_implementation: found {attention} with earlier_answers: hidden, which training refuses; add "
            "--attn_implementation default or --earlier_answers visible"
        )
    if config.optim not in OPTIMIZERS:
        raise InputError(f"optim: found {config.optim}; a plan knows {', '.join(OPTIMIZERS)}")
    if not config.in_16_bits:
        raise InputError("bf16: found false; a plan knows the speed of GPUs in 16 bits only; add --bf16 true")
    stage = Stage(
        train=recipe.train,
        lora_r=recipe.lora_r,
        checkpointing=config.checkpointing,
        feature_cache=recipe.feature_cache is not None,
        eager=attention == "eager",
    )
    return Run(
        stage=stage,
        weight_bytes=4 if recipe.dtype == "float32" else 2,
        product_bytes=2,
        attention=cast(Attention, attention),
        optimizer_bytes=_optimizer_bytes(recipe, config, gpus, sizes, stage),
        sequences=config.per_device_train_batch_size,
        gpus=gpus,
        masked=recipe.hides_earlier_answers,
        double_quantization=recipe.double_quantization,
    )


def _optimizer_bytes(recipe: RecipeArguments, config: TrainerFields, gpus: int, sizes: Sizes, stage: Stage) -> float:
    """States of a trained parameter, in the mean of all: Muon keeps one number of each in a layer's matrices."""
    adamw = OPTIMIZERS[config.optim]
    if recipe.matrix_learning_rate is None:
        return adamw
    if gpus > 1:
        raise InputError(f"matrix_learning_rate: found it with {gpus} GPUs; expected one that holds the whole model")
    matrices = sizes.layers * sum(layer.inputs * layer.outputs for layer in sizes.language_layer)
    return adamw - (adamw - FLOAT32) * matrices / trained_parameters(sizes, stage)


def _options(sizes: Sizes, shape: Shape, run: Run, gpu: Gpu, quantized: bool) -> list[Option]:
    options = []
    for checkpointing in (run.stage.checkpointing, not run.stage.checkpointing):
        for strategy in STRATEGIES:
            if strategy == "qlora" and run.stage.trains_language_model:
                continue
            if quantized and strategy != "qlora":
                continue
            spread = replace(run, stage=replace(run.stage, checkpointing=checkpointing))
            memory = memory_per_gpu(sizes, shape, spread, strategy)
            total = memory.total + RUNTIME
            options.append(Option(strategy, checkpointing, memory, RUNTIME, total, total <= gpu.memory))
    return options


def _scale(
    plan: Plan,
    config: TrainerFields,
    data: Data,
    triplets: int,
    pairs_per_image: int,
    run: Run,
    sizes: Sizes,
    once: int,
) -> Scale:
    images = math.ceil(triplets / pairs_per_image)
    sequences = math.ceil(triplets / plan.pairs_per_sequence)
    batch = plan.gpus * plan.sequences_per_gpu * config.gradient_accumulation_steps
    steps, trained_on = math.ceil(sequences / batch * config.num_train_epochs), sequences * config.num_train_epochs
    if config.max_steps > 0:
        steps, trained_on = config.max_steps, config.max_steps * batch
    flops = float(trained_on) * plan.per_sequence.total + float(images) * once
    gpu_hours = flops / (GPUS[plan.gpu].flops * plan.utilisation) / 3600
    extent = plan.image_size * data.resolution_m / _BLOCK_METRES
    text = _BYTES_A_TOKEN * (data.prompt_tokens + data.answer_tokens)
    picture, anchors = plan.image_size**2 * _PNG_BYTES_A_PIXEL, plan.anchors > 0
    return Scale(
        triplets=triplets,
        images=images,
        steps=steps,
        flops=flops,
        gpu_hours=gpu_hours,
        hours=gpu_hours / plan.gpus,
        dataset_bytes=round(images * (picture + plan.anchors * _ANCHOR_BYTES)) + triplets * text,
        feature_cache_bytes=None
        if run.stage.train == "all"
        else images * (plan.visual_tokens * sizes.hidden * run.product_bytes + _CACHE_ENTRY_BYTES),
        # An image anywhere on a grid of blocks touches (1 + its side in blocks)^2 of them on average.
        alphaearth_scattered_bytes=round(images * (1 + extent) ** 2 * _BLOCK_BYTES) if anchors else None,
        alphaearth_adjacent_bytes=round(images * extent**2 * _BLOCK_BYTES) if anchors else None,
    )
