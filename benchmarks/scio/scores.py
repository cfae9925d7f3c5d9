"""What a model of the proof can do on clean places that no training has seen: the foundation suite's own scores."""

from pathlib import Path

from fusargpt.foundation.suite import Options, examine

RECALLS = tuple(f"{way}_r@{k}" for way in ("text_to_image", "image_to_text") for k in (1, 5, 10))
TASKS = {
    "retrieval-landforms": RECALLS,
    "retrieval-targets": RECALLS,
    "probe-cover": ("accuracy",),
    "probe-count": ("accuracy",),
}
"""Tasks of the suite, and their metrics that are kept. Validation places choose the strength of probes."""
TRAIN, VALIDATION = 1000, 200
"""Places that probes are fitted to, and those that choose their strength."""


def scores(model: Path, held_out: int, out: Path) -> dict[str, float]:
    """Scores in percent by "task metric"; `out` is a folder for what can be taken up again.

    The metric `recall` of a retrieval is the mean of its six recalls: one number, which chance moves less than each.
    """
    tasks = tuple(TASKS)
    found = examine(
        Options(
            str(model), out, tasks=tasks, scenes=held_out, train=TRAIN, validation=VALIDATION, rerank=0, device="cpu"
        )
    )
    label = found.entries[0].label
    told = {
        f"{task} {metric}": 100 * found.scores[task][metric][label].value
        for task, metrics in TASKS.items()
        for metric in metrics
    }
    recalls = {
        f"{task} recall": sum(told[f"{task} {metric}"] for metric in metrics) / len(metrics)
        for task, metrics in TASKS.items()
        if metrics is RECALLS
    }
    return {**told, **recalls}
