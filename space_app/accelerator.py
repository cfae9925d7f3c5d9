"""What has to be settled before torch is imported: how its threads wait, and ZeroGPU.

On a Space of ZeroGPU a GPU is there only while a function marked for it runs. The package `spaces` is installed on
those Spaces alone and changes torch, so it must be imported before torch is; `space_app.app` imports this module first.
"""

from collections.abc import Callable, Generator
from typing import ParamSpec, TypeVar

from fusargpt.waiting_threads import give_up_cores

give_up_cores()
try:
    import spaces  # pyright: ignore[reportMissingImports]
except ImportError:
    spaces = None

GPU_SECONDS = 90
"""What one answer may take of a GPU; more than `limits.MAX_ANSWER_SECONDS`, so that ours is the limit that is met."""

Parameters = ParamSpec("Parameters")
Item = TypeVar("Item")


def on_gpu(function: Callable[Parameters, Generator[Item, None, None]]) -> Callable[Parameters, Generator[Item]]:
    """Marks a generator that needs the GPU; elsewhere it stays as it is."""
    if spaces is None:
        return function
    marked: Callable[Parameters, Generator[Item]] = spaces.GPU(duration=GPU_SECONDS)(function)
    return marked
