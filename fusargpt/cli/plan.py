"""`fusargpt plan RECIPE.yaml`: what a stage will cost on GPUs that are not here."""

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fusargpt.cli.extras import needs
from fusargpt.cli.parser import Parser
from fusargpt.errors import InputError, naming

if TYPE_CHECKING:
    from trl_recipes.planning.plan import Plan

# As in trl_recipes.planning.plan, which needs an extra.
GPUS = (
    "a10", "a100-40g", "a100-80g", "b200", "h100", "h100-pcie", "h200", "l4", "l40s", "rtx-3090", "rtx-4090",
    "rtx-5090", "rtx-a6000",
)  # fmt: skip
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_DATA = ("image_size", "anchors", "prompt_tokens", "answer_tokens", "pairs_per_image", "resolution_m")
_MEMORY = ("weights", "gradients", "optimizer", "activations", "logits", "communication")


def main(arguments: Sequence[str]) -> None:
    """Print the plan as tables, or as JSON.

    Raises:
        InputError: the training extra is not installed, a wrong recipe, an unknown GPU or model, a number out of range.
    """
    options, overrides = _parser().parse_known_args(arguments)
    with needs("planning needs", "train"):
        from trl_recipes.recipe_file import recipe_path, system_of
    options.recipe = Path(recipe_path(str(options.recipe)))
    system = system_of(str(options.recipe))
    if system is not None:
        raise InputError(
            f"{options.recipe}: found system: {system}, expected a recipe of stage 1 or 2, whose cost follows from its "
            "sequences; what a stage of reinforcement costs is decided by the answers that it draws, and FUSAR-KLIP's "
            "phases are not planned"
        )
    try:
        triplets = [int(number) for number in options.triplets.split(",")]
    except ValueError:
        raise InputError(f"--triplets: found {options.triplets}; expected numbers, as 10000,1000000") from None
    with needs("planning needs", "train"):
        from trl_recipes.planning.plan import Data, make_plan
        from trl_recipes.planning.planned_recipe import read_recipe

        with naming(str(options.recipe)):
            recipe, config = read_recipe([str(options.recipe), *overrides])
    given = {name: value for name, value in vars(options).items() if name in _DATA and value is not None}
    data = Data(**given)
    plan = make_plan(
        recipe,
        config,
        options.gpu,
        options.gpus,
        utilisation=options.utilisation,
        triplets=triplets,
        data=data,
        recipes=options.recipe.parent,
    )
    print(json.dumps(plan.to_dict(), indent=2) if options.json else _report(plan))


def _report(plan: "Plan") -> str:
    sections = (_heading(plan), _flops(plan), _memory(plan), _scales(plan))
    return "\n\n".join("\n".join(section) for section in sections)


def _heading(plan: "Plan") -> list[str]:
    prior = f"{plan.anchors} anchors" if plan.anchors else "no prior"
    pairs = (
        "1 question and answer" if plan.pairs_per_sequence == 1 else f"{plan.pairs_per_sequence} questions and answers"
    )
    return [
        f"model     {plan.model}: {plan.parameters:,} parameters",
        f"train     {plan.train}: {plan.trained:,} parameters",
        f"sequence  {plan.image_size} x {plan.image_size} pixels in {plan.visual_tokens} visual tokens, {prior}; "
        f"{pairs} in {plan.text_tokens} tokens",
        f"on        {plan.gpus} x {plan.gpu} at {_share(plan.utilisation)} ({plan.utilisation_basis}) of the peak of "
        "dense bfloat16 products",
    ]


def _flops(plan: "Plan") -> list[str]:
    rows = [(name, work) for name, work in plan.flops.items() if work.total]
    rows += [("a sequence", plan.per_sequence), ("before the language model, an image", plan.per_image)]
    rows += [("language model, a token", plan.per_token)]
    lines: list[tuple[str, ...]] = [("TFLOP", "forward", "backward", "recomputed", "all")]
    for name, work in rows:
        parts = (work.forward, work.backward, work.recomputed, work.total)
        lines.append((name, *(f"{part / 1e12:.4g}" for part in parts)))
    return _table(lines)


def _memory(plan: "Plan") -> list[str]:
    lines: list[tuple[str, ...]] = [
        (f"GiB a GPU, {plan.sequences_per_gpu} sequences", "checkpointing", *_MEMORY, "CUDA", "all", "")
    ]
    own = plan.options[0].checkpointing
    for option in plan.options:
        parts = [vars(option.memory)[name] for name in _MEMORY] + [option.runtime, option.total]
        lines.append(
            (
                option.strategy,
                ("yes" if option.checkpointing else "no") + (" (recipe)" if option.checkpointing == own else ""),
                *(f"{part / 2**30:.2f}" for part in parts),
                "fits" if option.fits else "too large",
            )
        )
    return _table(lines)


def _scales(plan: "Plan") -> list[str]:
    scales, cache = plan.scales, "feature cache" if plan.feature_cache else "feature cache, if used"
    rows: list[tuple[str, Iterable[str]]] = [
        ("triplets", (f"{scale.triplets:,}" for scale in scales)),
        ("images", (f"{scale.images:,}" for scale in scales)),
        ("optimizer steps", (f"{scale.steps:,}" for scale in scales)),
        ("GPU-hours", (_hours(scale.gpu_hours) for scale in scales)),
        (f"hours on {plan.gpus} x {plan.gpu}", (_hours(scale.hours) for scale in scales)),
        ("data set", (_bytes(scale.dataset_bytes) for scale in scales)),
        (cache, (_bytes(scale.feature_cache_bytes) for scale in scales)),
        ("AlphaEarth, images scattered", (_bytes(scale.alphaearth_scattered_bytes) for scale in scales)),
        ("AlphaEarth, images side by side", (_bytes(scale.alphaearth_adjacent_bytes) for scale in scales)),
    ]
    return _table([(name, *values) for name, values in rows])


def _share(share: float) -> str:
    return f"{share:.0%}" if share >= 0.1 else f"{100 * share:.2g}%"


def _hours(hours: float) -> str:
    return f"{hours:,.1f}" if hours >= 1 else f"{hours:.2g}"


def _bytes(count: int | None) -> str:
    if count is None:
        return "none"
    value, unit = float(count), 0
    while value >= 1000 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.3g} {_UNITS[unit]}"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """The first column to the left, the others to the right, each as wide as it needs."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        ).rstrip()
        for row in rows
    ]


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="fusargpt plan",
        description=(
            "Work out FLOPs, GPU-hours, memory under DDP, ZeRO-2, FSDP2 and QLoRA, and bytes on disk of a stage, from "
            "its recipe and its model's configuration alone. Any field of the recipe can be overridden."
        ),
        examples=("fusargpt plan trl_recipes/stage1.yaml --gpus 4 --gpu a100-80g --per_device_train_batch_size 8",),
        allow_abbrev=False,
    )
    parser.add_argument("recipe", metavar="RECIPE", type=Path, help="YAML file of the stage")
    parser.add_argument("--gpus", metavar="N", type=int, default=1, help="how many share the work (default: 1)")
    parser.add_argument("--gpu", metavar="KIND", default="a100-80g", help=f"of {', '.join(GPUS)} (default: a100-80g)")
    parser.add_argument(
        "--utilisation",
        metavar="SHARE",
        type=float,
        help="share of their peak that is reached (default: by micro-batch and attention, as measured or modelled)",
    )
    parser.add_argument(
        "--triplets", default="10000,1000000", metavar="N,N", help="numbers to plan for (default: 10000,1000000)"
    )
    parser.add_argument("--image-size", type=int, metavar="PIXELS", help="side (default: the model's, or 504)")
    parser.add_argument("--anchors", type=int, metavar="N", help="of an image (default: 64)")
    parser.add_argument("--prompt-tokens", type=int, metavar="N", help="a question with its template (default: 64)")
    parser.add_argument("--answer-tokens", type=int, metavar="N", help="an answer (default: 64)")
    parser.add_argument("--pairs-per-image", type=int, metavar="N", help="triplets (default: those of a sequence)")
    parser.add_argument("--resolution", dest="resolution_m", type=float, metavar="METRES", help="a pixel (default: 10)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser
