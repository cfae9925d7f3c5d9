"""`fusargpt localize`: where in each tile of a scene ships or aircraft are."""

from collections.abc import Sequence

from fusargpt.cli.scene_verbs import run

DESCRIPTION = "Name the cells with ships or aircraft in each tile of a grid over a scene."


def main(arguments: Sequence[str]) -> int:
    """Write the answers to a file; returns 0, or 1 when some tiles failed.

    Raises:
        InputError: what `fusargpt.cli.scene_verbs.run` raises.
    """
    return run("localize", arguments, DESCRIPTION, targets=True)
