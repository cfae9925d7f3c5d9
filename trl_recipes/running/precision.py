"""In which type a run computes on a CPU: bfloat16 where the processor is faster in it; a resumed run as it began."""

import json
from pathlib import Path
from typing import cast

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from fusargpt.errors import InputError
from fusargpt.inference.devices import is_faster_in_bfloat16
from trl_recipes.running.atomic_runs import STATE, checkpoints

_KEPT = "Precision"  # of trainer_state.json's stateful_callbacks


class Precision(TrainerCallback):
    """Keeps in every checkpoint whether its run computes in bfloat16."""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        # transformers annotates it as what it is made from.
        cast(dict[str, object], state.stateful_callbacks)[_KEPT] = {"bf16": bool(args.bf16)}


def computes_in_bfloat16(output_dir: Path, resume: bool) -> bool:
    """What the last checkpoint in `output_dir` was computed in, where it is gone on from; else what is faster here.

    Raises:
        InputError: a checkpoint that does not say it.
    """
    found = checkpoints(output_dir) if resume else []
    if not found:
        return is_faster_in_bfloat16()
    path = found[-1] / STATE
    try:
        kept = json.loads(path.read_text())["stateful_callbacks"][_KEPT]["bf16"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: does not say in which type its run computes; set bf16 and bf16_on_cpu: always"
        ) from error
    return bool(kept)
