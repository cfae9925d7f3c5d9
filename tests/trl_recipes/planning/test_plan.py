"""Plans hold against what they foresee: torch's flop counter, what autograd keeps, two processes that train nano."""

import dataclasses
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import multiprocessing
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig
from trl.trainer.sft_config import SFTConfig

from fusargpt.errors import InputError
from modeling_fusargpt import FusarGptConfig, FusarGptForConditionalGeneration
from tests.paths import DATASET, RECIPES
from tests.tiny import tiny_config
from tests.trl_recipes.planning.stages_to_plan import (
    NANO,
    Case,
    build,
    kept_by_autograd,
    loss_of,
    make_batch,
    measure_in_group,
    nano_config,
)
from trl_recipes.arguments import Train, parse
from trl_recipes.model.matrix_optimizer import matrix_optimizer
from trl_recipes.model.parameters import part_of
from trl_recipes.planning.flops import sequence_flops
from trl_recipes.planning.memory import saved_activations
from trl_recipes.planning.plan import GPUS, Data, Plan, make_plan
from trl_recipes.planning.planned_recipe import TrainerFields, read_recipe, trainer_field_names
from trl_recipes.planning.sizes import QWEN_7B, QWEN_7B_SIZES, Sizes, find_model, sizes_of
from trl_recipes.planning.utilisation import MOST, Conditions, expected
from trl_recipes.recipe_file import system_of

TRAINS = ("tlm", "tlm+lora", "lora", "language", "all")
PLANNED = sorted(
    path.relative_to(RECIPES).as_posix() for path in RECIPES.glob("**/stage*.yaml") if system_of(str(path)) is None
)


def plan(recipe: str = "stage1.yaml", *overrides: str, gpu: str = "a100-80g", gpus: int = 4, **options: Any) -> Plan:
    path = RECIPES / recipe
    stage, config = read_recipe([str(path), *overrides])
    return make_plan(stage, config, gpu, gpus, recipes=path.parent, **options)


# Sizes


@pytest.mark.parametrize(
    "overrides",
    [{}, {"tie_word_embeddings": True}]
    + [{"tlm_config": {"fusion": fusion, "hidden_size": 40}} for fusion in ("sum", "concat", "none")],
    ids=str,
)
def test_parameters_are_those_of_the_model(overrides: Any):
    config = tiny_config(**overrides)
    counted = Counter()
    for name, parameter in FusarGptForConditionalGeneration(config).named_parameters():
        counted[part_of(name)] += parameter.numel()
    assert {part: count for part, count in sizes_of(config.to_dict()).parameters().items() if count} == dict(counted)


def test_the_built_in_7b_has_the_parameters_of_the_published_one():
    parameters = QWEN_7B_SIZES.parameters()
    assert sum(parameters.values()) - parameters["TLM"] == 8_292_166_656


def test_the_built_in_7b_has_the_sizes_of_the_published_one():
    # Of its config.json, and of the TLM by default.
    assert (
        Sizes(
            hidden=3584,
            query=3584,
            key_value=512,
            heads=28,
            intermediate=18944,
            layers=28,
            vocabulary=152064,
            tied=False,
            vision_hidden=1280,
            vision_heads=16,
            vision_intermediate=3420,
            vision_layers=32,
            vision_layers_of_whole_images=4,
            patch=14,
            patch_values=3 * 2 * 14 * 14,
            merge=2,
            window=8,
            prior=64,
            tlm_hidden=4 * 3584,
            fusion="tlm",
        )
        == QWEN_7B_SIZES
    )


def test_what_a_configuration_leaves_out_is_what_transformers_takes():
    config = FusarGptConfig()
    assert sizes_of({}) == sizes_of(config.to_dict())
    # The published backbones have the fields of the language model beside the others.
    whole = tiny_config().to_dict()
    flat = {name: value for name, value in whole.items() if name != "text_config"} | whole["text_config"]
    flat["tie_word_embeddings"] = whole["tie_word_embeddings"]
    assert sizes_of(flat) == sizes_of(whole)


# Recipes


def test_fields_are_those_of_trl_s_configuration():
    fields = {field.name: field for field in dataclasses.fields(SFTConfig)}
    assert trainer_field_names() == set(fields)
    for field in dataclasses.fields(TrainerFields):
        default = fields[field.name].default
        assert default == field.default or (field.name, default) == ("optim", "adamw_torch"), field.name


@pytest.mark.parametrize("recipe", PLANNED)
@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("--train", "lora", "--lora_r", "4", "--num_train_epochs", "2", "--dataset_name", "one", "two"),
        ("--activation-checkpointing", "false", "--learning_rate", "1e-4", "--resume", "--prior", "none"),
    ],
    ids=("plain", "lora", "flags"),
)
def test_a_recipe_is_read_as_training_reads_it(recipe: str, overrides: tuple[str, ...]):
    path = str(RECIPES / recipe)
    given = [path, *overrides] if "none" not in overrides else [path, *overrides, "--train", "lora"]
    planned, fields = read_recipe(given)
    stage, config = parse([*given, "--use_cpu", "true"])
    assert planned == stage
    assert (fields.checkpointing, fields.in_16_bits) == (config.activation_checkpointing, config.bf16 or config.fp16)
    for name in (
        "per_device_train_batch_size",
        "gradient_accumulation_steps",
        "num_train_epochs",
        "max_steps",
        "optim",
    ):
        assert vars(fields)[name] == vars(config)[name], name


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("--learning_rat", "1"), "learning_rat"),
        (("--train", "tower"), "train: found 'tower'; expected tlm or tlm\\+lora or"),
        (("--lora_r", "four"), "lora_r: found 'four'; expected a whole number"),
        (("--max_steps", "1", "2"), "max_steps: found 2 values; expected one"),
        (("--packing", "true"), "packing: found True, expected false: images are not packed"),
        (("--per_device_train_batch_size", "0"), "per_device_train_batch_size: found 0, expected more than 0"),
        (("--num_train_epochs", "nan"), "num_train_epochs: found nan, expected a finite number"),
    ],
)
def test_a_field_that_cannot_be_is_refused(overrides: tuple[str, ...], message: str):
    with pytest.raises(InputError, match=message):
        read_recipe([str(RECIPES / "stage1.yaml"), *overrides])


# FLOPs


def count_flops(case: Case, config: FusarGptConfig, grid: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """FLOPs of a batch, forward and backward: as planned, and as counted.

    Eager attention, since torch's table lacks the fused kernel of CPUs. It lacks the in-place product too, in which the
    loss sums its gradients.
    """

    def in_place(_sum: Any, first: Any, second: Any, out_shape: Any = None, **_options: Any) -> int:
        return 2 * first[0] * first[1] * second[1]

    model, (batch, shape) = build(case, config), make_batch(case, config, grid)
    table = {torch.ops.aten.addmm_: in_place}
    with FlopCounterMode(display=False, custom_mapping=table) as forward:
        loss = loss_of(case, model, batch)
    with FlopCounterMode(display=False, custom_mapping=table) as backward:
        loss.backward()
    work = sequence_flops(sizes_of(config.to_dict()), shape, case.stage).values()
    rows = len(batch["input_ids"])
    planned = rows * sum(part.forward for part in work), rows * sum(part.backward + part.recomputed for part in work)
    return planned, (forward.get_total_flops(), backward.get_total_flops())


@pytest.mark.parametrize(
    ("train", "checkpointing"), [*((train, False) for train in TRAINS), ("tlm", True), ("lora", True), ("all", True)]
)
def test_flops_of_nano_are_those_that_torch_counts(train: Any, checkpointing: Any):
    planned, counted = count_flops(Case(train, checkpointing, attention="eager"), nano_config(), (12, 12))
    assert planned == pytest.approx(counted, rel=0.05)


@pytest.mark.parametrize("fusion", ["tlm", "sum", "concat", "none"])
def test_flops_of_windows_shared_heads_and_other_fusions_are_those_that_torch_counts(fusion: str):
    # 20 x 10 patches in windows of 8 x 8: the last of each row and column are cut off.
    config = tiny_config(tlm_config={"fusion": fusion})
    train = "tlm" if fusion != "none" else "lora"
    planned, counted = count_flops(Case(train, attention="eager"), config, (20, 10))
    assert planned == pytest.approx(counted, rel=0.01)


# Memory


@pytest.mark.parametrize(
    ("train", "dtype", "autocast", "checkpointing"),
    [
        ("tlm", "bfloat16", True, False),
        ("tlm", "bfloat16", True, True),
        ("tlm+lora", "bfloat16", True, False),
        ("lora", "float32", True, False),
        ("lora", "bfloat16", True, True),
        ("language", "float32", True, False),
        ("all", "float32", True, True),
        ("all", "float32", False, False),
    ],
)
def test_activations_of_nano_are_those_that_autograd_keeps(
    train: Train, dtype: str, autocast: bool, checkpointing: bool
):
    config, case = nano_config(), Case(train, checkpointing, dtype, autocast)
    batch, shape = make_batch(case, config)
    kept = kept_by_autograd(case, build(case, config), batch)
    assert saved_activations(sizes_of(config.to_dict()), shape, case.run()) == pytest.approx(kept, rel=0.15)


@pytest.mark.parametrize(("checkpointing", "masked"), [(False, False), (False, True), (True, False)])
def test_activations_of_windows_and_shared_heads_are_those_that_autograd_keeps(checkpointing: bool, masked: bool):
    config, case = tiny_config(), Case("all", checkpointing, masked=masked)
    batch, shape = make_batch(case, config, (20, 10))
    kept = kept_by_autograd(case, build(case, config), batch)
    assert saved_activations(sizes_of(config.to_dict()), shape, case.run()) == pytest.approx(kept, rel=0.05)


@pytest.mark.slow
def test_memory_is_what_two_processes_measure(tmp_path: Path):
    """DDP and FSDP2 over gloo, on two CPU processes that train nano.

    What each process holds when a step is done (weights, gradients, optimizer states) is compared exactly. The peak, to
    10 %, is the most that torch's allocator has given out at a time, all tensors of a step in it, weights and batch
    included; the operating system's count would be that of Python and its libraries.
    """
    cases = [
        Case("tlm+lora", dtype="bfloat16", autocast=True, gpus=2),
        Case("all", checkpointing=True, gpus=2),
        Case("all", checkpointing=True, strategy="fsdp2", gpus=2),
    ]
    context = multiprocessing.get_context("fork")  # which has imported all of it
    results = context.Queue()
    processes = [
        context.Process(target=measure_in_group, args=(rank, 2, str(tmp_path / "store"), cases, results))
        for rank in range(2)
    ]
    for process in processes:
        process.start()
    try:
        answers = [results.get(timeout=600) for _ in processes]
    finally:
        for process in processes:
            process.join(timeout=60)
            process.kill()
    config = nano_config()
    for answer in answers:
        assert isinstance(answer, list), answer
        for case, measured in zip(cases, answer, strict=True):
            planned = case.memory(sizes_of(config.to_dict()), make_batch(case, config)[1])
            # A weight whose first dimension does not divide is padded.
            assert measured.weights == pytest.approx(planned.weights, rel=0.001), case
            assert measured.gradients == pytest.approx(planned.gradients, rel=0.001), case
            assert measured.optimizer == pytest.approx(planned.optimizer, rel=0.001), case
            assert measured.peak == pytest.approx(planned.total, rel=0.1), case


# Plans


def test_muon_keeps_one_number_of_each_in_a_matrix() -> None:
    config, case = nano_config(), Case("language")
    model: Any = build(case, config)
    optimizer = matrix_optimizer(model, model.model.language_model.layers, 1e-3, 1e-3, 0.0, (0.9, 0.95))
    loss_of(case, model, make_batch(case, config)[0]).backward()
    optimizer.step()
    states = [value for state in optimizer.state.values() for value in state.values() if value.numel() > 1]
    held = sum(value.numel() * value.element_size() for value in states)
    named = ("--model_name_or_path", str(NANO), "--max_steps", "10")
    muon = plan("mini/pretrain.yaml", *named, gpus=1)
    assert next(option for option in muon.options if option.strategy == "ddp").memory.optimizer == held
    adamw = plan("nano/pretrain.yaml", *named, gpus=1)
    assert next(option for option in adamw.options if option.strategy == "ddp").memory.optimizer == 8 * muon.trained
    assert held < 5 * muon.trained
    with pytest.raises(InputError, match="matrix_learning_rate: found it with 2 GPUs; expected one that holds"):
        plan("mini/pretrain.yaml", *named, gpus=2)


@pytest.mark.parametrize("recipe", PLANNED)
def test_recipes_are_planned_without_the_hub(recipe: str, monkeypatch: pytest.MonkeyPatch):
    def no_hub(*_arguments: Any, **_options: Any):
        raise AssertionError("the Hub was asked")

    small = recipe.startswith(("nano", "mini"))
    if not small:
        monkeypatch.setattr("huggingface_hub.hf_hub_download", no_hub)
    overrides = ("--model_name_or_path", str(NANO)) if small else ()
    made = plan(recipe, *overrides)
    assert made.model == (str(NANO) if small else QWEN_7B)
    assert (made.image_size, made.visual_tokens) == ((168, 36) if small else (504, 324))
    assert made.per_sequence.total > 0 and [scale.triplets for scale in made.scales] == [10_000, 1_000_000]


def test_a_frozen_language_model_costs_no_weight_gradients():
    for recipe in ("stage1.yaml", "stage2.yaml"):
        for checkpointing in ("true", "false"):
            work = plan(recipe, "--activation_checkpointing", checkpointing).flops
            assert work["vision tower"].backward == work["vision tower"].recomputed == work["merger"].backward == 0
            assert work["language model"].backward < 1.05 * work["language model"].forward


def test_a_feature_cache_leaves_the_tower_out_and_fills_itself_once():
    without, cached = plan(), plan("stage1.yaml", "--feature_cache", "cache")
    tower = without.flops["vision tower"], without.flops["merger"]
    assert cached.flops["vision tower"].total == cached.flops["merger"].total == 0
    assert all(cached.flops[part] == without.flops[part] for part in ("TLM", "language model", "lm_head"))
    scale, epochs = cached.scales[0], 30
    once = 10_000 * sum(part.forward for part in tower)
    assert scale.flops == pytest.approx(10_000 * epochs * cached.per_sequence.total + once)
    # bfloat16 visual tokens of the language model's width.
    assert scale.feature_cache_bytes == pytest.approx(10_000 * 324 * 3584 * 2, rel=0.001)


def test_hours_follow_from_flops_gpus_and_utilisation():
    made = plan(utilisation=0.4, triplets=[5000])
    (scale,) = made.scales
    assert scale.flops == 5000 * 30 * made.per_sequence.total
    assert scale.gpu_hours == pytest.approx(scale.flops / (312e12 * 0.4 * 3600))
    assert scale.hours == pytest.approx(scale.gpu_hours / 4)
    assert scale.steps == 2344  # 30 times 5,000 sequences, 4 GPUs of 16


@pytest.mark.parametrize(
    ("recipe", "sequences", "tokens", "seconds_a_step"),
    [("stage1.yaml", 4, 387, 2.233), ("stage2.yaml", 4, 394, 2.934), ("stage2_qlora.yaml", 1, 373, 10.789)],
)
def test_what_was_measured_is_planned_with_and_what_is_modelled_agrees_with_it(
    recipe: str, sequences: int, tokens: int, seconds_a_step: float
):
    """The runs of benchmarks/results/training_7b.json, of 16 sequences a step."""
    data = Data(prompt_tokens=tokens - 324 - 32, answer_tokens=32)
    overrides = ("--per_device_train_batch_size", str(sequences), "--attn_implementation", "sdpa")
    made = plan(recipe, *overrides, gpu="h100", gpus=1, data=data)
    assert made.utilisation_basis == "measured"
    peak = GPUS["h100"].flops
    assert 16 * made.per_sequence.total / (peak * made.utilisation) == pytest.approx(seconds_a_step, rel=0.03)
    # Another name of the same GPU: modelled, of the same runs.
    conditions = Conditions("h200", 28, sequences, "sdpa", True, "stage1" not in recipe, "qlora" in recipe, False)
    modelled = expected(conditions, sequences * made.per_sequence.total, peak)
    assert modelled.basis == "modelled" and modelled.share == pytest.approx(made.utilisation, rel=0.03)


def test_larger_micro_batches_and_windows_in_one_call_reach_more_of_the_peak():
    by_attention = {}
    for attention in ("sdpa", "default", "flash_attention_2"):
        shares = [
            plan(
                "stage2.yaml",
                "--per_device_train_batch_size",
                str(count),
                "--attn_implementation",
                attention,
                gpu="h100",
            ).utilisation
            for count in (1, 4, 8, 16)
        ]
        assert shares == sorted(set(shares)) and shares[-1] <= MOST
        by_attention[attention] = shares
    assert by_attention["default"] == by_attention["flash_attention_2"]
    assert all(one < other for one, other in zip(by_attention["sdpa"], by_attention["default"], strict=True))
    assert plan(utilisation=0.4).utilisation_basis == "given"


def test_a_small_model_reaches_a_small_share_and_has_hours_all_the_same():
    made = plan("nano/stage1.yaml", "--model_name_or_path", str(NANO), "--per_device_train_batch_size", "1", gpu="b200")
    assert 0 < made.utilisation < 0.001 and made.scales[0].hours > 0


def test_the_recipes_fit_the_gpus_that_they_are_for():
    for recipe, gpu in (("stage1.yaml", "a100-40g"), ("stage2.yaml", "a100-40g"), ("stage2_qlora.yaml", "rtx-4090")):
        made = plan(recipe, gpu=gpu, gpus=1)
        assert made.options[0].fits and made.options[0].checkpointing, recipe
        assert made.sequences_per_gpu == 16
    for recipe in ("stage1.yaml", "stage2.yaml"):
        without = plan(recipe, "--activation_checkpointing", "false", gpus=1).options[0]
        assert without.fits and not without.checkpointing, recipe


def test_max_steps_end_a_run_whatever_the_data():
    made = plan("stage1.yaml", "--max_steps", "10", gpus=2)
    assert {scale.steps for scale in made.scales} == {10}
    assert {scale.flops for scale in made.scales} == {10 * 2 * 16 * made.per_sequence.total}


def test_pairs_about_one_image_share_its_tokens():
    alone = plan("stage2.yaml", data=Data(pairs_per_image=5))
    together = plan("stage2.yaml", "--pairs_per_sequence", "5", "--earlier_answers", "visible")
    assert (alone.scales[0].images, together.scales[0].images) == (2000, 2000)
    assert together.text_tokens == 5 * alone.text_tokens
    assert together.scales[0].flops < 0.5 * alone.scales[0].flops


def test_sharding_divides_what_it_shards():
    for gpus in (2, 8):
        options = {option.strategy: option.memory for option in plan(gpus=gpus).options[:4]}
        whole, sharded = options["ddp"], options["fsdp2"]
        assert sharded.weights == pytest.approx(whole.weights / gpus)
        assert sharded.optimizer == pytest.approx(whole.optimizer / gpus)
        assert options["zero2"].gradients < whole.gradients
        assert options["qlora"].weights < 0.5 * whole.weights


def test_what_does_not_fit_is_told():
    fits = {(option.strategy, option.checkpointing): option.fits for option in plan(gpu="rtx-4090").options}
    assert fits["qlora", True] and not fits["ddp", False]
    largest = {option.fits for option in plan(gpu="h200").options}
    assert largest == {True}


def test_the_language_model_cannot_be_trained_in_4_bits():
    made = plan("stage1.yaml", "--train", "language", "--dtype", "float32", "--save", "full")
    assert {option.strategy for option in made.options} == {"ddp", "zero2", "fsdp2"}
    assert made.scales[0].feature_cache_bytes is not None


def test_a_trained_tower_has_no_features_to_cache():
    made = plan("stage1.yaml", "--train", "all", "--dtype", "float32", "--save", "full", "--prior", "none")
    (scale, _) = made.scales
    assert scale.feature_cache_bytes is scale.alphaearth_scattered_bytes is scale.alphaearth_adjacent_bytes is None
    assert made.flops["TLM"].total == 0


def test_alpha_earth_is_read_block_by_block():
    # An image as large as a block: wherever it lies it touches four, and beside others it takes one.
    data = Data(image_size=504, resolution_m=10_240 / 504)
    scale = plan(triplets=[100], data=data).scales[0]
    assert scale.alphaearth_scattered_bytes == 100 * 4 * 1024 * 1024 * 64
    assert scale.alphaearth_adjacent_bytes == 100 * 1024 * 1024 * 64


def test_bytes_of_a_data_set_are_about_those_of_the_sample():
    shard = DATASET / "captions" / "train-00000-of-00001.parquet"
    made = plan("nano/stage1.yaml", "--model_name_or_path", str(NANO), triplets=[16])
    assert made.scales[0].dataset_bytes == pytest.approx(shard.stat().st_size, rel=0.15)


def test_a_plan_is_json():
    made = plan()
    content = json.loads(json.dumps(made.to_dict()))
    assert content["flops"]["sequence"]["total"] == made.per_sequence.total
    assert content["options"][0]["memory"]["weights"] == made.options[0].memory.weights


# Where a model comes from


def test_what_a_stage_has_left_leads_to_its_base(tmp_path: Path):
    (tmp_path / "stage1").mkdir()
    config: dict[str, Any] = {"model_type": "fusargpt", "weights": "tlm", "base_model_name_or_path": QWEN_7B}
    config["tlm_config"] = {"hidden_size": 256, "fusion": "sum", "sigma": 2.0}
    (tmp_path / "stage1" / "config.json").write_text(json.dumps(config))
    (tmp_path / "stage2").mkdir()
    adapter = {"base_model_name_or_path": "../stage1"}
    (tmp_path / "stage2" / "adapter_config.json").write_text(json.dumps(adapter))
    name, sizes, _ = find_model(str(tmp_path / "stage2"))
    assert name == QWEN_7B
    assert sizes == replace(QWEN_7B_SIZES, tlm_hidden=256, fusion="sum")


def test_a_stage_that_has_not_run_leads_to_its_recipe_s_model(tmp_path: Path):
    (tmp_path / "first.yaml").write_text(f"model_name_or_path: {NANO}\noutput_dir: out/first\n")
    (tmp_path / "notes.yaml").write_text("{not yaml")
    name, _, image_size = find_model("out/first", recipes=tmp_path)
    assert (name, image_size) == (str(NANO), 168)


def test_a_fixed_square_of_the_processor_is_its_image_size(tmp_path: Path):
    tiny_config().save_pretrained(tmp_path)
    (tmp_path / "processor_config.json").write_text(
        json.dumps({"image_size": 336, "image_processor": {"size": {"shortest_edge": 3136, "longest_edge": 12845056}}})
    )
    assert find_model(str(tmp_path))[2] == 336


def broken(folder: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        (folder / name).write_text(text)
    return str(folder)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "there is no model at"),
        ({"config.json": "{"}, "cannot be read"),
        ({"config.json": LlamaConfig().to_json_string()}, "is of type llama"),
        ({"config.json": "[]"}, "found list, expected a JSON object"),
        ({"config.json": '{"model_type": "fusargpt", "weights": "tlm"}'}, "base_model_name_or_path: found None"),
        ({"adapter_config.json": "{"}, "adapter_config.json: cannot be read"),
        ({"config.json": '{"model_type": "fusargpt", "text_config": {"hidden_size": -1}}'}, "hidden_size: found -1"),
    ],
)
def test_a_model_that_cannot_be_planned_for_is_named(tmp_path: Path, files: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        find_model(broken(tmp_path, files))


def test_a_model_that_leads_back_to_itself_ends(tmp_path: Path):
    adapter = {"adapter_config.json": json.dumps({"base_model_name_or_path": str(tmp_path)})}
    with pytest.raises(InputError, match="leads back to itself"):
        find_model(broken(tmp_path, adapter))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gpu": "a100"}, f"--gpu: found a100; expected one of {', '.join(GPUS)}"),
        ({"gpus": 0}, "--gpus: found 0"),
        ({"utilisation": 35}, "--utilisation: found 35"),
        ({"triplets": [0]}, "--triplets: found 0"),
        ({"triplets": []}, "--triplets: found none"),
    ],
)
def test_a_number_out_of_range_is_named(options: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        plan(**options)


@pytest.mark.parametrize("field", ["image_size", "anchors", "prompt_tokens", "answer_tokens", "pairs_per_image"])
def test_data_that_cannot_be_are_refused(field: str):
    with pytest.raises(InputError, match=f"--{field.replace('_', '-')}: found 0"):
        Data(**{field: 0})


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("--optim", "adafactor"), "optim: found adafactor; a plan knows adamw_torch, "),
        (("--attn_implementation", "flex_attention"), "attn_implementation: found flex_attention"),
        (("--bf16", "false"), "bf16: found false"),
        (("--pairs_per_sequence", "2"), "earlier_answers: hidden, which training refuses"),
    ],
)
def test_a_recipe_that_a_plan_does_not_know_is_refused(overrides: tuple[str, str], message: str):
    with pytest.raises(InputError, match=message):
        plan("stage1.yaml", *overrides)
