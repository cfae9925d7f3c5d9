"""`fusargpt detect`: the ships or aircraft of a whole scene as boxes on the map."""

from collections.abc import Sequence

from fusargpt.cli.scene_verbs import run

DESCRIPTION = "Box the ships or the aircraft of a whole scene: tiles with overlap, boxes merged."


def main(arguments: Sequence[str]) -> int:
    """Write the answers to a file; returns 0, or 1 when some tiles failed.

    Raises:
        InputError: what `fusargpt.cli.scene_verbs.run` raises.
    """
    return run("detect", arguments, DESCRIPTION, targets=True)
