"""`fusargpt count`: how many ships or aircraft each tile of a scene shows."""

from collections.abc import Sequence

from fusargpt.cli.scene_verbs import run

DESCRIPTION = "Count the ships or the aircraft in each tile of a grid over a scene."


def main(arguments: Sequence[str]) -> int:
    """Write the answers to a file; returns 0, or 1 when some tiles failed.

    Raises:
        InputError: what `fusargpt.cli.scene_verbs.run` raises.
    """
    return run("count", arguments, DESCRIPTION, targets=True)
