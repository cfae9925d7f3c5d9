"""FUSAR-KLIP fine-tuned to classes: what moves, what is learnt and kept, what loads, what is refused."""

import json
import re
from collections.abc import Sized
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from datasets import load_dataset
from PIL import Image as Pillow
from safetensors.torch import load_file
from transformers import AutoModelForImageClassification, pipeline

from fusargpt.conversion.model_card import read_card
from fusargpt.errors import InputError
from modeling_fusarklip import FusarKlipForImageClassification, FusarKlipProcessor
from tests.trl_recipes.klip.chips import NAMES, chip, chip_row, classifier_arguments, write_chips
from tests.trl_recipes.klip.phases import klip_arguments, logged, write_klip_base
from trl_recipes.klip.classifier_trainer import ClassifierTrainer
from trl_recipes.klip.parameters import HEAD, TLM, TOWER, part_of
from trl_recipes.klip.train import main, make_trainer, parse_any

BELOW = ("vision_model.embeddings.", "vision_model.encoder.layers.0.")
TOLD = {"prior": "true", "acquisition": True, "prior_dropout": 0.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classifier")
    write_klip_base(folder)
    write_chips(folder / "chips")
    return folder


def trainer_of(arguments: list[str]) -> ClassifierTrainer:
    trainer = make_trainer(*parse_any(arguments))
    assert isinstance(trainer, ClassifierTrainer)
    return trainer


def history(output_dir: Path, name: str) -> list[float]:
    log = json.loads((output_dir / "trainer_state.json").read_text())["log_history"]
    return [entry[name] for entry in log if name in entry]


@pytest.mark.parametrize(
    ("frozen", "moved"),
    [
        ("none", {TLM, "acquisition", TOWER, HEAD}),
        ("below_geography", {TLM, "acquisition", TOWER, HEAD}),
        ("tower", {TLM, "acquisition", HEAD}),
        ("all_but_head", {HEAD}),
    ],
)
def test_what_moves_and_what_stands_still_to_the_last_bit(
    folder: Path, tmp_path: Path, frozen: str, moved: set[str]
) -> None:
    main(classifier_arguments(folder, tmp_path / "out", frozen=frozen, weight_decay=0.1, **TOLD))
    before, after = (load_file(path / "model.safetensors") for path in (folder / "base", tmp_path / "out"))
    assert set(after) - set(before) == {"classifier.weight", "classifier.bias"}
    changed = {name for name in after if name not in before or not torch.equal(before[name], after[name])}
    assert {part_of(name) for name in changed} == moved
    lower = [name for name in changed if name.startswith(BELOW)]
    assert bool(lower) == (frozen == "none")
    if TOWER in moved:
        assert [name for name in changed if name.startswith("vision_model.encoder.layers.1.")]


def test_what_it_was_not_fine_tuned_with_is_not_looked_at(folder: Path, tmp_path: Path) -> None:
    row = chip_row(0)
    for told, seen in (({"acquisition": True}, "acquisition"), ({"prior": "true"}, "prior")):
        main(classifier_arguments(folder, tmp_path / seen, frozen="none", learning_rate=1e-1, **told))
        model: Any = FusarKlipForImageClassification.from_pretrained(tmp_path / seen).eval().requires_grad_(False)
        assert model.config.classifier_inputs == [seen]
        inputs = dict(FusarKlipProcessor.from_pretrained(tmp_path / seen).from_row(row))
        priors = {name for name in inputs if name.startswith("prior_")}
        parts = {"prior": priors, "acquisition": set(inputs) - priors - {"pixel_values"}}
        whole = model(**inputs).logits
        for part, names in parts.items():
            without = model(**{name: value for name, value in inputs.items() if name not in names}).logits
            assert torch.equal(without, whole) == (part != seen)


def test_without_prior_and_acquisition_their_parts_stand_still(folder: Path, tmp_path: Path) -> None:
    main(classifier_arguments(folder, tmp_path / "out", frozen="tower", weight_decay=0.1))
    before, after = (load_file(path / "model.safetensors") for path in (folder / "base", tmp_path / "out"))
    changed = {name for name in after if name not in before or not torch.equal(before[name], after[name])}
    assert {part_of(name) for name in changed} == {HEAD}


LEARNING = {"max_steps": 40, "learning_rate": 3e-3, "per_device_train_batch_size": 12, "frozen": "none"}
KEPT = {
    "eval_strategy": "steps",
    "eval_steps": 10,
    "save_strategy": "steps",
    "save_steps": 10,
    "save_total_limit": 1,
    "load_best_model_at_end": True,
    "metric_for_best_model": "macro_f1",
}


def test_a_few_chips_are_learnt_and_the_result_serves(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "tuned"
    main(classifier_arguments(folder, out, **LEARNING, **KEPT))
    losses = [entry["loss"] for entry in logged(out)]
    assert sum(losses[-5:]) < sum(losses[:5]) / 3
    assert len(history(out, "eval_accuracy")) == len(history(out, "eval_loss")) == 4
    best = max(history(out, "eval_macro_f1"))
    assert best > 0.9 and (out / "curves.png").stat().st_size > 0

    # By the auto class, with the weights that did best, whatever came after.
    model = AutoModelForImageClassification.from_pretrained(out, trust_remote_code=True)
    assert model.config.id2label == dict(enumerate(NAMES)) and model.config.architectures == [type(model).__name__]
    kept: Any = FusarKlipForImageClassification.from_pretrained(out)
    rows = load_dataset(str(folder / "chips"), split="test", cache_dir=str(tmp_path / "cache"))
    pictures = rows["image"][:]
    inputs = FusarKlipProcessor.from_pretrained(out)(images=pictures)
    with torch.no_grad():
        logits = model(**inputs).logits
        assert torch.equal(logits, kept.eval()(**inputs).logits)
    assert (logits.argmax(1) == torch.tensor(rows["label"])).float().mean() > 0.8

    answers = pipeline("image-classification", model=str(out), device="cpu", trust_remote_code=True)(pictures)
    assert [answer[0]["label"] for answer in answers] == [NAMES[number] for number in logits.argmax(1)]

    header, text = read_card(out / "README.md")
    assert header["pipeline_tag"] == "image-classification"
    assert "tells bulk carrier, tanker, trawler apart" in text and "prior goes in" not in text
    assert "which chose the weights" in text and f"| macro_f1 | {best:.4g} |" in text
    chip(0, 1).save(tmp_path / "chip.png")
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    (snippet,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(snippet, {})
    assert capsys.readouterr().out.strip() in NAMES


def test_the_weights_that_did_best_on_validation_are_kept(folder: Path, tmp_path: Path) -> None:
    # A rate at which nothing is kept for long.
    fields = {**LEARNING, **KEPT, "learning_rate": 0.3, "eval_steps": 2, "save_steps": 2, "max_steps": 12}
    main(classifier_arguments(folder, tmp_path / "out", **fields))
    scores = history(tmp_path / "out", "eval_macro_f1")
    trainer = trainer_of(
        classifier_arguments(folder, tmp_path / "again", model_name_or_path=tmp_path / "out", eval_strategy="steps")
    )
    assert max(scores) > min(scores)
    assert trainer.evaluate()["eval_macro_f1"] == pytest.approx(max(scores), abs=1e-6)


def test_cached_states_train_as_images_do(folder: Path, tmp_path: Path) -> None:
    # Kept in bfloat16, so not to the last bit.
    main(classifier_arguments(folder, tmp_path / "images", max_steps=4))
    main(classifier_arguments(folder, tmp_path / "states", max_steps=4, feature_cache=tmp_path / "cache"))
    images, states = ([entry["loss"] for entry in logged(tmp_path / name)] for name in ("images", "states"))
    assert states == pytest.approx(images, rel=2e-2) and states != images


def test_classes_count_alike_only_where_it_is_asked_for(folder: Path, tmp_path: Path) -> None:
    plain = trainer_of(classifier_arguments(folder, tmp_path / "plain"))
    weighted = trainer_of(classifier_arguments(folder, tmp_path / "weighted", class_weights="balanced"))
    assert plain.class_weights is None and weighted.class_weights is not None
    # 4 of 24 rows are of the first class, 8 and 12 of the others.
    assert weighted.class_weights.tolist() == pytest.approx([24 / 3 / 4, 24 / 3 / 8, 24 / 3 / 12])
    assert plain.data_collator is not None
    batch = plain.data_collator([(row, 0) for row in range(24)])
    model = plain.model.eval()
    with torch.no_grad():
        each = torch.nn.functional.cross_entropy(model(**batch).logits, batch["labels"], reduction="none")
        assert plain.compute_loss(model, batch) == pytest.approx(each.mean().item(), rel=1e-5)
        of_class = [each[batch["labels"] == label].mean().item() for label in range(3)]
        assert weighted.compute_loss(model, batch) == pytest.approx(sum(of_class) / 3, rel=1e-5)


def test_priors_are_withheld_in_training_alone(folder: Path, tmp_path: Path) -> None:
    fields: dict[str, Any] = {"prior": "true", "prior_dropout": 1.0, "eval_strategy": "steps"}
    trainer = trainer_of(classifier_arguments(folder, tmp_path / "out", **fields))
    places = [(row, 0) for row in range(12)]
    assert trainer.data_collator is not None and trainer.eval_collator is not None
    assert "prior_mask" not in trainer.data_collator(places)
    assert trainer.eval_collator(places)["prior_mask"].any(1).all()


def test_classes_may_be_texts_or_folders(folder: Path, tmp_path: Path) -> None:
    data = write_chips(tmp_path / "texts", texts=True)
    trainer = trainer_of(classifier_arguments(folder, tmp_path / "a", dataset_name=data))
    assert trainer.names == list(NAMES)
    for label, name in enumerate(NAMES):
        (tmp_path / "folders" / name).mkdir(parents=True)
        for number in range(10):
            chip(number, label).save(tmp_path / "folders" / name / f"{number}.png")
    fields = {"dataset_name": tmp_path / "folders", "eval_strategy": "steps"}
    trainer = trainer_of(classifier_arguments(folder, tmp_path / "b", **fields))
    assert trainer.names == list(NAMES)
    # Of ten neighbours of each class two report, two choose.
    assert len(cast(Sized, trainer.data_collator)) == 18 and len(cast(Sized, trainer.eval_collator)) == 6


def test_a_classifier_goes_on_with_its_head_and_with_no_others(folder: Path, tmp_path: Path) -> None:
    main(classifier_arguments(folder, tmp_path / "first"))
    again = trainer_of(classifier_arguments(folder, tmp_path / "again", model_name_or_path=tmp_path / "first"))
    saved = load_file(tmp_path / "first" / "model.safetensors")
    assert torch.equal(again.model.classifier.weight, saved["classifier.weight"])
    for label in range(3):
        (tmp_path / "planes" / f"plane {label}").mkdir(parents=True)
        for number in range(10):
            chip(number, label).save(tmp_path / "planes" / f"plane {label}" / f"{number}.png")
    fields = {"model_name_or_path": tmp_path / "first", "dataset_name": tmp_path / "planes"}
    with pytest.raises(InputError, match=r"found a classifier of bulk carrier, tanker, trawler; expected the classes"):
        trainer_of(classifier_arguments(folder, tmp_path / "other", **fields))
    phase = klip_arguments(folder, tmp_path / "phase", model_name_or_path=tmp_path / "first")
    with pytest.raises(InputError, match=r"found a classifier, expected a FUSAR-KLIP with its texts"):
        make_trainer(*parse_any(phase))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"itc": 1.0}, "itc"),
        ({"frozen": "head"}, "frozen: found 'head', expected one of none, below_geography, tower, all_but_head"),
        ({"class_weights": "equal"}, "class_weights: found 'equal', expected one of none, balanced"),
        ({"label_column": "class"}, "has no column class; found image, label"),
        ({"label_column": "resolution_m"}, "column resolution_m: found .*, expected texts, or numbers with names"),
        ({"prior_dropout": 0.5}, "prior_dropout: found 0.5, which has no effect without prior: true"),
        ({"feature_cache": "x", "frozen": "none"}, "feature_cache: found x with frozen: none"),
        ({"frozen": "all_but_head", "vision_learning_rate_ratio": 0.5}, "vision_learning_rate_ratio: found 0.5, which"),
        (
            {"frozen": "all_but_head", "prior": "true", "prior_learning_rate_ratio": 2.0},
            "prior_learning_rate_ratio: found 2.0, which has no effect",
        ),
        ({"load_best_model_at_end": True}, "without evaluations|save and eval strategy"),
        ({"metric_for_best_model": "f1"}, "metric_for_best_model: found 'f1', expected one of accuracy, macro_f1"),
        ({"dataset_name": "/no/such/folder"}, "/no/such/folder, split train, cannot be loaded"),
        ({"model_name_or_path": "nowhere"}, "model_name_or_path: nowhere: there is no such folder"),
    ],
)  # fmt: skip
def test_what_a_recipe_cannot_mean_is_refused(
    folder: Path, tmp_path: Path, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        make_trainer(*parse_any(classifier_arguments(folder, tmp_path / "out", **fields)))


@pytest.mark.parametrize(
    ("texts", "replaced", "message"),
    [
        (True, {"label": "submarine"}, "column label: found 'submarine', expected one of the classes of the training"),
        (True, {"label": None}, "row 11: label: found nothing, expected the class of the image"),
        (False, {"label": -1}, "row 11: label: found nothing, expected the class of the image"),
        (False, {"image": {"bytes": b"no image", "path": None}}, "row 11: image: not a PNG, JPEG or TIFF image"),
        (False, {"acquired": "in June"}, r"row 11: \['acquired'\]: found 'in June', expected a date"),
    ],
)
def test_bad_rows_are_named(folder: Path, tmp_path: Path, texts: bool, replaced: dict[str, Any], message: str) -> None:
    data = write_chips(tmp_path / "chips", texts=texts, **replaced)
    fields = {"dataset_name": data, "eval_strategy": "steps", "acquisition": True}
    with pytest.raises(InputError, match=message):
        trainer_of(classifier_arguments(folder, tmp_path / "out", **fields))


def test_a_class_without_training_rows_is_refused(folder: Path, tmp_path: Path) -> None:
    fields = {"dataset_train_split": "train[1:6]"}
    with pytest.raises(InputError, match="label: found no training row of bulk carrier, expected some of each class"):
        trainer_of(classifier_arguments(folder, tmp_path / "out", **fields))


def test_pictures_of_a_pipeline_may_be_grey(folder: Path, tmp_path: Path) -> None:
    main(classifier_arguments(folder, tmp_path / "out", max_steps=1))
    (answer,) = pipeline("image-classification", model=str(tmp_path / "out"), device="cpu")([Pillow.new("L", (30, 40))])
    assert {entry["label"] for entry in answer} == set(NAMES)
