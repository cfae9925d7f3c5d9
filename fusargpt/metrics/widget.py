"""The page of a metric's Space: a table of answers and references, and their scores.

`evaluate.utils.launch_gradio_widget` would be the usual page, but it is written for Gradio 3, whose releases no longer
start beside current versions of what they depend on.
"""

import re
from pathlib import Path

import evaluate
import gradio as gr

from fusargpt.errors import InputError

COLUMNS = ["predictions", "references"]


def build(script: Path, examples: list[list[str]]) -> gr.Interface:
    """The page of the metric in `script`, whose card is README.md beside it.

    Args:
        script: file of an `evaluate` metric with texts as predictions and references.
        examples: rows of [prediction, reference] that the table begins with.
    """
    metric = evaluate.load(str(script))

    def score(rows: list[list[str]]) -> list[list[object]]:
        filled = [row for row in rows if any(row)]
        if not filled:
            raise gr.Error("The table is empty: fill in an answer and its reference.", print_exception=False)
        try:
            found = metric.compute(**{name: [row[i] for row in filled] for i, name in enumerate(COLUMNS)})
        except InputError as error:
            raise gr.Error(str(error), print_exception=False) from error
        return table(found or {})

    card = re.sub(r"\A---\n.*?\n---\n", "", script.with_name("README.md").read_text(), flags=re.DOTALL)
    return gr.Interface(
        score,
        gr.Dataframe(
            examples, headers=COLUMNS, datatype="str", type="array", column_count=len(COLUMNS), label="Answers"
        ),
        gr.Dataframe(headers=["metric", "value", "low", "high", "n"], label="Scores with 95 % intervals"),
        title=metric.name,
        article=card,
        flagging_mode="never",
        analytics_enabled=False,
        api_name="score",
    )


def table(found: dict[str, float]) -> list[list[object]]:
    """One row [metric, value, low, high, n] for each metric of the flat form of `fusargpt.metrics.tally.results`."""
    names = [name.removesuffix("_n") for name in found if name.endswith("_n")]
    return [[name, *(found[name + part] for part in ("", "_low", "_high", "_n"))] for name in names]
