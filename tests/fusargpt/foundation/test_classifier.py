"""A fine-tuned model in the suite: asked by its head, marked, and beside frozen probes of the same images."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fusargpt.cli.main import main
from fusargpt.errors import InputError
from fusargpt.foundation.entries import CLASSIFIER, enter
from fusargpt.foundation.load import load_tower
from fusargpt.foundation.places import View
from fusargpt.foundation.probes import Labelled
from fusargpt.foundation.tasks.classification import told
from fusargpt.foundation.tasks.labelled import LabelledProbe
from modeling_fusarklip import FusarKlipConfig, FusarKlipForImageClassification
from tests.modeling_fusarklip.tiny_klip import tiny_klip, tiny_klip_processor

NAMES = ("A220", "Boeing787")
SMALL = ("--scenes", "20", "--train", "20", "--validation", "20")


def save_classifier(folder: Path, inputs: tuple[str, ...] = ("prior", "acquisition")) -> Path:
    """A classifier with a random head."""
    torch.manual_seed(0)
    fields = {"id2label": dict(enumerate(NAMES)), "label2id": {name: index for index, name in enumerate(NAMES)}}
    config = FusarKlipConfig.from_dict({**tiny_klip().config.to_dict(), **fields, "classifier_inputs": list(inputs)})
    FusarKlipForImageClassification(config).save_pretrained(folder)
    tiny_klip_processor().save_pretrained(folder)
    return folder


def write_folders(folder: Path, chips: int = 20) -> Path:
    """A bright and a dark class, as folders."""
    for name, level in zip(NAMES, (60, 180), strict=True):
        (folder / name).mkdir(parents=True)
        for number in range(chips):
            pixels = np.random.default_rng(level + number).normal(level, 10, (40, 60)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


def test_a_classifier_is_an_entry_that_says_so_and_is_asked_by_its_head(tmp_path: Path) -> None:
    folder = save_classifier(tmp_path / "tuned")
    entry, other, _ = enter(str(folder), [], ["true", "none"])
    assert (entry.kind, entry.classes, entry.tuned, entry.speaks) == (CLASSIFIER, NAMES, True, False)
    assert entry.label == "tuned, fine-tuned, prior true" and other.label == "tuned, fine-tuned, prior none"
    pictures = [Image.new("L", (40, 40), level) for level in (20, 120, 220)]
    (alone, _) = enter(str(save_classifier(tmp_path / "alone", inputs=())), [], ["true", "none"])
    assert (alone.label, alone.arm) == ("alone, fine-tuned", "none"), "it looks at no prior"
    features = load_tower(entry, "cpu").features([View(picture, None) for picture in pictures])
    model = FusarKlipForImageClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        inputs = tiny_klip_processor()(images=[picture.convert("RGB") for picture in pictures])
        logits = model(**inputs).logits.numpy()
    assert features.pooled == pytest.approx(logits, abs=1e-5)

    # Of a task that lists the classes in another order.
    def labelled(split: str) -> Labelled:
        assert split == "test", "nothing is fitted"
        return Labelled(logits, 1 - logits.argmax(1))

    found = told(entry, NAMES[::-1], labelled)
    assert found["accuracy"].value == 1 and "knn_accuracy" not in found
    with pytest.raises(InputError, match=r"random: .* is fine-tuned, and random weights of it say nothing"):
        enter(str(folder), ["random"], ["true"])


@pytest.mark.slow
def test_the_suite_scores_it_beside_frozen_probes_of_the_same_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, chips = save_classifier(tmp_path / "tuned"), write_folders(tmp_path / "chips")
    command = ["evaluate", str(folder), "--suite", "foundation", *SMALL, "--out", str(tmp_path / "out")]
    command += ["--labelled", str(chips), "--baselines", "hand"]
    assert main(command) == 0
    assert "tuned, fine-tuned, prior true" in capsys.readouterr().out
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["settings"]["frozen"] is False
    assert [entry["classes"] for entry in results["entries"]] == [list(NAMES), [], []]
    assert list(results["tasks"]) == ["labelled"], "what it was fine-tuned to, and no places are simulated"
    scores = results["scores"]["labelled"]["accuracy"]
    # A fifth of each class reports; the dark and the bright are told apart by their means.
    assert {label: score["n"] for label, score in scores.items()} == dict.fromkeys(scores, 8)
    assert scores["hand"]["value"] == 1 and set(scores) == {"tuned, fine-tuned, prior true", "hand", "majority"}
    assert set(results["scores"]["labelled"]["knn_accuracy"]) == {"hand", "majority"}
    assert results["differences"]["labelled"]["accuracy"]["hand"]["n"] == 8
    html = (tmp_path / "out" / "report.html").read_text()
    assert "all but tuned, fine-tuned, prior true (to A220, Boeing787), whose own heads are asked" in html
    card = (tmp_path / "out" / "model_index.yaml").read_text()
    assert "labelled, fine-tuned, prior true" in card and "image-classification" in card and "simulator" not in card


def test_a_classifier_of_what_no_task_asks_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = save_classifier(tmp_path / "tuned")
    command = ["evaluate", str(folder), "--suite", "foundation", *SMALL, "--out", str(tmp_path / "out")]
    assert main([*command, "--tasks", "probe-aircraft-chips"]) == 2
    error = capsys.readouterr().err
    assert "found a classifier of A220, Boeing787; expected the classes of one of the tasks" in error


def test_an_image_that_is_shown_and_asked_is_refused(tmp_path: Path) -> None:
    chips = write_folders(tmp_path / "chips")
    (chips / "A220" / "0.png").write_bytes((chips / "A220" / "19.png").read_bytes())
    with pytest.raises(InputError, match="found an image that is in train, too; expected splits of different places"):
        LabelledProbe(str(chips))._read  # noqa: B018  # pyright: ignore[reportPrivateUsage]
    (chips / "A220" / "0.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"chips, split test, row 0: image: not a PNG, JPEG or TIFF image"):
        LabelledProbe(str(chips))._read  # noqa: B018  # pyright: ignore[reportPrivateUsage]
