"""Runs recipes one after the other in the processes that `accelerate launch` starts."""

import os
import sys
from pathlib import Path

from accelerate import PartialState
from accelerate.utils import DistributedType

from trl_recipes.arguments import parse
from trl_recipes.running.processes import end_process_group
from trl_recipes.sft import run

sharded = os.environ.get("ACCELERATE_USE_FSDP") == "true"
for path in sys.argv[1:]:
    recipe, config = parse([path])
    if sharded:
        # accelerate shards on accelerators alone, and would train with DDP on a CPU. Torch shards on both.
        PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU  # pyright: ignore[reportPrivateUsage]  # no setter
    run(recipe, config)
end_process_group()
if sharded:
    # Torch's caches of sharded operators hold the mesh and so its gloo group, which GPUs do not have, to the end of the
    # interpreter: it may abort the process there.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
# A thread of the group that is left may abort a process when its interpreter ends.
for thread in Path("/proc/self/task").glob("*/comm"):
    if (name := thread.read_text().strip()).startswith(("gloo", "pt_gloo")):
        sys.exit(f"the process group is left, and its thread {name} runs")
