"""What a cleaning made of wrong and right parts, whose truth is known."""

from pathlib import Path

from benchmarks.scio.data import is_true, read, truths, wrong_parts
from fusargpt.tasks.facts import DIMENSIONS, phrases_of


def flag_scores(cleaned: Path, noisy: Path, clean: Path) -> dict[str, dict[str, int]]:
    """What became of wrong and right parts, by dimension and in all."""
    truth = truths(clean)
    wrong = wrong_parts(noisy, truth)
    found: dict[str, dict[str, int]] = {name: _counts() for name in (*DIMENSIONS, "all")}
    for row in read(cleaned, ("id", "description", "target_description", "part_origin", "part_source")):
        now = phrases_of(row)
        for dimension, origin in zip(DIMENSIONS, row["part_origin"], strict=True):
            if origin is None:
                continue
            is_wrong = (row["id"], dimension) in wrong
            flagged = origin != "source"
            repaired = origin == "reconstructed" and is_true(dimension, now[dimension], truth[row["id"]][dimension])
            for name in (dimension, "all"):
                counts = found[name]
                counts["parts"] += 1
                counts["wrong"] += is_wrong
                counts["flagged"] += flagged
                counts["flagged_wrong"] += flagged and is_wrong
                counts["reconstructed"] += origin == "reconstructed"
                counts["reconstructed_right"] += repaired
    return found


def _counts() -> dict[str, int]:
    return dict.fromkeys(("parts", "wrong", "flagged", "flagged_wrong", "reconstructed", "reconstructed_right"), 0)
