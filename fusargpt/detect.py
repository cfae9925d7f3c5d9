"""`fusargpt detect`: the ships or aircraft of a whole scene as boxes on the map."""

from collections.abc import Sequence

from fusargpt.scene_arguments import run

DESCRIPTION = "Box the ships or the aircraft of a whole scene: tiles with overlap, boxes merged."


def main(arguments: Sequence[str]) -> int:
    """Write the answers to a file; returns 0, or 1 when some tiles failed.

    Raises:
        InputError: what `fusargpt.scene_arguments.run` raises.
    """
    return run("detect", arguments, DESCRIPTION, targets=True)
