"""What a picture of a run over a scene is headed with."""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from fusargpt.scenes.layers import Place
from fusargpt.tasks.target_names import plural


def title_of(provenance: Mapping[str, Any], places: Sequence[Place]) -> str:
    """As "12 ships in harbour.tif"."""
    name = PurePosixPath(str(provenance["scene"]).partition("?")[0]).name
    target = str(provenance["target"])
    several = plural(target)
    if provenance["task"] == "detect":
        other = any(place.properties["label"] != target for place in places)
        nouns = ("box", "boxes") if other else (target, several)
        return f"{len(places):,} {nouns[len(places) != 1]} in {name}"
    said = {
        "count": f"{several[:1].upper()}{several[1:]} in each tile of {name}",
        "localize": f"Cells with {several} in {name}",
        "classify": f"Class of the targets in each tile of {name}",
        "describe": f"Each tile of {name} described",
    }
    return said[provenance["task"]]


def notes_of(provenance: Mapping[str, Any]) -> list[str]:
    """How the scene was acquired, what answered, and how many tiles were asked."""
    acquired = [provenance["sensor"], provenance["polarization"], provenance["acquired"]]
    resolution = provenance["resolution_m"]
    pixels = [] if resolution is None else [f"pixels of {resolution:.3g} m"]
    prior = "no prior" if provenance["prior"] == "none" else f"prior {provenance['prior']}"
    tiles = provenance["tiles"]
    total = tiles["asked"] + tiles["no data"] + tiles["nothing stands out"] + tiles["on land"] + tiles["failed"]
    left = [f"{count:,} left out {where}" for where, count in provenance.get("left_out", {}).items() if count]
    least = provenance["min_score"]
    scores = [f"scores of {least:.2f} or more"] if least else []
    asked = [f"{tiles['asked']:,} of {total:,} tiles asked", *scores, *left]
    answered = [PurePosixPath(provenance["model"]).name, prior, *asked]
    known = [str(part) for part in (*acquired, *pixels) if part]
    return [", ".join(known) or "nothing known of its acquisition", ", ".join(answered)]
