"""What a model of the proof can do on clean places that no training has seen: the foundation suite's own scores."""

from pathlib import Path

from fusargpt.foundation.suite import Options, examine

TASKS = {
    "retrieval-landforms": ("text_to_image_r@1", "text_to_image_r@10", "image_to_text_r@1", "image_to_text_r@10"),
    "retrieval-targets": ("text_to_image_r@10", "image_to_text_r@10"),
    "probe-cover": ("accuracy",),
    "probe-count": ("accuracy",),
}
"""Tasks of the suite, and their metrics that are told. Validation places choose the strength of probes."""
TRAIN, VALIDATION = 1000, 200
"""Places that probes are fitted to, and those that choose their strength."""


def scores(model: Path, held_out: int, out: Path) -> dict[str, float]:
    """Scores in percent by "task metric"; `out` is a folder for what can be taken up again."""
    tasks = tuple(TASKS)
    found = examine(
        Options(
            str(model), out, tasks=tasks, scenes=held_out, train=TRAIN, validation=VALIDATION, rerank=0, device="cpu"
        )
    )
    label = found.entries[0].label
    return {
        f"{task} {metric}": 100 * found.scores[task][metric][label].value
        for task, metrics in TASKS.items()
        for metric in metrics
    }
