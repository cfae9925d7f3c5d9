"""Runs recipes one after the other in the processes that `accelerate launch` starts."""

import os
import sys

from accelerate import PartialState
from accelerate.utils import DistributedType

from trl_recipes.arguments import parse
from trl_recipes.sft import run

for path in sys.argv[1:]:
    recipe, config = parse([path])
    if os.environ.get("ACCELERATE_USE_FSDP") == "true":
        # accelerate shards on accelerators alone, and would train with DDP on a CPU. Torch shards on both.
        PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU  # pyright: ignore[reportPrivateUsage]  # no setter
    run(recipe, config)
PartialState().destroy_process_group()
