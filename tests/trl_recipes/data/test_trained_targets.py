"""The classes that a stage's processor names, from those of its base and the answers that it is trained on."""

from datasets import Dataset

from fusargpt.tasks.prompts import format_boxes
from trl_recipes.data.trained_targets import trained_targets


def rows(*answers: tuple[str, str]) -> Dataset:
    records = [{"task": task, "completion": [{"role": "assistant", "content": text}]} for task, text in answers]
    return Dataset.from_list(records)


def boxes(*labels: str) -> str:
    return format_boxes([[1, 2, 3, 4]] * len(labels), labels)


def test_classes_are_labels_of_boxes_and_answers_to_classify() -> None:
    data = rows(
        ("detect", boxes("bridge", "bridge")),
        ("detect", "None"),
        ("classify", "oil tank"),
        ("classify", "None"),
        ("describe", "Two ferries."),
        ("count", "2"),
    )
    assert trained_targets(None, data) == ["bridge", "oil tank"]
    assert trained_targets(["ship", "aircraft"], data) == ["ship", "aircraft", "bridge", "oil tank"]


def test_ours_keep_their_order_whatever_is_met_first() -> None:
    data = rows(("detect", boxes("aircraft")), ("detect", boxes("ship")))
    assert trained_targets(None, data) == trained_targets(["ship", "aircraft"], data) == ["ship", "aircraft"]


def test_what_teaches_no_class_leaves_what_was_known() -> None:
    described = rows(("describe", "Water."), ("classify", "a, b"))
    assert trained_targets(None, described) is None
    assert trained_targets(["ship"], described) == ["ship"]
    assert trained_targets(None, Dataset.from_list([{"messages": []}])) is None
