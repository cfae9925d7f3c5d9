"""A stage on dense targets: its options, its trainer, and a result that is there whole or not at all."""

import argparse
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainingArguments, set_seed

from fusargpt.errors import InputError
from modeling_fusargpt import FusarGptForConditionalGeneration, FusarGptProcessor
from trl_recipes.data.rows import Batch
from trl_recipes.model.matrix_optimizer import MatrixOptimizer, matrix_optimizer
from trl_recipes.running.atomic_runs import RESULT, STATE, checkpoint_to_resume, holding, publish, refuse_finished
from trl_recipes.running.clock import Clock
from trl_recipes.running.precision import computes_in_bfloat16
from trl_recipes.running.resumable import Resumable
from trl_recipes.small.sizes import NANO, SMALL_MODELS, DenseStage, SmallModel

_WEIGHT_DECAY = 0.05
_BETAS = (0.9, 0.95)
_BEFORE = {"tower": "initial", "pointing": "tower", "pointing_all": "pointing"}
"""The stage that each goes on from."""


class DenseTrainer(Resumable):
    """Trainer that logs the parts of the loss beside it."""

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        outputs = model(**inputs)
        if self.state.global_step % self.args.logging_steps == 0 and model.training:
            parts = {key: round(float(value.detach()), 4) for key, value in outputs.items() if key != "loss"}
            self.log(parts)
        return (outputs["loss"], outputs) if return_outputs else outputs["loss"]


def dense_parser(description: str, **defaults: object) -> argparse.ArgumentParser:
    """The options of a dense pre-training; `defaults` are those of the stage."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--scenes", type=int, help="pictures that the stage sees")
    parser.add_argument("--optical-share", type=float, help="the rest is shown as SAR")
    parser.add_argument("--batch-size", type=int, default=48)
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.set_defaults(**defaults)
    return parser


def small_parser(description: str, stage: str) -> argparse.ArgumentParser:
    """The options of a stage of a small model, which begins where the one before it ended."""
    parser = dense_parser(description, batch_size=None)
    parser.add_argument("size", choices=SMALL_MODELS, nargs="?", default=NANO.name, help="default: nano")
    parser.add_argument("--model", type=Path, help=f"default: build/NAME/{_BEFORE[stage]}")
    parser.add_argument(
        "--matrix-learning-rate", type=float, help="of the layers' matrices, by Muon; nano: AdamW for all"
    )
    parser.add_argument("--minutes", type=float, help="of training, with a learning rate that follows the clock")
    parser.set_defaults(stage=stage)
    return parser


def with_defaults(options: argparse.Namespace) -> tuple[SmallModel, argparse.Namespace]:
    """The model, and the options with those of its stage where none were given.

    Raises:
        InputError: a stage that this model has not.
    """
    size = SMALL_MODELS[options.size]
    found = {"tower": size.tower, "pointing": size.pointing, "pointing_all": size.pointing_all}
    stage: DenseStage | None = found[options.stage]
    if stage is None:
        raise InputError(f"--all-boxes: {size.name} learns all boxes in pointing; leave it out")
    build = Path("build", size.name)
    defaults: dict[str, Any] = {
        "model": build / _BEFORE[options.stage],
        "out": build / options.stage,
        "scenes": stage.pictures,
        "batch_size": stage.batch_size,
        "learning_rate": stage.learning_rate,
        "matrix_learning_rate": stage.matrix_learning_rate,
        "optical_share": stage.optical_share,
    }
    for name, value in defaults.items():
        if vars(options)[name] is None:
            setattr(options, name, value)
    return size, options


def training_arguments(options: argparse.Namespace) -> TrainingArguments:
    """One pass over the pictures, on the processor when there is no GPU."""
    return TrainingArguments(
        output_dir=str(options.out),
        per_device_train_batch_size=options.batch_size,
        num_train_epochs=1,
        learning_rate=options.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=0.03,
        weight_decay=_WEIGHT_DECAY,
        adam_beta2=_BETAS[1],
        bf16=torch.cuda.is_available() or computes_in_bfloat16(options.out, resume=True),
        use_cpu=not torch.cuda.is_available(),
        dataloader_num_workers=options.workers,
        dataloader_drop_last=True,
        remove_unused_columns=False,
        logging_steps=50,
        save_steps=100,
        save_total_limit=1,
        report_to="none",
        seed=options.seed,
    )


def optimizers(
    module: nn.Module, layers: Iterable[nn.Module], options: argparse.Namespace
) -> tuple[MatrixOptimizer | None, None]:
    """What a trainer takes: Muon for the matrices in `layers` where it has a learning rate, else none of its own."""
    matrix_learning_rate: float | None = options.matrix_learning_rate
    if matrix_learning_rate is None:
        return None, None
    rates = (matrix_learning_rate, options.learning_rate)
    return matrix_optimizer(module, layers, *rates, _WEIGHT_DECAY, _BETAS), None


def train(trainer: Resumable, finish: Callable[[Path], None], minutes: float | None = None) -> None:
    """Train, from the last checkpoint where there is one, and leave what `finish` writes, and the log, in the folder.

    Raises:
        FileExistsError: the folder holds a finished stage.
        InputError: another run is at work in it.
    """
    out = Path(str(trainer.args.output_dir))
    refuse_finished(out)
    with holding(out):
        if minutes is not None:
            trainer.add_callback(Clock(minutes))
        checkpoint = checkpoint_to_resume(out, resume=True)
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        partial = out / RESULT
        partial.mkdir()
        trainer.state.save_to_json(str(partial / STATE))
        finish(partial)
        publish(out)


def exit_with(main: Callable[[], None], name: str) -> None:
    """Run a stage's command; what was given wrongly ends it in one line."""
    try:
        main()
    except (InputError, FileExistsError) as error:
        sys.exit(f"{name}: error: {error}")


def load(folder: Path, attention: str, seed: int) -> tuple[FusarGptForConditionalGeneration, FusarGptProcessor]:
    """Model in float32 and processor of a small model's folder.

    Raises:
        InputError: no such folder.
    """
    if not folder.is_dir():
        raise InputError(f"--model: {folder}: no such folder; the stage before leaves it, or --model names another")
    set_seed(seed)
    model = FusarGptForConditionalGeneration.from_pretrained(folder, dtype="float32", attn_implementation=attention)
    return model, FusarGptProcessor.from_pretrained(folder)
