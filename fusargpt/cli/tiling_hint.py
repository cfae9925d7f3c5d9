"""What to type where an image is too large to be seen whole: the verbs that tile it."""

import shlex
from pathlib import Path

_TIFF_SUFFIXES = (".tif", ".tiff")


def tiled_by(image: str | Path, task: str | None, aef: str | None = None) -> str:
    """The command that asks an image in tiles, as the end of a line.

    Args:
        image: a file.
        task: that was asked; None for a question of the user's own.
        aef: root of the field that anchors come from; None answers from the image alone.
    """
    verb, scene, prior = task or "count", str(image), ["--no-prior"] if aef is None else ["--aef", aef]
    other = {"count": " (or detect)", "detect": " (or count)"}.get(verb, "")
    if Path(scene).suffix.lower() in _TIFF_SUFFIXES:
        command = shlex.join(["fusargpt", verb, scene, *prior, "--out", f"{verb}.geojson"])
        return f"a whole scene is tiled by: {command}{other}"
    # A picture has no place, and so neither a prior nor a map.
    scene = str(Path(scene).with_suffix(".tif"))
    made = shlex.join(["rio", "convert", str(image), scene])
    command = shlex.join(["fusargpt", verb, scene, "--no-prior", "--out", f"{verb}.json"])
    return f"as a TIFF it is tiled by: {made} && {command}{other}"
