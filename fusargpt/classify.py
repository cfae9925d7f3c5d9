"""`fusargpt classify`: which class of target each tile of a scene shows."""

from collections.abc import Sequence

from fusargpt.cli.scene_verbs import run

DESCRIPTION = "Name the class of the targets in each tile of a grid over a scene."


def main(arguments: Sequence[str]) -> int:
    """Write the answers to a file; returns 0, or 1 when some tiles failed.

    Raises:
        InputError: what `fusargpt.cli.scene_verbs.run` raises.
    """
    return run("classify", arguments, DESCRIPTION, targets=False)
